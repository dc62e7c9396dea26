"""Adds check boxes and field values to the words of a page, in line with their labels."""

from collections.abc import Iterable, Sequence

from core.pdf.annotations import Annotation
from core.pdf.layout.words import Box, Word
from core.pdf.pdfium_words import PageFrame

# Neither is a letter, so a quote is found on the page with or without them.
TICKED, UNTICKED = "☑", "☐"
_CHAR_WIDTH = 0.5  # of a line's height
_ONE_LINE = 0.5  # of a line's height; baselines closer than this are one line


def with_annotations(
    words: Sequence[Word], annotations: Sequence[Annotation], frame: PageFrame
) -> list[Word]:
    """The words, field values in line with their labels, and a sign for each check box.

    A word inside a check box is a tick in the font's own encoding; the sign replaces it.
    """
    if not annotations:
        return list(words)
    boxes = [(one, frame.box(*one.box)) for one in annotations if one.kind in ("check", "field")]
    ticks = [box for one, box in boxes if one.kind == "check"]
    kept = [word for word in words if not any(_is_tick(word, box) for box in ticks)]
    kept = _level_values(kept, [frame.box(*one.box) for one in annotations if one.kind == "value"])
    added: list[Word] = []
    for one, box in boxes:
        text = (TICKED if one.checked else UNTICKED) if one.kind == "check" else one.text
        added += _words_in(text, box, _beside(kept, box))
    return kept + added


def _level_values(words: Sequence[Word], boxes: Sequence[Box]) -> list[Word]:
    """The words with each one-line value moved to the baseline of its label.

    Forms print values a little higher or lower than the labels beside them.
    """
    owners = [next((box for box in boxes if _is_inside(word, box)), None) for word in words]
    labels = [word for word, owner in zip(words, owners, strict=True) if owner is None]
    hosts: dict[Box, Word] = {}
    for box in {owner for owner in owners if owner is not None}:
        inside = [word for word, owner in zip(words, owners, strict=True) if owner == box]
        label = _beside(labels, box)
        if label is not None and _is_one_line(inside):
            hosts[box] = label
    return [
        word if owner is None or owner not in hosts else _moved(word, hosts[owner])
        for word, owner in zip(words, owners, strict=True)
    ]


def _moved(word: Word, label: Word) -> Word:
    return word._replace(top=label.top, bottom=label.bottom, baseline=label.baseline)


def _is_one_line(words: Sequence[Word]) -> bool:
    baselines = [word.baseline for word in words]
    return max(baselines) - min(baselines) < _ONE_LINE * (words[0].bottom - words[0].top)


def _is_tick(word: Word, box: Box) -> bool:
    return len(word.text) == 1 and _is_inside(word, box)


def _is_inside(word: Word, box: Box) -> bool:
    x, y = (word.left + word.right) / 2, (word.top + word.bottom) / 2
    return box[0] <= x <= box[2] and box[1] <= y <= box[3]


def _beside(words: Iterable[Word], box: Box) -> Word | None:
    """The nearest upright word on the line of the box."""
    middle = (box[1] + box[3]) / 2
    level = [word for word in words if word.turn == 0 and word.top <= middle <= word.bottom]
    return min(level, key=lambda word: max(word.left - box[2], box[0] - word.right), default=None)


def _words_in(text: str, box: Box, neighbour: Word | None) -> list[Word]:
    """The words of a text that begins at the left of the box, on the neighbour's baseline."""
    left, top, right, bottom = box
    baseline = bottom - 0.2 * (bottom - top)
    if neighbour is not None:
        top, bottom, baseline = neighbour.top, neighbour.bottom, neighbour.baseline
    parts = text.split()
    if len(parts) == 1:
        return [Word(text, left, top, right, bottom, baseline)]
    width = min(_CHAR_WIDTH * (bottom - top), (right - left) / max(1, len(text)))
    made, x = [], left
    for part in parts:
        made.append(Word(part, x, top, x + len(part) * width, bottom, baseline))
        x += (len(part) + 1) * width
    return made
