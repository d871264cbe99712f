#!/usr/bin/env python3
"""Do the training steps of `ggpo bench` with PyTorch, Transformers and PEFT.

    yes step | head -20 | python peers/bench_torch.py --shape minilm --method lora

The process writes `ready` when it can begin. Every line `step` that it reads makes
it do one step and write how many milliseconds that took. At the end of its input it
writes one JSON object: memory, versions, allocator, instruction set. `cargo xtask
bench --against torch` drives it so.

The work of a step is that of `ggpo bench`: the same shape with random weights,
single precision, no dropout and no padding; LoRA of rank 8 and alpha 16 on all
linear layers of the blocks (`lora`; `ggpo` with the noise of classification/ggpo.py)
or every weight (`full`); a target for every row of the classifier, whose head is
trained, and at every position of a decoder; gradients clipped at 1; AdamW.
"""

import argparse
import json
import os
import sys
import time
import warnings

import peft
import torch
import transformers
from peft import LoraConfig, get_peft_model

from classification.description import PERTURBATION
from classification.ggpo import Ggpo
from classification.model import BLOCK_LINEARS, HEAD, adapted_layers

BATCHES = {"minilm": (32, 128), "llama": (8, 256), "tiny": (16, 64), "smollm2": (4, 128)}
# Layers, width, heads, heads of keys and values, FFN, vocabulary.
LLAMAS = {
    "llama": (6, 288, 6, 6, 768, 32000),
    "tiny": (2, 64, 4, 4, 256, 256),
    "smollm2": (30, 576, 9, 3, 1536, 49152),
}
RANK, ALPHA = 8, 16
LEARNING_RATE = 1e-4
CLIP = 1.0
SEED = 1


def parse():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--shape", choices=BATCHES, required=True)
    parser.add_argument("--method", choices=["lora", "ggpo", "full"], default="lora")
    parser.add_argument("--batch", type=int, metavar="N", help="rows of a batch")
    parser.add_argument("--seq", type=int, metavar="N", help="tokens of a row")
    parser.add_argument("--threads", type=int, metavar="N")
    arguments = parser.parse_args()
    batch, seq = BATCHES[arguments.shape]
    arguments.batch = arguments.batch or batch
    arguments.seq = arguments.seq or seq
    return arguments


def bert(seq):
    config = transformers.BertConfig(
        vocab_size=30522,
        hidden_size=384,
        num_hidden_layers=6,
        num_attention_heads=12,
        intermediate_size=1536,
        max_position_embeddings=max(seq, 512),
        num_labels=2,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
        attn_implementation="sdpa",
    )
    return transformers.BertForSequenceClassification(config)


def llama(shape, seq):
    layers, width, heads, kv_heads, inner, vocabulary = LLAMAS[shape]
    config = transformers.LlamaConfig(
        vocab_size=vocabulary,
        hidden_size=width,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=kv_heads,
        intermediate_size=inner,
        max_position_embeddings=seq,
        rms_norm_eps=1e-5,
        tie_word_embeddings=True,
        use_cache=False,
        attn_implementation="sdpa",
    )
    return transformers.LlamaForCausalLM(config)


def open_model(shape, seq, method):
    """The model, ready for training; its classes or vocabulary."""
    model = bert(seq) if shape == "minilm" else llama(shape, seq)
    outputs = model.config.num_labels if shape == "minilm" else model.config.vocab_size
    if method != "full":
        classifier = shape == "minilm"
        lora = LoraConfig(
            task_type="SEQ_CLS" if classifier else "CAUSAL_LM",
            r=RANK,
            lora_alpha=ALPHA,
            lora_dropout=0.0,
            target_modules=BLOCK_LINEARS if classifier else "all-linear",
            modules_to_save=HEAD if classifier else None,
        )
        model = get_peft_model(model, lora)
    return model.train(), outputs


class Steps:
    """A model in training on one batch."""

    def __init__(self, arguments):
        torch.manual_seed(SEED)
        self.model, outputs = open_model(arguments.shape, arguments.seq, arguments.method)
        shape = (arguments.batch, arguments.seq)
        self.ids = torch.randint(self.model.config.vocab_size, shape)
        targets = shape[:1] if arguments.shape == "minilm" else shape
        self.targets = torch.randint(outputs, targets).flatten()
        self.trained = [p for p in self.model.parameters() if p.requires_grad]
        # What Transformers trains with: one pass over each parameter.
        self.optimizer = torch.optim.AdamW(
            self.trained, lr=LEARNING_RATE, weight_decay=0.0, fused=True
        )
        self.ggpo = None
        if arguments.method == "ggpo":
            self.ggpo = Ggpo(PERTURBATION, adapted_layers(self.model), SEED, 1)
        self.done = 0

    def step(self):
        if self.ggpo:
            self.ggpo.begin_step(self.done)
        logits = self.model(input_ids=self.ids).logits
        loss = torch.nn.functional.cross_entropy(logits.flatten(0, -2), self.targets)
        self.optimizer.zero_grad()
        loss.backward()
        if self.ggpo:
            self.ggpo.end_step()
            self.ggpo.keep_gradients()
        torch.nn.utils.clip_grad_norm_(self.trained, CLIP)
        self.optimizer.step()
        self.done += 1
        return loss.item()


def peak_rss_mib():
    """Peak of this process's resident memory, where the operating system tells."""
    try:
        with open("/proc/self/status") as status:
            kib = next(line.split()[1] for line in status if line.startswith("VmHWM:"))
    except (OSError, StopIteration):
        return None
    return int(kib) / 1024


def allocator():
    """The allocator that is loaded, and what it was told."""
    try:
        with open("/proc/self/maps") as maps:
            files = {line.split()[-1] for line in maps if "malloc" in line}
    except OSError:
        files = set()
    named = sorted(os.path.basename(file) for file in files if file.startswith("/"))
    told = ("GLIBC_TUNABLES", "THP_MEM_ALLOC_ENABLE")
    told = [f"{name}={os.environ[name]}" for name in told if name in os.environ]
    return ", ".join((named or ["the system's malloc"]) + told)


def instructions():
    """The instruction set of PyTorch's kernels, and what held it to that."""
    told = ("ATEN_CPU_CAPABILITY", "ONEDNN_MAX_CPU_ISA", "MKL_ENABLE_INSTRUCTIONS")
    told = [f"{name}={os.environ[name]}" for name in told if name in os.environ]
    return ", ".join([torch.backends.cpu.get_cpu_capability()] + told)


def main():
    arguments = parse()
    warnings.filterwarnings("ignore", category=FutureWarning)
    transformers.logging.set_verbosity_error()
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    imported = peak_rss_mib()
    steps = Steps(arguments)
    print("ready", flush=True)
    for request in sys.stdin:
        if request != "step\n":
            print(f"error: expected step, found {request!r}", file=sys.stderr)
            return 1
        started = time.perf_counter()
        steps.step()
        print((time.perf_counter() - started) * 1e3, flush=True)
    finished = {
        "peak_rss_mib": peak_rss_mib(),
        "imported_rss_mib": imported,
        "trained": sum(parameter.numel() for parameter in steps.trained),
        "versions": {
            "PyTorch": torch.__version__,
            "Transformers": transformers.__version__,
            "PEFT": peft.__version__,
        },
        "allocator": allocator(),
        "instructions": instructions(),
    }
    print(json.dumps(finished))
    return 0


if __name__ == "__main__":
    sys.exit(main())
