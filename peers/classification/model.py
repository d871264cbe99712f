"""The model that is trained: a BERT classifier of Transformers, with PEFT's LoRA."""

import torch
import transformers
from peft import LoraConfig, get_peft_model
from peft.tuners.lora import LoraLayer
from safetensors.torch import load_file

from .description import Refused

# All linear layers of the blocks, by the ends of their names. The pooler is not
# among them: it belongs to the head, which is trained as a whole.
BLOCK_LINEARS = [
    "query",
    "key",
    "value",
    "attention.output.dense",
    "intermediate.dense",
    "output.dense",
]
HEAD = ["bert.pooler.dense", "classifier"]

# Standard deviation of new weights of the head; new biases are 0.
INITIALIZER_RANGE = 0.02


def open_model(config, folder, classes, dtype, init):
    """The model with everything that is trained at its start."""
    torch.manual_seed(config["seed"])
    model, loading = transformers.BertForSequenceClassification.from_pretrained(
        folder,
        num_labels=classes,
        dtype=dtype,
        attn_implementation="eager",
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
        classifier_dropout=0.0,
        output_loading_info=True,
    )
    start_head(model, loading["missing_keys"])
    if config["method"]["adaptation"] == "lora":
        model = add_adapters(model, config["method"]["lora"])
    if init:
        set_start(model, init)
    return model


def start_head(model, missing):
    """New parameters of the head; every other one must have been in the file."""
    for name, parameter in model.named_parameters():
        if name not in missing:
            continue
        if not name.startswith(tuple(f"{module}." for module in HEAD)):
            raise Refused(f"expected a tensor named {name} in the model's file, found none")
        with torch.no_grad():
            if name.endswith(".bias"):
                parameter.zero_()
            else:
                parameter.normal_(0.0, INITIALIZER_RANGE)


def add_adapters(model, lora):
    settings = LoraConfig(
        task_type="SEQ_CLS",
        r=lora["rank"],
        lora_alpha=lora["alpha"],
        use_rslora=lora["scaling"] == "rslora",
        lora_dropout=0.0,
        target_modules=BLOCK_LINEARS,
        modules_to_save=HEAD,
    )
    model = get_peft_model(model, settings)
    trained = [name for name, parameter in model.named_parameters() if parameter.requires_grad]
    for name in trained:
        if ".lora_" not in name and not any(f".{module}." in name for module in HEAD):
            raise Refused(f"PEFT trains {name}, which was not asked for")
    return model


def adapted_layers(model):
    """PEFT's LoRA layers by the name of their module in the base model, in that order."""
    layers = {
        own_name(name): module
        for name, module in model.named_modules()
        if isinstance(module, LoraLayer)
    }
    return dict(sorted(layers.items()))


def own_name(name):
    """A name as the files of models and adapters have it."""
    for part in (".default", ".modules_to_save", ".base_layer"):
        name = name.replace(part, "")
    return name.removeprefix("base_model.model.")


def set_start(model, path):
    """Takes parameters that are trained from a file, by their names there."""
    given = load_file(path)
    places = {
        own_name(name): parameter
        for name, parameter in model.named_parameters()
        if parameter.requires_grad
    }
    if places.keys() != given.keys():
        name = sorted(places.keys() ^ given.keys())[0]
        where = "is not trained here" if name in given else "is missing there"
        raise Refused(f"{path}: expected what is trained here; {name} {where}")
    with torch.no_grad():
        for name, parameter in places.items():
            if parameter.shape != given[name].shape:
                found = list(given[name].shape)
                raise Refused(f"{path}: {name}: expected {list(parameter.shape)}, found {found}")
            parameter.copy_(given[name])
