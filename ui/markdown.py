"""Answers as Markdown that shows, and does nothing else.

`harmless` rewrites a text so that Streamlit's Markdown draws headings, lists, emphasis, tables,
code and formulas, and nothing that loads, links or runs: no HTML, no link, no picture, no
directive of Streamlit's. Code and formulas are written anew, so that Markdown cannot see their
borders elsewhere than this module does.
"""

import re
from collections.abc import Collection, Iterator

_FENCE = re.compile(r"^ {0,3}(`{3,}|~{3,})[ \t]*([\w+#.-]*)[^`\n]*$")
_INDENTED = re.compile(r"^(?: {4,}| *\t)\s*")
_LIST_ITEM = re.compile(r"^\s*(?:[-*+]|\d{1,9}[.)])\s")
_TABLE_ROW = re.compile(r"^\s*\|.*\|\s*$")
_INLINE = re.compile(
    r"(?P<code>(?P<ticks>`+)(?!`)(?P<inner>.+?)(?<!`)(?P=ticks)(?!`))"
    r"|\\\((?P<round>.+?)\\\)"
    # A formula has no space inside its signs and no digit behind them: «$5 and $6» is money.
    r"|(?<![\\$\w])\$(?P<math>[^\s$](?:[^$]*[^\s$\\])?)\$(?![\d$])"
    r"|\[(?P<cited>\d{1,4}(?:\s?,\s?\d{1,4})*)\](?!\()"
)
# A backslash takes the meaning from these (CommonMark 0.31, 2.4).
_ACTIVE = re.compile(r"[\\`\[\]<&$!~]")
# GitHub's Markdown links bare addresses, escaped or not, unless something stands inside.
_ADDRESS = re.compile(r"(?<=:)(?=//)|(?<=www)(?=\.)|(?=@)|(?<=mailto:)|(?<=xmpp:)", re.IGNORECASE)
_SHORTCODE = re.compile(r":(?=[\w+-]+[:/\[])")  # :smile: and :material/home:
_WORD_JOINER = "\u2060"  # of no width
# What a formula must not hold, nor code that a table may cut in two: should Markdown see its
# borders elsewhere after all, these would be links, pictures, HTML or directives.
_RISKY = re.compile(r"\][ \t]*[(\[:]|!\[|<[a-z/!?]|&[#a-z]|://|www\.|@|:[a-z]", re.IGNORECASE)


def harmless(text: str, *, citations: Collection[int] = ()) -> str:
    """`text` as Markdown for `st.markdown`. `[n]` with n in `citations` becomes a badge."""
    return "\n".join(_blocks(text.replace("\r\n", "\n").split("\n"), frozenset(citations)))


def _blocks(lines: list[str], citations: frozenset[int]) -> Iterator[str]:
    position = 0
    while position < len(lines):
        if fence := _FENCE.match(lines[position]):
            end = _end_of_code(lines, position + 1, fence[1])
            yield from _code(lines[position + 1 : end], language=fence[2])
            position = end + 1
        elif formula := _display_formula(lines, position):
            yield from ("", "$$", formula[0], "$$", "")
            position = formula[1]
        else:
            yield _line(lines[position], citations)
            position += 1


def _end_of_code(lines: list[str], start: int, fence: str) -> int:
    """The number of the line that closes a block of code, or of the one behind the last."""
    closing = re.compile(rf"^ {{0,3}}{re.escape(fence[0])}{{{len(fence)},}}[ \t]*$")
    return next((at for at in range(start, len(lines)) if closing.match(lines[at])), len(lines))


def _code(lines: list[str], *, language: str) -> Iterator[str]:
    longest = max((len(run) for line in lines for run in re.findall("`+", line)), default=0)
    fence = "`" * max(3, longest + 1)
    yield from ("", fence + language, *lines, fence, "")


def _display_formula(lines: list[str], position: int) -> tuple[str, int] | None:
    r"""A formula `$$…$$` or `\[…\]` that begins this line, and the number of the line behind."""
    line = lines[position].strip()
    for opening, closing in (("$$", "$$"), (r"\[", r"\]")):
        if not line.startswith(opening):
            continue
        found: list[str] = []
        for at in range(position, min(position + 60, len(lines))):
            rest = lines[at].strip().removeprefix(opening) if at == position else lines[at]
            if closing in rest:
                inner, _, behind = rest.partition(closing)
                if behind.strip():
                    return None
                formula = _formula(" ".join([*found, inner]))
                return (formula, at + 1) if formula else None
            found.append(rest)
    return None


def _line(line: str, citations: frozenset[int]) -> str:
    """One line outside of code. Its end stays an end, as the writer meant it."""
    if _INDENTED.match(line) and not _LIST_ITEM.match(line):
        line = "   " + line.lstrip()  # else it would be a block of code, with our backslashes
    parts, position = [], 0
    for match in _INLINE.finditer(line):
        replaced = _inline(match, citations)
        if replaced is not None:
            parts += [_escaped(line[position : match.start()]), replaced]
            position = match.end()
    parts.append(_escaped(line[position:]))
    whole = "".join(parts)
    return whole if not whole.strip() or _TABLE_ROW.match(line) else whole + "  "


def _inline(match: re.Match[str], citations: frozenset[int]) -> str | None:
    """The code, formula or citation that was found; None if it has to be shown as text."""
    if match["cited"]:
        indexes = [int(index) for index in match["cited"].split(",")]
        known = all(index in citations for index in indexes)
        return " ".join(f":primary-badge[{index}]" for index in indexes) if known else None
    if match["code"]:
        torn = "|" in match["inner"] and _RISKY.search(match["inner"])
        return None if torn else match["code"]
    formula = _formula(match["round"] or match["math"])
    return f"${formula}$" if formula else None


def _formula(text: str) -> str | None:
    """A formula's TeX; None if it has to be shown as text."""
    text = text.strip().replace("<", r"\lt ")
    return None if not text or "$" in text or "`" in text or _RISKY.search(text) else text


def _escaped(text: str) -> str:
    text = _ADDRESS.sub(_WORD_JOINER, _SHORTCODE.sub(":" + _WORD_JOINER, text))
    return _ACTIVE.sub(r"\\\g<0>", text)
