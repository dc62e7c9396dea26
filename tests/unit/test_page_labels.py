"""Page labels, as ISO 32000-2, 12.4.2, defines them."""

import pytest
from pypdf.generic import (
    ArrayObject,
    DictionaryObject,
    NameObject,
    NumberObject,
    TextStringObject,
)

from core.pdf.labels import page_label, read_labels
from core.pdf.values import LabelRange


@pytest.mark.parametrize(
    ("style", "start", "labels"),
    [
        ("D", 8, ["8", "9", "10"]),
        ("r", 3, ["iii", "iv", "v"]),
        ("R", 1989, ["MCMLXXXIX", "MCMXC", "MCMXCI"]),
        ("a", 26, ["z", "aa", "bb"]),
        ("A", 52, ["ZZ", "AAA", "BBB"]),
    ],
)
def test_each_style_counts(style: str, start: int, labels: list[str]) -> None:
    ranges = [LabelRange(page=1, style=style, prefix="", start=start)]
    assert [page_label(ranges, number) for number in (1, 2, 3)] == labels


def test_a_range_goes_on_until_the_next() -> None:
    ranges = [LabelRange(2, "r", "", 1), LabelRange(4, "D", "A-", 7), LabelRange(6, "", "Cover", 1)]
    labels = [page_label(ranges, number) for number in range(1, 8)]
    assert labels == [None, "i", "ii", "A-7", "A-8", "Cover", "Cover"]


@pytest.mark.parametrize("style", ["r", "R", "a", "A", "D", "", "?"])
@pytest.mark.parametrize("start", [-5, 0, 10**9])
def test_a_senseless_start_makes_a_short_label(style: str, start: int) -> None:
    assert len(page_label([LabelRange(1, style, "", start)], 1) or "") <= 50


def tree(**entries: object) -> DictionaryObject:
    return DictionaryObject({NameObject(f"/{name}"): value for name, value in entries.items()})


def test_a_tree_is_read_in_the_order_of_its_pages() -> None:
    late = tree(S=NameObject("/D"))
    early = tree(S=NameObject("/r"), P=TextStringObject("p. "), St=NumberObject(2))
    leaves = [
        tree(Nums=ArrayObject([NumberObject(2), late])),
        tree(Nums=ArrayObject([NumberObject(0), early])),
    ]
    root = tree(PageLabels=tree(Kids=ArrayObject(leaves)))
    assert read_labels(root) == [LabelRange(1, "r", "p.", 2), LabelRange(3, "D", "", 1)]


@pytest.mark.parametrize(
    "labels",
    [
        NumberObject(3),
        tree(),
        tree(Nums=NumberObject(1)),
        tree(Nums=ArrayObject([NumberObject(0)])),
    ],
)
def test_a_broken_tree_has_no_labels(labels: object) -> None:
    assert read_labels(tree(PageLabels=labels)) == []


def test_a_tree_that_contains_itself_ends() -> None:
    loop = tree()
    loop[NameObject("/Kids")] = ArrayObject([loop, loop])
    assert read_labels(tree(PageLabels=loop)) == []
