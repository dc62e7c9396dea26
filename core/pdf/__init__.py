"""Reads PDFs: structure, text page by page, page images.

>>> with PdfParser() as parser:  # doctest: +SKIP
...     info = parser.inspect(Path("report.pdf"))
...     pages = parser.read_pages(Path("report.pdf"), first=1, last=16)
"""

from core.pdf.parser import PdfParser
from core.pdf.values import DocumentInfo, Engine, OutlineEntry, PageText, PdfLimits

__all__ = ["DocumentInfo", "Engine", "OutlineEntry", "PageText", "PdfLimits", "PdfParser"]
