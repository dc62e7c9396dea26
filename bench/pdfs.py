"""Writes PDF reports of any length from varied sentences, without a library."""

import random
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import BinaryIO

_SUBJECTS = "board river turbine auditor harbour railway forest ministry laboratory vineyard"
_VERBS = "approved measured rebuilt inspected flooded financed mapped closed extended sold"
_OBJECTS = "bridge contract sample estate valley archive shipment reactor orchard tunnel"
_PLACES = "Lund Porto Graz Turku Bergen Leiden Trieste Gdansk Cork Basel"
_LINES, _SENTENCES, _LEADING = 58, 40, 12


def sentence(chance: random.Random) -> str:
    pick = [chance.choice(words.split()) for words in (_SUBJECTS, _VERBS, _OBJECTS, _PLACES)]
    year, amount, share = (
        chance.randint(1950, 2024),
        chance.randint(100, 9999),
        chance.randint(2, 97),
    )
    return (
        f"In {year} the {pick[0]} of {pick[3]} {pick[1]} the {pick[2]}"
        f" for {amount} thousand, which was {share} percent of the plan."
    )


def page_lines(chance: random.Random) -> list[str]:
    """About 4,200 characters in lines of at most 90."""
    return wrapped(" ".join(sentence(chance) for _ in range(_SENTENCES)))[:_LINES]


def wrapped(text: str) -> list[str]:
    """The words of `text` in lines of at most 90 characters."""
    lines, current = [], ""
    for word in text.split():
        if len(current) + len(word) > 89:
            lines.append(current)
            current = ""
        current = f"{current} {word}".strip()
    return [*lines, current]


def write_report(path: Path, *, pages: int, seed: int) -> None:
    """Write a PDF of `pages` pages of text."""
    chance = random.Random(seed)
    with path.open("wb") as file:
        write_pages(file, (page_lines(chance) for _ in range(pages)), count=pages)


def write_pages(file: BinaryIO, pages: Iterable[Sequence[str]], *, count: int) -> None:
    """Write a PDF 1.4 (ISO 32000-1, 7.5) of `count` pages, each given by its lines."""
    offsets: list[int] = []

    def write_object(number: int, body: bytes) -> None:
        offsets.append(file.tell())
        file.write(b"%d 0 obj\n%s\nendobj\n" % (number, body))

    file.write(b"%PDF-1.4\n")
    kids = b" ".join(b"%d 0 R" % (4 + 2 * index) for index in range(count))
    write_object(1, b"<< /Type /Catalog /Pages 2 0 R >>")
    write_object(2, b"<< /Type /Pages /Count %d /Kids [%s] >>" % (count, kids))
    write_object(3, b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>")
    for index, lines in enumerate(pages):
        number = 4 + 2 * index
        write_object(
            number,
            b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 595 842] /Contents %d 0 R"
            b" /Resources << /Font << /F 3 0 R >> >> >>" % (number + 1),
        )
        shown = b"".join(b"(%s) Tj T*\n" % line.encode() for line in lines)
        text = b"BT /F 10 Tf 50 790 Td %d TL\n%sET" % (_LEADING, shown)
        write_object(number + 1, b"<< /Length %d >>\nstream\n%s\nendstream" % (len(text), text))
    _write_end(file, offsets)


def _write_end(file: BinaryIO, offsets: Sequence[int]) -> None:
    start = file.tell()
    file.write(b"xref\n0 %d\n0000000000 65535 f \n" % (len(offsets) + 1))
    file.write(b"".join(b"%010d 00000 n \n" % offset for offset in offsets))
    file.write(
        b"trailer\n<< /Size %d /Root 1 0 R >>\nstartxref\n%d\n%%%%EOF\n" % (len(offsets) + 1, start)
    )
