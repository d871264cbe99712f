#!/usr/bin/env python3
"""Train a BERT classifier with PyTorch, Transformers and PEFT on the CPU.

    python peers/train_classification.py examples/spam-ggpo.toml OUT
    python peers/train_classification.py RUN.toml OUT --method lora \\
        --learning-rates 1e-3 3e-3 --seeds 1 2 3

RUN.toml is the description that `ggpo train` takes; options replace
single fields of it. Every run writes OUT/METHOD-lrRATE-seedSEED.json: the fields
of our `result.json` under the same names, further `gradient_norms`, `seconds`,
`training_seconds` (steps alone, without evaluations), `versions`, `threads` and
the whole `description`. A run whose file is there is not done again.

To follow one trajectory on both sides:

    --init FILE     safetensors with everything that is trained, by our names
                    (`MODULE.lora_A.weight`, `classifier.weight`, ...)
    --batches FILE  JSON: for every step a list of row numbers of the training split

`cargo xtask peft-check --run RUN.toml` writes both and compares the losses.
"""

import argparse
import copy
import json
import math
import os
import sys
import tempfile
import warnings
from pathlib import Path

import peft
import torch
import transformers

from classification import data, description, model
from classification.description import Refused
from classification.training import Run

METHODS = ["full", "lora", "ggpo"]


def parse():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("run", metavar="RUN.toml")
    parser.add_argument("out", metavar="OUT", type=Path)
    replace = parser.add_argument_group("instead of what the description says")
    replace.add_argument("--model", metavar="DIR")
    for split in ("train", "validation", "test"):
        replace.add_argument(f"--{split}", metavar="TSV")
    replace.add_argument("--method", choices=METHODS, help="ggpo: sigma 0.03, beta 0.01 unless described")
    replace.add_argument("--learning-rates", type=float, nargs="+", metavar="RATE")
    replace.add_argument("--seeds", type=int, nargs="+", metavar="SEED")
    parser.add_argument("--stop-after", type=int, metavar="STEPS", help="same schedule, fewer steps")
    parser.add_argument("--init", metavar="FILE")
    parser.add_argument("--batches", metavar="FILE")
    parser.add_argument("--dtype", choices=["float32", "float64"], default="float32")
    parser.add_argument("--threads", type=int, metavar="N")
    return parser.parse_args()


def described(arguments):
    """The description with what the options replace."""
    config = description.read(arguments.run)
    if arguments.model:
        config["model"] = arguments.model
    for split in ("train", "validation", "test"):
        config["task"][split] = getattr(arguments, split) or config["task"][split]
    method = config["method"]
    if arguments.method:
        method["adaptation"] = "full" if arguments.method == "full" else "lora"
    if arguments.method in ("full", "lora"):
        method["perturbation"] = None
    if arguments.method == "ggpo":
        method["perturbation"] = method["perturbation"] or {}
    return description.complete(config)


def method_name(config):
    if config["method"]["perturbation"]:
        return "ggpo"
    return config["method"]["adaptation"]


def train(config, arguments, prepared, path):
    """One run, and its file."""
    encoder, labels, splits = prepared
    dtype = getattr(torch, arguments.dtype)
    network = model.open_model(config, config["model"], len(labels), dtype, arguments.init)
    given, stop_after = None, arguments.stop_after
    if arguments.batches:
        if "validation" not in splits:
            raise Refused("task.validation: expected a file, which --batches needs, found none")
        given = json.loads(Path(arguments.batches).read_text())
        stop_after = min(len(given), stop_after or len(given))
    run = Run(config, network, data.set_aside(splits, config), encoder.padding, given)

    def show(step, loss):
        if sys.stderr.isatty():
            print(f"\r{path.stem}: step {step + 1}, loss {loss:.4f}  ", end="", file=sys.stderr)

    result = run.train(stop_after, show)
    result["threads"] = torch.get_num_threads()
    result["versions"] = {
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "peft": peft.__version__,
    }
    result["description"] = config
    write(path, result)
    split = "test" if result["test"] else "validation"
    classes = result[split]["classes"]
    print(
        f"{path}: best after step {result['best_step']}, "
        f"{split} accuracy {classes['accuracy']:.4f}, Matthews {classes['matthews']:.4f}, "
        f"{result['seconds']:.1f} s"
    )


def write(path, result):
    """Writes the file whole or not at all; a number that is none becomes text."""
    text = json.dumps(as_json(result), indent=1)
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile("w", dir=path.parent, prefix=".partial-", delete=False) as file:
        file.write(text)
    os.replace(file.name, path)


def as_json(value):
    if isinstance(value, dict):
        return {key: as_json(part) for key, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [as_json(part) for part in value]
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else str(value)
    return value


def run(arguments):
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    base = described(arguments)
    prepared = data.read_splits(base, Path(base["model"]))
    for rate in arguments.learning_rates or [base["training"]["learning_rate"]]:
        for seed in arguments.seeds or [base["seed"]]:
            config = copy.deepcopy(base)
            config["seed"], config["training"]["learning_rate"] = seed, rate
            path = arguments.out / f"{method_name(config)}-lr{rate:g}-seed{seed}.json"
            if path.exists():
                print(f"{path}: is there already")
                continue
            train(config, arguments, prepared, path)


def main():
    arguments = parse()
    warnings.filterwarnings("ignore", category=FutureWarning)
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    try:
        run(arguments)
    except (Refused, OSError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
