"""Page labels: the numbers that a file prints on its pages (ISO 32000-2, 12.4.2)."""

from collections.abc import Iterator, Sequence
from operator import attrgetter
from typing import Any

from core.pdf.cleaning import clean_line
from core.pdf.values import LabelRange

_MAX_NODES = 1000
_MAX_RANGES = 10_000
_MAX_CHARS = 50  # of a prefix, and of a number: 50,000 has 50 roman digits
_ROMAN = (
    (1000, "m"), (900, "cm"), (500, "d"), (400, "cd"), (100, "c"), (90, "xc"), (50, "l"),
    (40, "xl"), (10, "x"), (9, "ix"), (5, "v"), (4, "iv"), (1, "i"),
)  # fmt: skip


def page_label(ranges: Sequence[LabelRange], number: int) -> str | None:
    """The label of page `number`, from 1; None if the file gives it none."""
    begun = [one for one in ranges if one.page <= number]
    if not begun:
        return None
    last = max(begun, key=attrgetter("page"))
    counted = _count(last.style, last.start + number - last.page)
    return f"{last.prefix}{counted}".strip() or None


def read_labels(root: Any) -> list[LabelRange]:
    """The ranges of labels in pypdf's catalog `root`, in the order of their pages.

    For a broken or endless tree, these are the ranges in its first 1000 nodes.
    """
    found = sorted(_ranges(root.get("/PageLabels")), key=attrgetter("page"))
    return found[:_MAX_RANGES]


def _ranges(tree: Any) -> Iterator[LabelRange]:
    nodes = [tree]
    for _ in range(_MAX_NODES):
        if not nodes:
            return
        node = _resolve(nodes.pop())
        if not isinstance(node, dict):
            continue
        numbers = _resolve(node.get("/Nums"))
        if isinstance(numbers, list):
            yield from _pairs(numbers)
        kids = _resolve(node.get("/Kids"))
        nodes += kids if isinstance(kids, list) else []


def _pairs(numbers: Sequence[Any]) -> Iterator[LabelRange]:
    for index, value in zip(numbers[::2], numbers[1::2], strict=False):
        first, rule = _resolve(index), _resolve(value)
        if isinstance(first, int) and first >= 0 and isinstance(rule, dict):
            start = _resolve(rule.get("/St"))
            yield LabelRange(
                page=int(first) + 1,
                style=str(_resolve(rule.get("/S")) or "")[1:2],
                prefix=clean_line(str(_resolve(rule.get("/P")) or ""))[:_MAX_CHARS],
                start=int(start) if isinstance(start, int) else 1,
            )


def _resolve(value: Any) -> Any:
    return value.get_object() if value is not None else None


def _count(style: str, number: int) -> str:
    """`number` in a style of the standard: D, R, r, A, a; empty for none."""
    if style == "D":
        return str(number)
    if number < 1 or style not in ("R", "r", "A", "a"):
        return ""
    counted = _letters(number) if style in "Aa" else _roman(number)
    return counted.upper() if style.isupper() else counted


def _letters(number: int) -> str:
    """a to z, then aa to zz, and so on."""
    times, letter = divmod(number - 1, 26)
    return (chr(ord("a") + letter) * (times + 1))[:_MAX_CHARS]


def _roman(number: int) -> str:
    numerals = ""
    for value, numeral in _ROMAN:
        count, number = divmod(number, value)
        numerals += numeral * min(count, _MAX_CHARS)
    return numerals[:_MAX_CHARS]
