"""LoRA-GGPO, written down literally.

Every step draws eps_ij ~ N(0, v_i) for every adapted layer and the layer
multiplies with W + s B A + eps, forward and backward:

    v_i = (sigma^2 / n) * ( ||W'_i||^2 + beta * ||G_i||^2 ),  W' = W + s B A   (6, 8)
    G  ~=  s * ( B dA + dB A )                                                (7)

with the raw gradients dA and dB of the step before. Matrices of the size of W
are formed without hesitation: this side is for comparison, not for speed.
"""

import math

import torch
from torch.nn.functional import linear


class Ggpo:
    """The perturbation of all adapted layers."""

    def __init__(self, config, layers, seed, total_steps):
        self.config = config
        self.total_steps = total_steps
        self.layers = [PerturbedLayer(layer) for layer in layers.values()]
        self.random = torch.Generator().manual_seed(seed)
        self.statistics = []

    def begin_step(self, step):
        """Draws the noise of a step."""
        factor = sigma_factor(self.config["schedule"], step, self.total_steps)
        if step % self.config["refresh_every"] == 0:
            self.statistics = [layer.refresh(self.config) for layer in self.layers]
        for layer in self.layers:
            layer.draw(factor, self.random)

    def keep_gradients(self):
        """Notes dA and dB as the backward pass left them, before any clipping."""
        for layer in self.layers:
            layer.grad_a = layer.a.grad.clone()
            layer.grad_b = layer.b.grad.clone()

    def end_step(self):
        """Nothing of the noise remains."""
        for layer in self.layers:
            layer.eps = None


class PerturbedLayer:
    """One LoRA layer of PEFT whose forward pass uses W + s B A + eps."""

    def __init__(self, layer):
        self.weight = layer.base_layer.weight
        self.bias = layer.base_layer.bias
        self.a = layer.lora_A["default"].weight
        self.b = layer.lora_B["default"].weight
        self.scaling = layer.scaling["default"]
        self.grad_a = self.grad_b = None
        self.std = self.eps = None
        self.unperturbed = layer.forward
        layer.forward = self.forward

    def merged(self):
        return self.weight + self.scaling * (self.b @ self.a)

    def forward(self, x):
        if self.eps is None:
            return self.unperturbed(x)
        return linear(x, self.merged() + self.eps, self.bias)

    @torch.no_grad()
    def refresh(self, config):
        """Calculates the deviation of every row at the schedule's factor 1."""
        weight = self.merged().square().sum(dim=1)
        gradient = self.gradient_norms_squared(config)
        guided = config["beta"] * gradient
        norms = (weight + guided).sqrt()
        if config["spread"] == "isotropic":
            norms = norms.square().mean().sqrt().expand_as(norms)
        self.std = config["sigma"] / math.sqrt(self.weight.shape[1]) * norms
        total = (weight + guided).sum().item()
        return {
            "row_std": self.std.mean().item(),
            "gradient_share": guided.sum().item() / total if total > 0 else 0.0,
            "weight_norm": weight.sqrt().mean().item(),
            "grad_norm": gradient.sqrt().mean().item(),
        }

    def gradient_norms_squared(self, config):
        if config["gradient"] == "none" or self.grad_a is None:
            return torch.zeros_like(self.weight[:, 0])
        estimate = self.scaling * (self.b @ self.grad_a + self.grad_b @ self.a)
        return estimate.square().sum(dim=1)

    @torch.no_grad()
    def draw(self, factor, random):
        z = torch.randn(self.weight.shape, generator=random, dtype=self.weight.dtype)
        self.eps = factor * self.std[:, None] * z


def sigma_factor(schedule, step, total):
    """Flat-LoRA's ramp, or 1."""
    if schedule == "constant":
        return 1.0
    return 0.5 * (1.0 - math.cos(math.pi * step / total))
