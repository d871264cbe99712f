"""The description of a run: the TOML file that `ggpo train` reads.

What this side does not calculate is refused by name, so that no comparison
stands on a setting that only one side heeded.
"""

import copy
import math
import tomllib


class Refused(Exception):
    """What is wrong with the input, as one sentence."""


# Fields and what they are where the file is silent; `...` stands for a field
# that must be there.
TOP = {
    "seed": ...,
    "model": ...,
    "batch_size": ...,
    "micro_batches": 1,
    "evaluate_every": ...,
    "checkpoint_every": 0,
    "task": ...,
    "method": ...,
    "training": ...,
}
TASK = {
    "kind": ...,
    "train": ...,
    "validation": None,
    "validation_share": 0.1,
    "test": None,
    "max_length": ...,
    "layout": None,
    "format": None,
    "header": True,
    "columns": {},
    "labels": None,
    "metric": None,
    "template": None,
    "skip_bad_rows": False,
    "train_rows": None,
    "scored_rows": {},
    "label_noise": 0.0,
}
COLUMNS = {"text": "text", "label": "label"}
METHOD = {"adaptation": ..., "lora": {}, "perturbation": None}
LORA = {"rank": 8, "alpha": 16.0, "scaling": "lora", "dropout": 0.0, "targets": None}
PERTURBATION = {
    "sigma": 0.03,
    "beta": 0.01,
    "gradient": "adapters",
    "schedule": "constant",
    "refresh_every": 1,
    "noise": "gaussian",
    "form": "paper",
    "spread": "rows",
    "per_micro_batch": False,
}
TRAINING = {"learning_rate": ..., "steps": ..., "schedule": {}, "clip": None, "adamw": {}}
SCHEDULE = {"kind": "constant", "warmup": 0}
ADAMW = {"beta1": 0.9, "beta2": 0.999, "eps": 1e-8, "weight_decay": 0.0}
SCORED_ROWS = {"validation": None, "test": None, "train": 512}

# Where only some values are calculated here.
KNOWN = {
    "micro_batches": [1],
    "task.kind": ["classification"],
    "task.layout": [None],
    "task.format": [None, "tsv"],
    "task.metric": [None, "accuracy", "matthews", "f1", "loss"],
    "task.template": [None],
    "task.skip_bad_rows": [False],
    "task.train_rows": [None],
    "task.label_noise": [0.0],
    "method.adaptation": ["full", "lora"],
    "method.lora.dropout": [0.0],
    "method.lora.scaling": ["lora", "rslora"],
    "method.lora.targets": [None],
    "method.perturbation.gradient": ["adapters", "none"],
    "method.perturbation.schedule": ["constant", "cosine_ramp"],
    "method.perturbation.noise": ["gaussian"],
    "method.perturbation.form": ["paper"],
    "method.perturbation.spread": ["rows", "isotropic"],
    "method.perturbation.per_micro_batch": [False],
    "training.schedule.kind": ["constant", "linear", "cosine"],
}


def read(path):
    """The description with every default filled in, as nested dictionaries."""
    with open(path, "rb") as file:
        try:
            described = tomllib.load(file)
        except tomllib.TOMLDecodeError as error:
            raise Refused(f"{path}: {error}") from error
    return complete(described)


def complete(described):
    """Fills in the defaults and checks every field."""
    config = fill(copy.deepcopy(described), TOP, "")
    for parent, name, fields in [
        (config, "task", TASK),
        (config, "method", METHOD),
        (config, "training", TRAINING),
    ]:
        parent[name] = fill(parent[name], fields, f"{name}.")
    method, training = config["method"], config["training"]
    method["lora"] = fill(method["lora"], LORA, "method.lora.")
    if method["perturbation"] is not None:
        if method["adaptation"] == "full":
            raise Refused("method.perturbation: expected adaptation = \"lora\", found \"full\"")
        method["perturbation"] = fill(
            method["perturbation"], PERTURBATION, "method.perturbation."
        )
    training["schedule"] = fill(training["schedule"], SCHEDULE, "training.schedule.")
    training["adamw"] = fill(training["adamw"], ADAMW, "training.adamw.")
    task = config["task"]
    task["scored_rows"] = fill(task["scored_rows"], SCORED_ROWS, "task.scored_rows.")
    task["columns"] = fill(task["columns"], COLUMNS, "task.columns.")
    return config


def fill(given, fields, prefix):
    """The given fields and the defaults of the others."""
    for name in given:
        if name not in fields:
            raise Refused(f"{prefix}{name}: not known here")
    filled = {}
    for name, default in fields.items():
        value = given.get(name, copy.deepcopy(default))
        if value is ...:
            raise Refused(f"{prefix}{name}: expected a value, found none")
        known = KNOWN.get(prefix + name)
        if known is not None and value not in known:
            accepted = " or ".join(repr(choice) for choice in known)
            raise Refused(f"{prefix}{name}: expected {accepted} here, found {value!r}")
        filled[name] = value
    return filled


def warmup_steps(warmup, total):
    """A whole number is steps, one with a decimal point a share, rounded up."""
    return warmup if isinstance(warmup, int) else math.ceil(total * warmup)


def rate_factor(schedule, step, total):
    """What the learning rate of a step (from 0) is multiplied by."""
    warmup = warmup_steps(schedule["warmup"], total)
    if step < warmup:
        return (step + 1) / warmup
    done = (step - warmup) / max(total - warmup, 1)
    if schedule["kind"] == "linear":
        return 1.0 - done
    if schedule["kind"] == "cosine":
        return 0.5 * (1.0 + math.cos(math.pi * done))
    return 1.0
