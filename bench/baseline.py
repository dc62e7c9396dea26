"""A simple retrieval for comparison: windows of 500 tokens, only vectors, exact cosine.

Parser and embedding model are the service's own, so that only chunking and ranking differ.
Windows continue over page ends and do not overlap. The default model reads the first 254 tokens of
each window, as in any simple set-up with this model.
"""

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from core.embedding.base import Query, Vectors
from core.embedding.local import LocalEmbedder
from core.pdf.parser import PdfParser

WINDOW_TOKENS = 500


@dataclass(frozen=True)
class Baseline:
    """Windows in the form of the API's passages, and their vectors in the same order."""

    embedder: LocalEmbedder
    windows: Sequence[dict[str, Any]]
    vectors: Vectors

    def search(self, query: str, *, top_k: int) -> list[dict[str, Any]]:
        """The windows with vectors nearest to that of `query`, best first."""
        cosines = self.vectors @ self.embedder.embed([Query(query)])[0]
        return [self.windows[index] for index in np.argsort(-cosines, kind="stable")[:top_k]]


def build_baseline(paths: Sequence[Path], *, embedder: LocalEmbedder) -> Baseline:
    """Read, cut and embed all PDFs, in this process."""
    with PdfParser() as parser:
        windows = [
            window
            for path in paths
            for window in _windows(path.name, _read(parser, path), embedder=embedder)
        ]
    vectors = embedder.embed([window["text"] for window in windows])
    return Baseline(embedder, windows, vectors)


def _read(parser: PdfParser, path: Path) -> list[str]:
    count = parser.inspect(path).page_count
    return [page.text for page in parser.read_pages(path, first=1, last=count)]


def _windows(
    filename: str, pages: Sequence[str], *, embedder: LocalEmbedder
) -> list[dict[str, Any]]:
    text = "\n".join(pages)
    starts = np.cumsum([0, *(len(page) + 1 for page in pages[:-1])]).tolist()
    tokens = embedder.token_offsets(text)
    found = []
    for at in range(0, len(tokens), WINDOW_TOKENS):
        window = tokens[at : at + WINDOW_TOKENS]
        start, end = window[0][0], window[-1][1]
        found.append(
            {
                "filename": filename,
                "page_start": bisect_right(starts, start),
                "page_end": bisect_right(starts, end - 1),
                "text": text[start:end],
            }
        )
    return found
