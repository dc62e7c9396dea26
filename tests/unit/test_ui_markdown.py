"""Answers as Markdown: what is drawn, and that nothing loads, links or runs."""

import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from markdown_it.token import Token

from ui.markdown import safe_markdown

PARSER = MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"])
LINKED = re.compile(r"(?i)https?://\w|www\.\w|\w@\w|mailto:\w")  # what GitHub's Markdown links

ATTACKS = [
    "![x](http://evil.example/a.png)",
    "[click](http://evil.example)",
    "[click](javascript:alert(1))",
    "[a]: http://evil.example\n\n[a]",
    "![a][b]\n\n[b]: http://evil.example",
    "<img src=http://evil.example><script>alert(1)</script>",
    "<http://evil.example> <me@evil.example>",
    "http://evil.example www.evil.example me@evil.example",
    "http&#58;//evil.example &lt;b&gt;",
    "`a\n# ![x](http://evil.example)\n`",
    "| `a | ![x](http://evil.example) ` |\n| --- | --- |\n| x | y |",
    "    ```\n![x](http://evil.example)\n    ```",
    "> ```\n> ![x](http://evil.example)",
    "$`$ ![x](http://evil.example) `",
    "`$` ![x](http://evil.example) $",
    "$a$ ![x](http://evil.example) $b$",
    "$[x](http://evil.example)$",
    r"\( ![x](http://evil.example) \)",
    r"\[ ![x](http://evil.example) \]",
    "$$\n![x](http://evil.example)\n$$",
    "```\n~~~\n```\n![x](http://evil.example)\n~~~",
    "~~~ `\n![x](http://evil.example)",
    "``` a`b\n![x](http://evil.example)\n```",
    r"\![x](http://evil.example) \\[x](http://evil.example) \`![x](http://evil.example)`",
    "- a\n\n      ![x](http://evil.example)",
    "[1](http://evil.example) [1][2] [1]: http://evil.example",
    "\\[1](http://evil.example)",
]
PIECES = [
    *"[]()!<>`~$\\|:#>-*_&; \n\t",
    *("](", "![", "```", "~~~", "$$", "\\[", "\\(", "\\)", "    ", "| --- |", "[1]", "1", "a"),
    *("http://e.example/", "www.e.example", "a@e.example", "<b>"),
]


def tokens(text: str) -> list[Token]:
    found: list[Token] = []
    for token in PARSER.parse(text):
        found += [token, *(token.children or [])]
    return found


def assert_inert(text: str) -> None:
    for token in tokens(safe_markdown(text, citations={1, 2})):
        assert token.type not in {"link_open", "image", "html_inline", "html_block"}, text
        if token.type == "text":
            assert not LINKED.search(token.content), (text, token.content)


@pytest.mark.parametrize("text", ATTACKS)
def test_nothing_loads_links_or_runs(text: str) -> None:
    assert_inert(text)


@given(st.lists(st.sampled_from(PIECES), max_size=30).map("".join))
@example("`![`](http://e.example/)`")
def test_no_text_loads_links_or_runs(text: str) -> None:
    assert_inert(text)


def html(text: str, *, citations: set[int] = frozenset()) -> str:
    return PARSER.render(safe_markdown(text, citations=citations))


def test_emphasis_lists_headings_and_tables_are_drawn() -> None:
    shown = html("# Title\n\n- **bold** and *soft*\n\n| a | b |\n| --- | --- |\n| 1 | 2 |")
    for tag in ("<h1>", "<li>", "<strong>bold</strong>", "<em>soft</em>", "<td>1</td>"):
        assert tag in shown


def test_code_stays_as_it_was_written() -> None:
    code = "a[0] = '<b>' and `x` $y$ http://e.example\n  [1]"
    shown = PARSER.parse(safe_markdown(f"Look:\n```python\n{code}\n```\nDone [1].", citations={1}))
    (block,) = (token for token in shown if token.type == "fence")
    assert (block.info, block.content) == ("python", code + "\n")
    assert "<code>a[0] &lt; b</code>" in html("So `a[0] < b` it is.")


def test_code_that_is_still_being_written_is_code_already() -> None:
    (block,) = (token for token in tokens(safe_markdown("```\nprint(1)")) if token.type == "fence")
    assert block.content == "print(1)\n"


def test_citations_become_badges_outside_of_code_only() -> None:
    text = safe_markdown("Yes [1], no [2, 1], `[1]` and [9].", citations={1, 2})
    assert text.startswith("Yes :primary-badge[1], no :primary-badge[2] :primary-badge[1], `[1]`")
    assert r"\[9\]" in text


def test_formulas_are_drawn_and_amounts_of_money_are_not() -> None:
    assert safe_markdown(r"So $E = mc^2$ and \(a<b\).").strip() == r"So $E = mc^2$ and $a\lt b$."
    assert safe_markdown("$5 and $6").strip() == r"\$5 and \$6"
    assert safe_markdown("\\[\nx + y\n\\]").split() == ["$$", "x", "+", "y", "$$"]


def test_line_breaks_are_kept() -> None:
    assert "<br />" in html("one\ntwo")
