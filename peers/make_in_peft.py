#!/usr/bin/env python3
"""Train an adapter in PEFT for a few steps and save it as PEFT does.

    python peers/make_in_peft.py BASE_DIR OUT_DIR --kind KIND --case CASE --logits FILE

BASE_DIR  a causal language model as Transformers knows it
OUT_DIR   the adapter's folder, which must not exist
KIND      dora, adalora, pissa, olora, pissa-dora, pissa-niter or pissa-converted
CASE      a safetensors file with `input_ids` and `attention_mask` (I64, batch x time),
          which is also what is trained on
FILE      where the logits of the trained model are written, under the name `logits`

Training is in single precision, the logits are calculated in double precision by the
model that was trained, not by one that was loaded. AdaLoRA gives up half of its triples.
One line is printed: which tensors were saved, by their ends, and how often.

Exit code 0: written. 1: not. 2: wrong usage.
"""

import argparse
import collections
import json
import sys
import warnings
from pathlib import Path

import torch
import transformers
from peft import AdaLoraConfig, LoraConfig, get_peft_model
from safetensors.torch import load_file, save_file

STEPS = 8
LEARNING_RATE = 1e-2


def config_of(kind, targets):
    """What PEFT is asked for."""
    common = {"task_type": "CAUSAL_LM", "target_modules": targets}
    if kind == "adalora":
        budget = {"init_r": 6, "target_r": 3, "tinit": 1, "tfinal": 2, "deltaT": 1}
        return AdaLoraConfig(lora_alpha=12, total_step=STEPS, **budget, **common)
    start = {"pissa-dora": "pissa", "pissa-niter": "pissa_niter_4", "pissa-converted": "pissa"}
    start = start.get(kind, kind)
    return LoraConfig(
        r=4,
        lora_alpha=8,
        use_dora=kind in ("dora", "pissa-dora"),
        init_lora_weights=True if start == "dora" else start,
        **common,
    )


def train(model, batch):
    """A few steps on one batch."""
    labels = batch["input_ids"].masked_fill(batch["attention_mask"] == 0, -100)
    trained = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=LEARNING_RATE, weight_decay=0.0)
    for step in range(STEPS):
        optimizer.zero_grad()
        model(**batch, labels=labels).loss.backward()
        optimizer.step()
        if hasattr(model.base_model, "update_and_allocate"):
            model.base_model.update_and_allocate(step)


def run(arguments):
    out = Path(arguments.out)
    if out.exists():
        raise ValueError(f"{out} already exists and is not overwritten")
    torch.manual_seed(1)
    case = load_file(arguments.case)
    batch = {name: case[name] for name in ("input_ids", "attention_mask")}
    base = transformers.AutoModelForCausalLM.from_pretrained(
        arguments.base, dtype=torch.float32, attn_implementation="eager"
    )
    linear = (name for name, module in base.named_modules() if isinstance(module, torch.nn.Linear))
    targets = sorted({name.rsplit(".", 1)[-1] for name in linear if name != "lm_head"})
    config = config_of(arguments.kind, targets)
    model = get_peft_model(base, config).train()
    options = {}
    if arguments.kind == "pissa-converted":
        model.peft_config["default"].init_lora_weights = True
        # PEFT makes a name of modules from this folder's, which has no dot therefore.
        start = out.with_name(f"{out.name}-start")
        model.save_pretrained(start)
        options["path_initial_model_for_weight_conversion"] = str(start)
        model.peft_config["default"].init_lora_weights = "pissa"
    train(model, batch)
    model.eval()
    if options:
        # The conversion changes what is in memory, so the logits come first.
        write_logits(model, batch, arguments.logits)
        model.float()
        model.save_pretrained(out, **options)
    else:
        model.save_pretrained(out)
        write_logits(model, batch, arguments.logits)
    saved = load_file(out / "adapter_model.safetensors")
    ends = collections.Counter(name.split(".lora_")[-1] for name in saved)
    written = json.loads((out / "adapter_config.json").read_text())
    pattern = written.get("rank_pattern") or {}
    kept = sum(sum(mask) for mask in pattern.values() if isinstance(mask, list))
    counts = ", ".join(f"lora_{end} x {count}" for end, count in sorted(ends.items()))
    print(f"{counts}; {kept} triples kept" if kept else counts)
    return 0


def write_logits(model, batch, path):
    with torch.no_grad():
        logits = model.double()(**batch).logits
    save_file({"logits": logits.float().contiguous()}, path)


def main():
    parser = argparse.ArgumentParser(description="Train an adapter in PEFT and save it.")
    parser.add_argument("base", metavar="BASE_DIR")
    parser.add_argument("out", metavar="OUT_DIR")
    kinds = ["dora", "adalora", "pissa", "olora", "pissa-dora", "pissa-niter", "pissa-converted"]
    parser.add_argument("--kind", required=True, choices=kinds)
    parser.add_argument("--case", required=True, help="safetensors file with a batch")
    parser.add_argument("--logits", required=True, metavar="FILE", help="where the logits go")
    arguments = parser.parse_args()
    warnings.filterwarnings("ignore")
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    try:
        return run(arguments)
    except (OSError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
