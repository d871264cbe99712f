"""Prepares GSM8K for experiments/gsm8k.toml.

    python3 data/prepare_gsm8k.py GSM8K_FOLDER [OUT]

GSM8K_FOLDER holds train.jsonl and test.jsonl as published (openai/grade-school-math,
MIT licence), objects with `question` and `answer`. Every tenth training row
becomes the validation split. The annotations of a calculator, such as
<<48/2=24>>, are taken out of the solutions: no calculator runs here. The files
are written to OUT (data/fetched/gsm8k) with the fields prompt and completion.
"""

import json
import pathlib
import re
import sys

ANNOTATION = re.compile(r"<<[^<>]*>>")


def rows(path):
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        row = json.loads(line)
        if set(row) != {"question", "answer"}:
            sys.exit(f"{path}: line {number}: expected question and answer, found {sorted(row)}")
        completion = ANNOTATION.sub("", row["answer"])
        yield {"prompt": row["question"].strip(), "completion": completion}


def write(path, split):
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = [json.dumps(row, ensure_ascii=False) for row in split]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    print(f"{path}: {len(lines)} rows")


def main(folder, out="data/fetched/gsm8k"):
    folder, out = pathlib.Path(folder), pathlib.Path(out)
    train = list(rows(folder / "train.jsonl"))
    write(out / "train.jsonl", [r for i, r in enumerate(train) if i % 10 != 9])
    write(out / "validation.jsonl", train[9::10])
    write(out / "test.jsonl", rows(folder / "test.jsonl"))


if __name__ == "__main__":
    if len(sys.argv) not in (2, 3):
        sys.exit(__doc__)
    main(*sys.argv[1:])
