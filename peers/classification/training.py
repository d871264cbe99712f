"""One run: from the description to a result."""

import math
import time

import torch

from . import data
from .description import rate_factor
from .ggpo import Ggpo
from .model import adapted_layers
from .scores import better, evaluate


class Batches:
    """The batch of every step: given row numbers, or epochs of our own."""

    def __init__(self, examples, config, padding, given):
        self.examples = examples
        self.config = config
        self.padding = padding
        self.given = given
        self.lengths = [len(example.ids) for example in examples]
        self.epoch = None

    def of(self, step):
        rows = self.given[step] if self.given else self.next_rows(step)
        return data.collate([self.examples[row] for row in rows], self.padding)

    def next_rows(self, step):
        size, seed = self.config["batch_size"], self.config["seed"]
        epoch, within = divmod(step, math.ceil(len(self.examples) / size))
        if epoch != self.epoch:
            self.epoch = epoch
            self.batches = data.epoch_batches(self.lengths, size, seed, epoch)
        return self.batches[within]


class Run:
    """A model in training, and what has been seen of it."""

    def __init__(self, config, model, splits, padding, given=None):
        self.config = config
        self.model = model.train()
        self.trained = {
            name: parameter
            for name, parameter in model.named_parameters()
            if parameter.requires_grad
        }
        self.batches = Batches(splits["train"], config, padding, given)
        scored = config["task"]["scored_rows"]
        self.splits = {
            split: data.evaluation_batches(splits[split], scored[split], padding)
            for split in splits
        }
        self.metric = config["task"]["metric"] or "accuracy"
        adamw = config["training"]["adamw"]
        self.optimizer = torch.optim.AdamW(
            self.trained.values(),
            lr=config["training"]["learning_rate"],
            betas=(adamw["beta1"], adamw["beta2"]),
            eps=adamw["eps"],
            weight_decay=adamw["weight_decay"],
        )
        options = config["method"]["perturbation"]
        steps = config["training"]["steps"]
        self.ggpo = options and Ggpo(options, adapted_layers(model), config["seed"], steps)
        self.best = None
        self.losses, self.gradient_norms = [], []
        self.evaluations, self.noise = [], []
        self.training_seconds = 0.0

    def train(self, stop_after=None, on_step=lambda step, loss: None):
        """Trains to the end; returns the result."""
        started = time.perf_counter()
        total = self.config["training"]["steps"]
        last = min(total, total if stop_after is None else stop_after)
        diverged_at = None
        self.look(0)
        for step in range(last):
            before = time.perf_counter()
            loss = self.step(step, total)
            self.training_seconds += time.perf_counter() - before
            if loss is None:
                diverged_at = step
                break
            self.losses.append(loss)
            on_step(step, loss)
            if (step + 1) % self.config["evaluate_every"] == 0 or step + 1 == last:
                self.look(step + 1)
        return self.finish(diverged_at, started)

    def step(self, step, total):
        """One optimiser step; returns its loss, or None if that is not finite."""
        inputs, labels = self.batches.of(step)
        if self.ggpo:
            self.ggpo.begin_step(step)
        loss = torch.nn.functional.cross_entropy(self.model(**inputs).logits, labels)
        self.optimizer.zero_grad()
        loss.backward()
        if self.ggpo:
            self.ggpo.end_step()
            self.ggpo.keep_gradients()
        limit = self.config["training"]["clip"] or math.inf
        norm = torch.nn.utils.clip_grad_norm_(self.trained.values(), limit)
        if not (math.isfinite(loss.item()) and math.isfinite(norm.item())):
            return None
        self.gradient_norms.append(norm.item())
        factor = rate_factor(self.config["training"]["schedule"], step, total)
        for group in self.optimizer.param_groups:
            group["lr"] = self.config["training"]["learning_rate"] * factor
        self.optimizer.step()
        return loss.item()

    def look(self, step):
        """Looks at the validation split, and keeps the best state."""
        scores = evaluate(self.model, self.splits["validation"])
        self.evaluations.append([step, scores])
        if self.ggpo and step > 0:
            self.noise.append([step, self.ggpo.statistics])
        improves = self.best is None or better(scores, self.best[1], self.metric)
        if improves and math.isfinite(scores["loss"]):
            state = {name: value.detach().clone() for name, value in self.trained.items()}
            self.best = (step, scores, state)

    def finish(self, diverged_at, started):
        last_test = self.test()
        last_train = evaluate(self.model, self.splits["train"])
        step, scores, state = self.best
        with torch.no_grad():
            for name, value in self.trained.items():
                value.copy_(state[name])
        return {
            "diverged_at": diverged_at,
            "best_step": step,
            "validation": scores,
            "test": self.test(),
            "last_test": last_test,
            "last_train": last_train,
            "losses": self.losses,
            "evaluations": self.evaluations,
            "noise": self.noise,
            "trained_parameters": sum(value.numel() for value in self.trained.values()),
            "gradient_norms": self.gradient_norms,
            "seconds": time.perf_counter() - started,
            "training_seconds": self.training_seconds,
        }

    def test(self):
        """Scores on the test split, if there is one."""
        return evaluate(self.model, self.splits["test"]) if "test" in self.splits else None
