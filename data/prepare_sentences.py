"""Prepares SST-2 and CoLA, sentence level, for experiments/sentences.toml.

    python3 data/prepare_sentences.py SST2_FOLDER COLA_FOLDER [OUT]

SST2_FOLDER holds train.tsv and dev.tsv with `label<TAB>text`, COLA_FOLDER the
same with `text<TAB>label`, both without a first line of names. Every tenth
training row becomes the validation split; the dev files are the test splits.
The files are written to OUT (data/fetched) with the columns label and text.
"""

import pathlib
import sys


def rows(path, label_first):
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        fields = line.split("\t")
        if len(fields) != 2:
            sys.exit(f"{path}: line {number}: expected two fields, found {len(fields)}")
        yield fields if label_first else fields[::-1]


def write(path, split):
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = ["label\ttext"] + ["\t".join(row) for row in split]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    print(f"{path}: {len(lines) - 1} rows")


def main(sst2, cola, out="data/fetched"):
    out = pathlib.Path(out)
    for name, folder, label_first in [("sst2", sst2, True), ("cola", cola, False)]:
        folder = pathlib.Path(folder)
        train = list(rows(folder / "train.tsv", label_first))
        write(out / name / "train.tsv", [r for i, r in enumerate(train) if i % 10 != 9])
        write(out / name / "validation.tsv", train[9::10])
        write(out / name / "test.tsv", rows(folder / "dev.tsv", label_first))


if __name__ == "__main__":
    if len(sys.argv) not in (3, 4):
        sys.exit(__doc__)
    main(*sys.argv[1:])
