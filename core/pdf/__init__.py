"""Reads PDFs: structure, text page by page, page images.

>>> with PdfParser() as parser:  # doctest: +SKIP
...     info = parser.inspect(Path("report.pdf"))
...     pages = parser.read_pages(Path("report.pdf"), first=1, last=16)
"""

from core.pdf.parser import PdfParser
from core.pdf.values import (
    READER_VERSION,
    DocumentInfo,
    DocumentNote,
    Engine,
    LabelRange,
    OcrWord,
    OutlineEntry,
    PageText,
    PdfLimits,
)

__all__ = [
    "READER_VERSION",
    "DocumentInfo",
    "DocumentNote",
    "Engine",
    "LabelRange",
    "OcrWord",
    "OutlineEntry",
    "PageText",
    "PdfLimits",
    "PdfParser",
]
