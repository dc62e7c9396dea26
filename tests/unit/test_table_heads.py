"""Which pages are read to find the header of a table that began on an earlier page."""

from core.pdf.layout.overleaf import HeadColumn, TableHead
from core.pdf.overleaf import TableHeads
from core.pdf.page_reader import RawPage

HEAD = TableHead((HeadColumn(0.0, 9.0, ("Sales",)),), "", frozenset())


class Pages:
    """A document whose table begins on page `first` and goes on to its end."""

    def __init__(self, *, first: int) -> None:
        self._first = first
        self.reads: list[tuple[int, bool]] = []

    def read(self, number: int, above: TableHead | None) -> RawPage:
        self.reads.append((number, above is not None))
        known = number == self._first or above is not None
        return RawPage("text", wants_head=number > self._first, head=HEAD if known else None)


def test_pages_that_are_read_in_their_order_are_read_once() -> None:
    pages = Pages(first=2)
    heads = TableHeads(pages.read)
    for number in range(1, 6):
        heads.read_page(number)
    assert pages.reads == [(1, False), (2, False), (3, True), (4, True), (5, True)]


def test_a_page_in_the_middle_gets_the_header_of_the_page_where_the_table_began() -> None:
    pages = Pages(first=2)
    page = TableHeads(pages.read).read_page(5)
    assert page is not None
    assert page.head == HEAD
    alone = [(number, False) for number in (5, 4, 3, 2)]
    assert pages.reads == [*alone, (3, True), (4, True), (5, True)]


def test_a_page_without_a_head_above_it_is_not_read_again() -> None:
    pages = Pages(first=0)  # no page of the document has the header
    TableHeads(pages.read).read_page(3)
    assert pages.reads == [(3, False), (2, False), (1, False)]
