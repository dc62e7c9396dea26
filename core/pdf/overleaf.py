"""Finds the header of a table that began on an earlier page.

A page's text must not depend on the range that is read, so the pages before are read too where
that is needed, up to the one with the header. A head makes no difference to a page that does not
want one, so a page below a known head is read once.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Generic, TypeVar

from core.pdf.layout.overleaf import MAX_PAGES, TableHead
from core.pdf.page_reader import RawPage

P = TypeVar("P", bound=RawPage)
_KEPT_HEADS = 256


class TableHeads(Generic[P]):
    """The heads of the tables at the ends of pages. `read` reads a page below a head.

    `max_back` is the number of pages before a page that may be read for its sake.
    """

    def __init__(
        self, read: Callable[[int, TableHead | None], P | None], *, max_back: int = MAX_PAGES + 1
    ) -> None:
        self._read = read
        self._max_back = max_back
        self._heads: dict[int, TableHead | None] = {}

    def read_page(self, number: int) -> P | None:
        """The page, with the headers of a table that goes on from the page before."""
        page = self._read(number, self._heads.get(number - 1))
        if page is not None and page.wants_head and number - 1 not in self._heads:
            above = self.above(number)
            if above is not None:
                page = self._read(number, above)
        self._keep(number, page)
        return page

    def above(self, number: int) -> TableHead | None:
        """The head of the table at the end of the page before; None if there is none."""
        unread: list[tuple[int, P]] = []
        before = number - 1
        while before and before not in self._heads and len(unread) < self._max_back:
            page = self._read(before, None)
            if page is None or not page.wants_head:
                self._keep(before, page)
            else:
                unread.append((before, replace(page, text="")))  # forty texts may be long
                before -= 1
        for page_number, alone in reversed(unread):
            above = self._heads.get(page_number - 1)
            self._keep(page_number, alone if above is None else self._read(page_number, above))
        return self._heads.get(number - 1)

    def _keep(self, number: int, page: P | None) -> None:
        self._heads[number] = page.head if page is not None else None
        if len(self._heads) > _KEPT_HEADS:
            del self._heads[next(iter(self._heads))]
