"""Makes the Markdown of answers safe to show.

`safe_markdown` rewrites a text so that Streamlit draws headings, lists, emphasis, tables, code
and formulas, but nothing that loads, links or runs: no HTML, links, images or Streamlit
directives. It writes code and formulas again in its own form, so that Markdown cannot see their
borders in other places than this module.
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
    # A formula has no space inside its $ signs and no digit after them: "$5 and $6" is money.
    r"|(?<![\\$\w])\$(?P<math>[^\s$](?:[^$]*[^\s$\\])?)\$(?![\d$])"
    r"|\[(?P<cited>\d{1,4}(?:\s?,\s?\d{1,4})*)\](?!\()"
)
# These characters need a backslash (CommonMark 0.31, 2.4).
_ACTIVE = re.compile(r"[\\`\[\]<&$!~]")
# GitHub's Markdown links bare addresses, even with escapes. A character inside prevents it.
_ADDRESS = re.compile(r"(?<=:)(?=//)|(?<=www)(?=\.)|(?=@)|(?<=mailto:)|(?<=xmpp:)", re.IGNORECASE)
_SHORTCODE = re.compile(r":(?=[\w+-]+[:/\[])")  # :smile: and :material/home:
_WORD_JOINER = "\u2060"  # has no width
# Formulas must not contain these, nor may code that a table can cut in two. If Markdown did see
# their borders in other places, these would become links, images, HTML or directives.
_RISKY = re.compile(r"\][ \t]*[(\[:]|!\[|<[a-z/!?]|&[#a-z]|://|www\.|@|:[a-z]", re.IGNORECASE)


def safe_markdown(text: str, *, citations: Collection[int] = ()) -> str:
    """Return `text` for `st.markdown`. `[n]` with n in `citations` becomes a badge."""
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
    """Return the number of the line that closes a block of code, or the number of lines."""
    closing = re.compile(rf"^ {{0,3}}{re.escape(fence[0])}{{{len(fence)},}}[ \t]*$")
    return next((at for at in range(start, len(lines)) if closing.match(lines[at])), len(lines))


def _code(lines: list[str], *, language: str) -> Iterator[str]:
    longest = max((len(run) for line in lines for run in re.findall("`+", line)), default=0)
    fence = "`" * max(3, longest + 1)
    yield from ("", fence + language, *lines, fence, "")


def _display_formula(lines: list[str], position: int) -> tuple[str, int] | None:
    r"""Return the formula `$$…$$` or `\[…\]` that begins here, and the number of the next line."""
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
    """Rewrite one line outside of code. Its line break is kept."""
    if _INDENTED.match(line) and not _LIST_ITEM.match(line):
        line = "   " + line.lstrip()  # otherwise it would be code that shows our backslashes
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
    """Rewrite a match as code, formula or citation; None if it must be shown as text."""
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
    """Return a formula's TeX; None if it must be shown as text."""
    text = text.strip().replace("<", r"\lt ")
    return None if not text or "$" in text or "`" in text or _RISKY.search(text) else text


def _escaped(text: str) -> str:
    text = _ADDRESS.sub(_WORD_JOINER, _SHORTCODE.sub(":" + _WORD_JOINER, text))
    return _ACTIVE.sub(r"\\\g<0>", text)
