#!/usr/bin/env python3
"""Load an adapter of this project in PEFT and compare its logits with ours.

    python peers/load_in_peft.py ADAPTER_DIR BASE_DIR --case CASE
    python peers/load_in_peft.py ADAPTER_DIR BASE_DIR --case CASE --logits FILE

ADAPTER_DIR  `adapter_config.json` and `adapter_model.safetensors`
BASE_DIR     the base model as Transformers knows it: `config.json` and weights,
             or a GGUF file
CASE         a safetensors file with `input_ids` and `attention_mask`, perhaps
             `token_type_ids` and `decoder_input_ids` (I64, batch x time), and
             our `logits` (F32; may be missing with --logits)
FILE         where PEFT's logits are written, under the name `logits`

The model runs in double precision, so that what is measured is the error of our
single precision and of nothing else. One line is printed:

    logits [2, 3]: largest difference 1.2e-07, relative 3.4e-07

Relative means the largest difference over the largest magnitude of a logit.
Exit code 0: within 2e-5. 1: not, or a tensor of the adapter that PEFT did not
take, or one that it expects and did not find. 2: wrong usage.
"""

import argparse
import json
import sys
import warnings
from pathlib import Path

import torch
import transformers
from peft import PeftModel
from peft.utils import get_peft_model_state_dict
from safetensors.torch import load_file, save_file

TOLERANCE = 2e-5  # some hundred roundings of 6e-8 through the layers

INPUTS = ("input_ids", "attention_mask", "token_type_ids", "decoder_input_ids")


class Refused(Exception):
    """What is wrong with the input, as one sentence."""


def open_base(folder, config, weights, padding):
    """The base model that the adapter's task asks for."""
    options = {"dtype": torch.float32, "attn_implementation": "eager"}
    path = Path(folder)
    if path.suffix == ".gguf":
        options["gguf_file"], path = path.name, path.parent
    task = config.get("task_type")
    if task == "SEQ_CLS":
        options["num_labels"] = count_labels(weights)
        options["pad_token_id"] = padding
        kind = transformers.AutoModelForSequenceClassification
    elif task == "SEQ_2_SEQ_LM":
        kind = transformers.AutoModelForSeq2SeqLM
    elif task == "CAUSAL_LM":
        kind = transformers.AutoModelForCausalLM
    else:
        expected = "SEQ_CLS, SEQ_2_SEQ_LM or CAUSAL_LM"
        raise Refused(f"adapter_config.json: task_type: expected {expected}, found {task!r}")
    return kind.from_pretrained(path, **options)


def count_labels(weights):
    """Rows of the trained classifier."""
    for name, tensor in weights.items():
        module = name.rsplit(".", 2)[-2:]
        if module in (["classifier", "weight"], ["score", "weight"]):
            return tensor.shape[0]
    raise Refused("adapter_model.safetensors: expected a trained classifier or score, found none")


def open_adapter(base, folder, weights):
    """The base model with the adapter, each of whose tensors has its place."""
    model = PeftModel.from_pretrained(base, folder)
    taken = get_peft_model_state_dict(model, save_embedding_layers=False)
    for name in sorted(taken.keys() | weights.keys()):
        if name not in weights:
            raise Refused(f"PEFT expects {name}, which the adapter does not hold")
        if name not in taken:
            raise Refused(f"the adapter holds {name}, for which PEFT has no place")
        if not torch.equal(taken[name].to(weights[name].dtype), weights[name]):
            raise Refused(f"{name} in PEFT is not what the adapter holds")
    return model.double().eval()


def first_padding(case):
    """The id that stands where nothing is attended to; 0 if there is no such place."""
    padded = case["input_ids"][case["attention_mask"] == 0]
    return int(padded[0]) if len(padded) else 0


def run(arguments):
    case = load_file(arguments.case)
    folder = Path(arguments.adapter)
    config = json.loads((folder / "adapter_config.json").read_text())
    weights = load_file(folder / "adapter_model.safetensors")
    base = open_base(arguments.base, config, weights, first_padding(case))
    model = open_adapter(base, folder, weights)
    with torch.no_grad():
        found = model(**{name: case[name] for name in INPUTS if name in case}).logits
    if arguments.logits:
        save_file({"logits": found.float().contiguous()}, arguments.logits)
    if "logits" not in case:
        if arguments.logits:
            return 0
        raise Refused(f"{arguments.case}: expected a tensor named logits, found none")
    ours = case["logits"].double()
    if ours.numel() != found.numel():
        raise Refused(f"logits: PEFT has shape {list(found.shape)}, ours {list(ours.shape)}")
    largest = (ours.reshape(found.shape) - found).abs().max().item()
    relative = largest / found.abs().max().item()
    print(f"logits {list(found.shape)}: largest difference {largest:.2e}, relative {relative:.2e}")
    return 0 if relative <= TOLERANCE else 1


def main():
    parser = argparse.ArgumentParser(description="Load an adapter in PEFT and compare logits.")
    parser.add_argument("adapter", metavar="ADAPTER_DIR")
    parser.add_argument("base", metavar="BASE_DIR")
    parser.add_argument("--case", required=True, help="safetensors file with a batch and our logits")
    parser.add_argument("--logits", metavar="FILE", help="write PEFT's logits here")
    arguments = parser.parse_args()
    warnings.filterwarnings("ignore")
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    try:
        return run(arguments)
    except (Refused, OSError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
