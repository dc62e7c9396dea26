import re
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.answering.citations import (
    CitationFilter,
    best_quote,
    keep_citations,
    mark_code,
    verbatim_quote,
)
from core.text.code import CodeSplitter, split_code
from tests.cited import cited_indexes, cited_statements
from tests.growth import grows_quadratically

MARKUP = st.text(alphabet="[]【】［] 0123456789,;-–†\u200bab\n…", max_size=120)


def through(deltas: list[str], valid: set[int]) -> str:
    citations = CitationFilter(valid)
    return "".join([*(citations.feed(delta) for delta in deltas), citations.flush()])


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("Blue [1].", "Blue [1]."),
        ("Blue [9].", "Blue."),
        ("Blue [1, 9] and [9,2;3].", "Blue [1] and [2][3]."),
        ("Blue [1][9][3]", "Blue [1][3]"),
        ("Blue [1-3], [2–9]", "Blue [1][2][3], [2][3]"),
        ("Blue 【1】 and 【9】 and ［2］", "Blue [1] and and [2]"),
        ("Blue 【2†source】 【9†a】.", "Blue [2]."),
        ("Blue [\u200b9\u200b] [\u200b1]", "Blue [1]"),
        ("Blue [ 01 ]", "Blue [1]"),
        ("array[0] and a[1]", "array and a[1]"),
        ("[a] [ ] [] [p. 3] [^1] [x] (9) [1", "[a] [ ] [] [p. 3] [^1] [x] (9) [1"),
        ("In [2023] it was", "In it was"),
        ("[[9]8] and [1[9]]", "[…8] and [1…]"),
        ("[9](https://evil.example)", "(https://evil.example)"),
        ("[999999999999999999999999999999999999]!", "!"),
    ],
)
def test_only_markers_that_refer_to_a_passage_stay(text: str, shown: str) -> None:
    assert keep_citations(text, {1, 2, 3}) == shown


@pytest.mark.parametrize(
    "deltas",
    [
        ["Blue [1", ", 9", "]."],
        ["Blue", " ", "[", "1", "]", "."],
        ["Blue [", "1,9].", ""],
        list("Blue [1, 9]."),
    ],
)
def test_markers_split_over_deltas(deltas: list[str]) -> None:
    assert through(deltas, {1}) == "Blue [1]."


def test_text_is_not_held_back_longer_than_needed() -> None:
    citations = CitationFilter({1})
    assert citations.feed("Blue sky") == "Blue sky"
    assert citations.feed(" [") == ""
    assert citations.feed("a") == " [a"
    assert citations.feed("] [1") == "]"
    assert citations.feed("]") == " [1]"
    assert citations.feed(" ") == ""
    assert citations.flush() == " "


@given(text=MARKUP, cuts=st.lists(st.integers(0, 120), max_size=12))
def test_output_does_not_depend_on_the_cuts_and_has_no_dead_marker(
    text: str, cuts: list[int]
) -> None:
    edges = [0, *sorted(min(cut, len(text)) for cut in cuts), len(text)]
    deltas = [text[a:b] for a, b in pairwise(edges)]
    shown = through(deltas, {1, 2})
    assert shown == keep_citations(text, {1, 2})
    assert set(cited_indexes(shown)) <= {1, 2}
    assert {int(number) for number in re.findall(r"\[\s*(\d+)\s*\]", shown)} <= {1, 2}


def test_an_endless_marker_loses_its_bracket() -> None:
    shown = through(["[" + "1, " * 500, "9]"], {1})
    assert "[" not in shown


@pytest.mark.alone
@pytest.mark.parametrize("unit", ["[", "[1", " ", "[1,", "[ ", "†", "【1†", "[9]"])
def test_takes_linear_time(unit: str) -> None:
    assert not grows_quadratically(
        lambda size: keep_citations(unit * (size // len(unit)), {1}), size=4_000
    )


def test_cited_indexes_in_order_each_once() -> None:
    assert cited_indexes("a [3][1] b [1, 2] c 【4】 d [x] [5") == [3, 1, 2, 4]


PASSAGE = (
    "The Normans\nThe Normans came from Normandy. Their leader Rollo was a\nNorse chief of the "
    "10th century.[2] He agreed to swear fealty to King Charles III."
)


def test_best_quote_is_the_supporting_sentence_word_for_word() -> None:
    quote = best_quote(PASSAGE, "Rollo, a Norse chief, led them [1].")
    assert quote.startswith("Their leader Rollo was a\nNorse chief")
    assert quote in PASSAGE


@pytest.mark.parametrize(
    ("passage", "support"),
    [
        (PASSAGE, ""),
        (PASSAGE, "zzz"),
        ("no full stop", "x"),
        ("", "x"),
        ("東京です。晴れ。", "晴れ"),
    ],
)
def test_best_quote_is_always_in_the_passage(passage: str, support: str) -> None:
    quote = best_quote(passage, support)
    assert quote in passage
    assert quote or not passage


TWO_PAGES = (
    "Rollo was a Norse chief. The Normans, led by Rollo, agreed to swear fealty to the king."
)
BREAK = TWO_PAGES.index("agreed")


@pytest.mark.parametrize(
    ("support", "quote"),
    [
        ("Who was a Norse chief?", "Rollo was a Norse chief."),
        ("They agreed to swear fealty to the king [1].", "The Normans, led by Rollo,"),
        ("zzz", "Rollo was a Norse chief."),
    ],
)
def test_best_quote_ends_with_its_page(support: str, quote: str) -> None:
    assert best_quote(TWO_PAGES, support, page_break=BREAK) == quote


@pytest.mark.parametrize("page_break", range(1, len(TWO_PAGES)))
def test_best_quote_is_before_any_page_break(page_break: int) -> None:
    quote = best_quote(TWO_PAGES, "fealty to the king", page_break=page_break)
    assert quote in TWO_PAGES[:page_break]
    assert quote


@pytest.mark.parametrize(
    ("answer", "statements"),
    [
        ("He led them [1]. It fell [2].", {1: "He led them", 2: "It fell"}),
        ("He led them. [1] It fell. [2]", {1: "He led them.", 2: "It fell."}),
        ("It rained. He led them [1][3].", {1: "He led them", 3: "He led them"}),
        ("He led [1] and it fell [2, 1].", {1: "He led", 2: "and it fell"}),
        ("[1] He led.", {1: ""}),
        ("No marker [a].", {}),
    ],
)
def test_statements_are_the_sentences_before_their_markers(
    answer: str, statements: dict[int, str]
) -> None:
    assert cited_statements(answer) == statements


TABLE = (
    "Table 4 Determination\n\nE4 A B C D\n\n"
    "Sales by segment\nOctober\n29,\n2023\n($ in millions)\nNetworking $ 14,645 284 %\n"
    "The rise in fiscal year\n2023 was due to higher revenue. It is over."
)


@pytest.mark.parametrize(
    ("statement", "quote"),
    [
        ("Table 4 Determination", "Table 4 Determination"),
        ("The rise in fiscal year 2023 was due to …", "The rise in fiscal year\n2023 was due to"),
        ("… 2023 was due to higher revenue. [1]", "2023 was due to higher revenue."),
        ("E4 A B", "E4 A B C D"),
    ],
)
def test_a_verbatim_statement_is_quoted_with_its_sentence(statement: str, quote: str) -> None:
    found = verbatim_quote(TABLE, statement)
    assert found is not None
    assert quote in found
    assert found in TABLE


@pytest.mark.parametrize("statement", ["", "…", "It is", "The rise was due to revenue.", "[1] [2]"])
def test_a_paraphrase_is_no_verbatim_quote(statement: str) -> None:
    assert verbatim_quote(TABLE, statement) is None


def test_the_quote_of_a_long_row_is_only_the_statement() -> None:
    row = " ".join(f"cell {number}" for number in range(200))
    assert verbatim_quote(row, "… cell 7 cell 8 …") == "cell 7 cell 8"


def test_a_verbatim_quote_ends_with_its_page() -> None:
    text = "The gross margin rose to 74 percent,\nfrom 53 percent."
    said, page_break = "The gross margin rose to 74 percent, from 53 percent.", text.index("from")
    assert verbatim_quote(text, said, page_break=page_break) == text[: page_break - 1]
    assert verbatim_quote(text, "from 53 percent. ", page_break=page_break - 1) is None


@pytest.mark.parametrize(
    "code",
    [
        "`items[0]`",
        "`[0-9]+`",
        "``rows[12] ` x``",
        "```python\nx = items[0] + rows[12]\n\nprint(a[1])\n```",
        "```\na[9]\n``\na[8]\n```\n",
        "~~~~\na[9]\n~~~\n[8]\n~~~~\n",
        "- one\n  ```c\n  a[9] = b[4];\n  ```\n",
        "> ```\n> a[9]\n> ```\n",
        "Run: ```sh\necho ${a[9]}\n```\n",
        "```\nnever closed [9]\n\n[8]",
    ],
)
def test_code_is_unchanged(code: str) -> None:
    text = f"Blue [9]\n{code}"
    for size in (1, 2, 3, 7, len(text)):
        deltas = [text[at : at + size] for at in range(0, len(text), size)]
        assert through(deltas, {1}) == f"Blue\n{code}"
    assert cited_indexes(f"{code}\n") == []


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("A stray ` here. Blue [9].", "A stray ` here. Blue."),
        ("A ` and\n\nBlue [9] and `b[9]`.", "A ` and\n\nBlue and `b[9]`."),
        ("A `` and ` x [9].", "A `` and ` x."),
        ("Use ``` to open [9] a block.", "Use ``` to open a block."),
        ("`a[9]` [9] `b[9]`", "`a[9]` `b[9]`"),
        ("~~gone [9]~~ ~~~ [9]", "~~gone~~ ~~~"),
        ("```\na[9]\n```\nBlue [9].", "```\na[9]\n```\nBlue."),
        ("`" + "x" * 2000 + " [9]`", "`" + "x" * 2000 + "`"),
    ],
)
def test_brackets_beside_code_are_markers(text: str, shown: str) -> None:
    assert keep_citations(text, {1}) == shown
    assert through(list(text), {1}) == shown


CODE_MARKUP = st.text(alphabet="[]19 `~`a\n>-", max_size=80)


@given(text=CODE_MARKUP, cuts=st.lists(st.integers(0, 80), max_size=8))
def test_no_dead_marker_appears_beside_code_at_any_cut(text: str, cuts: list[int]) -> None:
    edges = [0, *sorted(min(cut, len(text)) for cut in cuts), len(text)]
    shown = through([text[a:b] for a, b in pairwise(edges)], {1})
    assert shown == keep_citations(text, {1})
    assert set(cited_indexes(shown)) <= {1}


@given(text=CODE_MARKUP, cuts=st.lists(st.integers(0, 80), max_size=8))
def test_code_is_the_same_at_any_cut(text: str, cuts: list[int]) -> None:
    edges = [0, *sorted(min(cut, len(text)) for cut in cuts), len(text)]
    splitter = CodeSplitter()
    parts = [part for a, b in pairwise(edges) for part in splitter.feed(text[a:b])]
    parts += splitter.feed("", at_end=True)
    code = "".join("x" * len(part.text) if part.is_code else part.text for part in parts)
    whole = split_code(text)
    assert code == "".join("x" * len(part.text) if part.is_code else part.text for part in whole)


@pytest.mark.parametrize("unit", ["`", "`a", "``a`", "`\n", "```\n", "~", "``` a\n", "`[9]"])
def test_code_takes_linear_time(unit: str) -> None:
    assert not grows_quadratically(
        lambda size: keep_citations(unit * (size // len(unit)), {1}), size=4_000
    )


@pytest.mark.parametrize(
    ("text", "marked"),
    [
        ("It writes buffer[0] and buffer[3].", "It writes `buffer[0]` and `buffer[3]`."),
        ("It is grid[2][0].x, and grid[1].", "It is `grid[2][0].x`, and `grid[1]`."),
        ("Use ^[0-9]+$ or [0-9]{4}.", "Use `^[0-9]+$` or `[0-9]{4}`."),
        ("He led them.[2] A chief[3] of old.", "He led them.[2] A chief[3] of old."),
        ("Studies [12, 14] and see[1].", "Studies [12, 14] and see[1]."),
        ("It has `a[0]` and a[1].", "It has `a[0]` and `a[1]`."),
    ],
)
def test_code_in_a_document_is_distinguished_from_references(text: str, marked: str) -> None:
    assert mark_code(text) == marked


def test_a_statement_with_code_is_quoted_as_in_the_document() -> None:
    passage = "It boots. The driver writes to buffer[0] and then to buffer[3] before it returns."
    said = "The driver writes to `buffer[0]` and then to `buffer[3]` before it returns. [1]"
    assert verbatim_quote(passage, said) == passage.removeprefix("It boots. ")
