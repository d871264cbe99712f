"""Makes biases.safetensors: biases for the Llama fixture, and its logits with them.

    pip install torch transformers safetensors
    python make.py

The model is fixtures/reference/llama with a bias in every linear layer of its
blocks, calculated by Transformers in double precision (but for RMS norm and
rotary angles, which it takes in single precision).
"""

import pathlib

import torch
from safetensors.torch import load_file, save_file
from transformers import LlamaConfig, LlamaForCausalLM

HERE = pathlib.Path(__file__).parent
FIXTURE = HERE.parents[3] / "fixtures" / "reference" / "llama"

torch.manual_seed(5)
config = LlamaConfig.from_pretrained(FIXTURE / "model", attention_bias=True, mlp_bias=True)
model = LlamaForCausalLM(config).double().eval()
weights = load_file(FIXTURE / "model" / "model.safetensors")
names = [name for name in model.state_dict() if name.endswith(".bias")]
biases = {name: 0.5 * torch.randn(model.state_dict()[name].shape) for name in names}
model.load_state_dict({**weights, **biases})
ids = torch.tensor([[5, 9, 2, 7, 11, 60, 100, 3]])
with torch.no_grad():
    logits = model(ids).logits
save_file({**biases, "input_ids": ids, "logits": logits}, HERE / "biases.safetensors")
