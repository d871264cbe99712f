"""From tables of labelled texts to batches of token ids."""

import random
from dataclasses import dataclass

import torch
from tokenizers import Tokenizer

from .description import Refused

EVALUATION_ROWS = 64  # rows per batch of an evaluation
POOL = 32  # batches among whose rows similar lengths are put together


@dataclass
class Example:
    """One text."""

    ids: list
    label: int


def read_table(path, task):
    """Rows (label, text) of a tab-separated file.

    The first line names the columns unless `header` is false; a column is known
    by its name or its number from 1.
    """
    with open(path, encoding="utf-8-sig", newline="") as file:
        lines = [line.rstrip("\r\n").split("\t") for line in file]
    rows = [row for row in lines if row != [""]]
    if not rows[task["header"] :]:
        raise Refused(f"{path}: expected rows, found none")
    names = rows.pop(0) if task["header"] else [None] * len(rows[0])
    label, text = (column(path, names, task["columns"][role]) for role in ("label", "text"))
    table = []
    for number, row in enumerate(rows, start=1):
        if len(row) != len(names):
            raise Refused(f"{path}: row {number}: expected {len(names)} columns, found {len(row)}")
        table.append((row[label].strip(), row[text].strip()))
        if not all(table[-1]):
            raise Refused(f"{path}: row {number}: expected a label and a text, found an empty one")
    return table


def column(path, names, wanted):
    """The place of a column, from 0."""
    if isinstance(wanted, int) and 1 <= wanted <= len(names):
        return wanted - 1
    if wanted in names:
        return names.index(wanted)
    raise Refused(f"{path}: expected a column {wanted!r}, found {names}")


class Encoder:
    """Texts to ids between [CLS] and [SEP], cut to a length."""

    def __init__(self, path):
        self.tokenizer = Tokenizer.from_file(str(path))
        self.tokenizer.no_padding()
        self.tokenizer.no_truncation()
        # "[SEP]" in a text is text.
        self.tokenizer.encode_special_tokens = True
        self.padding = self.tokenizer.token_to_id("[PAD]")
        if self.padding is None:
            raise Refused(f"{path}: expected a token [PAD], found none")
        frame = [self.tokenizer.token_to_id(name) for name in ("[CLS]", "[SEP]")]
        self.start, self.end = ([id] if id is not None else [] for id in frame)

    def encode(self, text, max_length):
        ids = self.tokenizer.encode(text, add_special_tokens=False).ids
        room = max_length - len(self.start) - len(self.end)
        return self.start + ids[:room] + self.end


def read_splits(config, model_folder):
    """The encoder, the labels, and the splits: train, and those that have a file."""
    encoder = Encoder(model_folder / "tokenizer.json")
    task = config["task"]
    named = [split for split in ("train", "validation", "test") if task[split]]
    tables = {split: read_table(task[split], task) for split in named}
    labels = task["labels"] or sorted({label for label, _ in tables["train"]})
    if len(labels) < 2:
        raise Refused(f"{task['train']}: expected two classes or more, found {labels}")
    splits = {}
    for split, rows in tables.items():
        for label, _ in rows:
            if label not in labels:
                raise Refused(f"{task[split]}: expected one of the labels {labels}, found {label!r}")
        splits[split] = [
            Example(encoder.encode(text, task["max_length"]), labels.index(label))
            for label, text in rows
        ]
    return encoder, labels, splits


def set_aside(splits, config):
    """The splits with a part of the training rows for validation, if it has no file.

    The rows are drawn by the seed, but they are not those that our side draws.
    """
    if "validation" in splits:
        return splits
    rows = range(len(splits["train"]))
    count = min(max(round(config["task"]["validation_share"] * len(rows)), 1), len(rows) - 1)
    aside = set(random.Random(f"{config['seed']}/validation").sample(rows, count))
    of = lambda wanted: [splits["train"][row] for row in rows if (row in aside) == wanted]
    return {**splits, "train": of(False), "validation": of(True)}


def collate(examples, padding):
    """A batch padded on the right to its longest text."""
    longest = max(len(example.ids) for example in examples)
    ids = [example.ids + [padding] * (longest - len(example.ids)) for example in examples]
    kept = [[int(t < len(example.ids)) for t in range(longest)] for example in examples]
    inputs = {"input_ids": torch.tensor(ids), "attention_mask": torch.tensor(kept)}
    return inputs, torch.tensor([example.label for example in examples])


def epoch_batches(lengths, batch_size, seed, epoch):
    """Row numbers of each batch of an epoch: random, but of similar lengths."""
    order = random.Random(f"{seed}/{epoch}")
    rows = list(range(len(lengths)))
    order.shuffle(rows)
    pool = POOL * batch_size
    rows = [
        row
        for first in range(0, len(rows), pool)
        for row in sorted(rows[first : first + pool], key=lambda row: lengths[row])
    ]
    batches = [rows[first : first + batch_size] for first in range(0, len(rows), batch_size)]
    order.shuffle(batches)
    return batches


def evaluation_batches(examples, rows, padding):
    """The first `rows` examples (all for None), similar lengths together."""
    chosen = sorted(examples[:rows], key=lambda example: len(example.ids))
    parts = (chosen[n : n + EVALUATION_ROWS] for n in range(0, len(chosen), EVALUATION_ROWS))
    return [collate(part, padding) for part in parts]
