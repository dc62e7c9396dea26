"""Chooses between OCR's result and the page's own text layer. Pure."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

from core.pdf.cleaning import clean_line, clean_text
from core.pdf.layout.overleaf import TableHead
from core.pdf.page_reader import RawPage
from core.pdf.values import OcrWord, PageText

# With fewer additional words, OCR has only misread a stamp.
_MIN_MORE_WORDS = 5
_MIN_WORDS = 3
_AGREEMENT = 0.6  # a text layer with this share of OCR's words is right
_MIN_LENGTH = 3  # letters; shorter words are not compared
_WORD = re.compile(r"\w+")


@dataclass(frozen=True, slots=True)
class Recognized(RawPage):
    """A page as read by OCR. `words` are in reading order, with their boxes."""

    words: Sequence[OcrWord] = ()


class Scan(Protocol):
    """The words of a page as OCR found them, before their layout is read."""

    def read(self, above: TableHead | None = None) -> Recognized:
        """The page. `above` is the head of the table at the end of the page before."""


class Recognizer(Protocol):
    """The interface of `core.pdf.ocr.Recognizer`, which is imported only if needed."""

    def recognize(self, document: Any, number: int) -> Scan: ...


def choose_text(layer: PageText, recognized: Recognized) -> PageText:
    """The page as read by OCR, or by its text layer if OCR finds no more, or the same."""
    text = clean_text(recognized.text)
    found, known = _words(text), _words(layer.text)
    if layer.reading == "unreadable":
        if _agree(found, known):
            return replace(layer, reading="text")
        if len(found) < _MIN_WORDS:
            return layer
        return _as_recognized(layer, recognized, text)
    if len(found) < len(known) + (_MIN_MORE_WORDS if known else 1):
        return replace(layer, reading="text" if known else "scan")
    if not known <= found:  # OCR has misread a stamp, or does not see a comment
        text = f"{text}\n\n{layer.text}"
    return _as_recognized(layer, recognized, text)


def _as_recognized(layer: PageText, recognized: Recognized, text: str) -> PageText:
    words, caption = (*recognized.words,), clean_line(recognized.caption)
    return replace(layer, text=text, engine="ocr", reading="ocr", words=words, caption=caption)


def _words(text: str) -> set[str]:
    return set(_WORD.findall(text.casefold()))


def _agree(found: set[str], known: set[str]) -> bool:
    compared = [word for word in found if len(word) >= _MIN_LENGTH]
    return bool(compared) and sum(word in known for word in compared) >= _AGREEMENT * len(compared)
