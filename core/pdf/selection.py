"""Which engine's text a page gets. Pure; the numbers behind it are in ADR 0002."""

import re
from collections.abc import Mapping

_RIGHT_TO_LEFT = re.compile("[\u0590-\u08ff\ufb1d-\ufdff\ufe70-\ufeff]")
_LETTERS = re.compile(r"[^\W\d_]")
_RTL_SHARE = 0.3


def wants_second_reading(pdfium_text: str | None) -> bool:
    """Whether pypdf is asked too: pdfium failed, or the page is written from right to left."""
    return pdfium_text is None or _is_right_to_left(pdfium_text)


def choose(texts: Mapping[str, str | None]) -> str:
    """The engine whose text stands, of those that read the page. At least one is given."""
    if texts.get("pypdf"):
        return "pypdf"
    return "pdfium" if "pdfium" in texts else "pypdf"


def _is_right_to_left(text: str) -> bool:
    count = len(_RIGHT_TO_LEFT.findall(text))
    return count > 0 and count >= _RTL_SHARE * len(_LETTERS.findall(text))
