"""Markers like `[2]` in an answer, and the sentence of a passage to quote.

A marker is a list of whole numbers in square brackets: `[2]`, `[1, 3]`, `[1-3]`; full-width
brackets (`【2】`, `［2］`) and the daggers some models add (`【2†source】`) count too. Everything
else in brackets (`[a]`, `[ ]`, `[p. 3]`, `[^1]`) is text, and so is everything that Markdown
shows as code. Outside code, `array[0]` counts as a marker: markers may follow a word without a
space, so the two cannot be told apart.
"""

import re
from collections.abc import Collection, Iterator

from core.text.code import CodeSplitter, split_code
from core.text.sentences import Segment, split_sentences
from core.text.words import content_stems, words

_OPEN, _CLOSE = r"\[【［", r"\]】］"
_INVISIBLE = "\u00ad\u200b-\u200f\u2060\ufeff"
_LIST = rf"\d\s,;，、–\-{_INVISIBLE}"
# Longest inside of a marker. A longer one is shown without its opening bracket.
_MAX_INSIDE = 80
_TOKEN = re.compile(
    rf"[ \t]{{0,3}}[{_OPEN}](?P<inside>[{_LIST}]{{0,{_MAX_INSIDE}}}+)"
    rf"(?P<note>†[^{_OPEN}{_CLOSE}\n]{{0,{_MAX_INSIDE}}}+)?(?P<close>[{_CLOSE}])?"
)
_TRAILING_SPACE = re.compile(r"[ \t]{1,3}\Z")
_UNCLOSED = re.compile(rf"[{_OPEN}][{_LIST}]*\Z")
_ITEMS = re.compile(r"\s*(\d+(?:\s*[-–]\s*\d+)?(?:\s*[,;，、]\s*\d+(?:\s*[-–]\s*\d+)?)*)\s*")
_MAX_RANGE = 50
# After these, backticks or tildes would become a fence or extend a run of backticks.
_BEFORE_FENCE = re.compile(r"(?P<line>(?:\A|\n)[ \t>*+\-\d.)]*\Z)|[`~]\Z")
# Subscripts, and digit classes of regular expressions, in documents without Markdown.
_SUBSCRIPT = re.compile(
    r"(?<!\w)(?P<name>[A-Za-z_][\w.]{0,60})\[(?P<index>\d{1,9})\](?:\[\w{1,20}\]|\.\w{1,40})*"
)
_DIGIT_CLASS = re.compile(r"[\\^(]{0,3}\[\d-\d\](?:[+*?]|\{\d{1,3}(?:,\d{0,3})?\})[)$?]{0,3}")
# Statements of this many words are looked for in their passage word for word.
_MIN_VERBATIM_WORDS, _MAX_VERBATIM_WORDS = 3, 200
# Longer sentences are mostly rows of a table, so the quote is then only the statement itself.
_MAX_QUOTE_CHARS = 500


class CitationFilter:
    """Removes markers that refer to no passage from an answer while it is streamed.

    The other markers are rewritten as `[1]`, several as `[1][3]`. Code stays as it is. The
    output does not depend on how the text is cut into deltas. Text that may be the beginning of
    a marker (at most some 160 characters) or a code span (at most some 1,000) is held back until
    its end is known or `flush` is called.
    """

    def __init__(self, valid: Collection[int]) -> None:
        self._valid = frozenset(valid)
        self._code = CodeSplitter()
        self._pending = ""
        self._tail = ""
        # Set if the last thing removed is a marker at the start of a line or after a backtick.
        self._gap: re.Match[str] | None = None

    def feed(self, delta: str) -> str:
        """The text that can be shown now; may be empty."""
        return self._split(delta, at_end=False)

    def flush(self) -> str:
        """The text that was held back. Call it at the end of the text."""
        return self._split("", at_end=True) + self._advance("", at_end=True)

    def _split(self, delta: str, *, at_end: bool) -> str:
        shown = []
        for segment in self._code.feed(delta, at_end=at_end):
            if segment.is_code:
                shown += [self._advance("", at_end=True), self._join("", segment.text)]
                self._tail = _tail_of(self._tail + shown[-1])
            else:
                shown.append(self._advance(segment.text, at_end=False))
        return "".join(shown)

    def _advance(self, delta: str, *, at_end: bool) -> str:
        text = self._pending + delta
        before = len(self._tail)
        shown = self._tail
        position = 0
        for token in _TOKEN.finditer(text):
            shown = self._join(shown, text[position : token.start()])
            position = token.start()
            if token.end() == len(text) and not at_end and _may_continue(token):
                break
            kept = self._replace(token, _tail_of(shown))
            if not kept:
                self._gap = self._gap or _BEFORE_FENCE.search(_tail_of(shown))
            shown = self._join(shown, kept)
            position = token.end()
        else:
            end = len(text) if at_end else _held_from(text, position)
            shown = self._join(shown, text[position:end])
            position = end
        self._pending = text[position:]
        self._tail = _tail_of(shown)
        return shown[before:]

    def _join(self, shown: str, piece: str) -> str:
        gap = self._gap
        solid = piece.lstrip(" \t") if gap is not None and gap["line"] is not None else piece
        if gap is None or not solid:
            return shown + piece
        self._gap = None
        # Without the marker, these backticks would begin code that the original does not have.
        return f"{shown}…{piece}" if solid[0] in "`~" else shown + piece

    def _replace(self, token: re.Match[str], tail: str) -> str:
        if not token["close"]:
            # The inside is too long: drop the bracket, so that later text cannot make a marker.
            too_long = len(token["inside"]) >= _MAX_INSIDE
            return token["inside"] if too_long else token[0]
        numbers = _numbers(token)
        if numbers is None:
            return token[0]
        kept = [number for number in numbers if number in self._valid]
        if kept:
            return _space_of(token) + "".join(f"[{number}]" for number in kept)
        # "[[9]8]" must not become "[8]".
        return "…" if _UNCLOSED.search(tail) else ""


class Verbatim:
    """Drop-in for CitationFilter for answers without passages: returns the text unchanged."""

    def feed(self, delta: str) -> str:
        return delta

    def flush(self) -> str:
        return ""


def keep_citations(text: str, valid: Collection[int]) -> str:
    """`text` without the markers that refer to none of `valid`."""
    citations = CitationFilter(valid)
    return citations.feed(text) + citations.flush()


def strip_citations(text: str) -> str:
    """`text` without markers, so that a `[1]` in quoted text is not taken for a citation."""
    return keep_citations(text, ())


def citing_statements(text: str) -> dict[int, list[str]]:
    """Maps each number in a marker to the sentences that cite it, in order.

    A marker may come before its sentence's full stop or after it, and after another marker.
    """
    found: dict[int, list[str]] = {}
    statement, position = "", 0
    for token in _TOKEN.finditer(_without_code(text)):
        numbers = _numbers(token) if token["close"] else None
        if numbers is None:
            continue
        before = text[position : token.start()]
        position = token.end()
        if words(before):
            last = split_sentences(before)[-1]
            statement = before[last.start : last.end]
        for number in numbers:
            cited = found.setdefault(number, [])
            if statement not in cited:
                cited.append(statement)
    return found


def _without_code(text: str) -> str:
    """`text` with an `x` for each character of code, so that indices stay valid."""
    return "".join("x" * len(part.text) if part.is_code else part.text for part in split_code(text))


def mark_code(text: str, *, context: str = "") -> str:
    """A document's `text` with backticks around brackets that are code and no references.

    `rows[12]` counts as code if `context` (or `text`) has the same name with another number, or
    if the number is 0, which no reference has. `[0-9]+` always counts as code.
    """
    indexes: dict[str, set[str]] = {}
    for found in _SUBSCRIPT.finditer(context or text):
        indexes.setdefault(found["name"], set()).add(found["index"])

    def mark(found: re.Match[str]) -> str:
        numbers = indexes.get(found["name"], set()) | {found["index"]}
        return f"`{found[0]}`" if len(numbers) > 1 or "0" in numbers else found[0]

    parts = split_code(text)
    return "".join(
        part.text if part.is_code else _DIGIT_CLASS.sub(r"`\g<0>`", _SUBSCRIPT.sub(mark, part.text))
        for part in parts
    )


def best_quote(passage_text: str, support: str, *, page_break: int | None = None) -> str:
    """The sentence of `passage_text` that best supports `support`, word for word.

    `support` is a sentence of the answer, or the question. The score is the F1 of shared word
    stems, so that no sentence wins by its length alone. If no sentence shares a word, the
    result is the first sentence; it is empty only for an empty passage.

    The text from `page_break` on is on the passage's second page. Only the end of a sentence
    can be there, so the quote is cut at the break.
    """
    wanted = set(content_stems(strip_citations(support)))
    end = len(passage_text) if page_break is None else page_break
    segments = [segment for segment in split_sentences(passage_text) if segment.start < end]
    prose = [segment for segment in segments if not segment.heading] or segments
    if not prose:
        return passage_text[:end].strip()

    def fit(segment: Segment) -> float:
        sentence = passage_text[segment.start : segment.end]
        return _overlap(wanted, set(content_stems(sentence)))

    best = max(prose, key=fit)
    return passage_text[best.start : min(best.end, end)].rstrip()


def verbatim_quote(
    passage_text: str, statement: str, *, page_break: int | None = None
) -> str | None:
    """The sentence of `passage_text` that contains `statement` word for word.

    None if there is none, or if the statement is too short to be distinctive. A quote from a
    very long sentence is the statement alone. `page_break` is as in `best_quote`.
    """
    end = len(passage_text) if page_break is None else page_break
    said = strip_citations(statement).strip(" …\n\t").split()
    if not _MIN_VERBATIM_WORDS <= len(said) <= _MAX_VERBATIM_WORDS:
        return None
    # Backticks may be the document's own, or those of `mark_code`.
    words_of = (re.escape(word).replace("`", "`?") for word in said)
    found = re.search(r"\s+".join(words_of), passage_text)
    if found is None or found.start() >= end:
        return None
    start, stop = found.span()
    for segment in split_sentences(passage_text):
        whole = segment.start <= start and stop <= segment.end
        if whole and segment.end - segment.start <= _MAX_QUOTE_CHARS:
            start, stop = segment.start, segment.end
    return passage_text[start : min(stop, end)].rstrip()


def _overlap(wanted: set[str], offered: set[str]) -> float:
    if not wanted or not offered:
        return 0.0
    return 2 * len(wanted & offered) / (len(wanted) + len(offered))


def _may_continue(token: re.Match[str]) -> bool:
    if token["close"]:
        return False
    return len(token["note"] or token["inside"]) < _MAX_INSIDE


def _held_from(text: str, start: int) -> int:
    space = _TRAILING_SPACE.search(text, max(start, len(text) - 3))
    return space.start() if space else len(text)


def _tail_of(text: str) -> str:
    return text[-2 * _MAX_INSIDE :]


def _space_of(token: re.Match[str]) -> str:
    return token[0][: len(token[0]) - len(token[0].lstrip(" \t"))]


def _numbers(token: re.Match[str]) -> list[int] | None:
    """The numbers of a closed token in order; None if it is no marker."""
    inside = re.sub(f"[{_INVISIBLE}]", "", token["inside"])
    items = _ITEMS.fullmatch(inside)
    if items is None:
        return None
    return list(dict.fromkeys(_expand(items[1])))


def _expand(items: str) -> Iterator[int]:
    for item in re.split(r"[,;，、]", items):
        first, *last = (int(part) for part in re.split(r"[-–]", item))
        yield from range(first, min(max([first, *last]), first + _MAX_RANGE) + 1)
