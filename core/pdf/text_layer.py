"""Decides whether a page's text layer is usable, or is a scan's or noise, for OCR to read.

Noise comes from a font without a usable mapping to characters: glyph numbers, letters of the
private use area, a permuted alphabet. Text of a font without any mapping may still be right, so
its letter frequencies are compared with those of languages too.
"""

import re
import unicodedata
from collections.abc import Callable
from itertools import islice
from typing import Any

import pypdfium2.raw as pdfium_c

from core.pdf.values import Reading

_FEW_WORDS = 60  # a scan with a stamp or a printed page number has fewer
_SCAN_SHARE = 0.5  # a scan's largest image covers at least this share of the page
_MAX_OBJECTS = 2000  # objects of a page that are searched for images
_SAMPLE = 400  # characters whose mapping is checked
_UNMAPPED = 0.3  # share of the sample; some symbols in a page of text are unmapped
_MAX_CONTROLS = 0.005
_MAX_PRIVATE = 0.3
_MAX_CHARS = 5000  # characters whose letters are counted
_MIN_LETTERS = 60
_MIN_LIKENESS = 0.8  # pages of ten languages have .87 and more, shifted alphabets under .7
_SURE_LETTERS, _SURE_WORDS, _SURE_LIKENESS = 200, 50, 0.5  # noise even if the mapping is good
_MIN_WORD_CHARS = 3.0
_MAX_SCRIPTS = 3
# Letters per hundred, as the mean of English, German, French, Spanish, Italian, Portuguese,
# Dutch and Polish, without accents.
_USUAL = dict(
    zip(
        "abcdefghijklmnopqrstuvwxyz",
        (
            *(9.0, 1.5, 2.8, 4.0, 13.0, 1.5, 1.8, 3.0, 7.5, 0.5, 1.5, 4.5, 3.0),
            *(7.5, 6.5, 2.3, 0.4, 6.5, 6.5, 6.5, 4.0, 1.3, 1.0, 0.2, 1.0, 1.0),
        ),
        strict=True,
    )
)
_USUAL_NORM: float = sum(share * share for share in _USUAL.values()) ** 0.5
_CONTROL = re.compile("[\x00-\x01\x03-\x08\x0e-\x1f\x7f-\x9f\ufffd]")
_PRIVATE = re.compile("[\x00-\x01\x03-\x08\x0e-\x1f\x7f-\x9f\ue000-\uf8ff\ufffd]")


def judge(page: Any, text: str) -> Reading:
    """The kind of the pdfium page with this raw text: `text`, `scan` or `unreadable`."""
    words = text.split()
    if not words:
        return "scan"
    if is_noise(text, unmapped=lambda: unmapped_share(page)):
        return "unreadable"
    if len(words) < _FEW_WORDS and _largest_image(page) >= _SCAN_SHARE:
        return "scan"
    return "text"


def is_noise(text: str, *, unmapped: Callable[[], float]) -> bool:
    """Whether the text is noise. `unmapped()` is the share of characters without a mapping."""
    bare = "".join(text.split())
    is_clean = bare.isprintable() and "\ufffd" not in bare  # has no control or private character
    if not is_clean and len(_PRIVATE.findall(bare)) > _MAX_PRIVATE * len(bare):
        return True
    likeness, letters = likeness_to_language(text)
    if _is_surely_scrambled(text, likeness, letters):
        return True
    odd = not is_clean and len(_CONTROL.findall(bare)) > _MAX_CONTROLS * len(bare)
    odd = odd or (letters >= _MIN_LETTERS and likeness < _MIN_LIKENESS)
    odd = odd or _count_scripts(bare) > _MAX_SCRIPTS
    return odd and unmapped() > _UNMAPPED


def _is_surely_scrambled(text: str, likeness: float, letters: int) -> bool:
    if letters < _SURE_LETTERS or likeness >= _SURE_LIKENESS:
        return False
    words = text.split()
    if len(set(words)) < _SURE_WORDS:
        return False  # a chart's labels, filler text
    return letters >= _MIN_WORD_CHARS * len(words)


def likeness_to_language(text: str) -> tuple[float, int]:
    """The cosine of letter frequencies of the text and of European languages; number of letters."""
    text = text[:_MAX_CHARS]
    folded = (text if text.isascii() else unicodedata.normalize("NFKD", text)).casefold()
    counts = {letter: folded.count(letter) for letter in _USUAL}
    norm: float = sum(count * count for count in counts.values()) ** 0.5
    if not norm:
        return 1.0, 0
    product = sum(_USUAL[letter] * count for letter, count in counts.items())
    return product / norm / _USUAL_NORM, sum(counts.values())


def unmapped_share(page: Any) -> float:
    """The share of characters, in a sample of the page, that their font does not map to Unicode."""
    text_page = page.get_textpage()
    try:
        count = text_page.count_chars()
        sample = range(0, count, max(1, count // _SAMPLE))
        asked = [index for index in sample if _is_printed(text_page, index)]
        failed = sum(_is_unmapped(text_page, index) for index in asked)
        return failed / max(1, len(asked))
    finally:
        text_page.close()


def _is_unmapped(text_page: Any, index: int) -> bool:
    return bool(pdfium_c.FPDFText_HasUnicodeMapError(text_page, index) == 1)


def _is_printed(text_page: Any, index: int) -> bool:
    code = pdfium_c.FPDFText_GetUnicode(text_page, index)
    if pdfium_c.FPDFText_IsGenerated(text_page, index) == 1:
        return False
    return 0 < code < 0x110000 and not chr(code).isspace()


def _count_scripts(text: str) -> int:
    """The number of alphabets among the letters, by the first word of their Unicode names."""
    letters = {letter for letter in set(text) if not letter.isascii() and letter.isalpha()}
    return len({unicodedata.name(letter, "?").split()[0] for letter in letters})


def _largest_image(page: Any) -> float:
    """The share of the page that its largest image covers."""
    left, bottom, right, top = page.get_bbox()
    area = max(1.0, (right - left) * (top - bottom))
    best = 0.0
    for found in islice(page.get_objects(max_depth=3), _MAX_OBJECTS):
        if found.type != pdfium_c.FPDF_PAGEOBJ_IMAGE:
            continue
        x1, y1, x2, y2 = found.get_bounds()
        width = min(x2, right) - max(x1, left)
        height = min(y2, top) - max(y1, bottom)
        if width > 0 and height > 0:
            best = max(best, width * height / area)
    return best
