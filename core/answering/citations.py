"""Markers like `[2]` in an answer, and the sentence a passage is quoted by.

A marker is a list of whole numbers in square brackets: `[2]`, `[1, 3]`, `[1-3]`; full-width
brackets (`【2】`, `［2］`) and the daggers some models add (`【2†source】`) count too. Everything
else in brackets (`[a]`, `[ ]`, `[p. 3]`, `[^1]`) is text. `array[0]` cannot be told from a
marker, since markers follow words without a space, so it is treated as one.
"""

import re
from collections.abc import Collection, Iterator

from core.text.sentences import Segment, split_sentences
from core.text.words import content_stems, words

_OPEN, _CLOSE = r"\[【［", r"\]】］"
_INVISIBLE = "\u00ad\u200b-\u200f\u2060\ufeff"
_LIST = rf"\d\s,;，、–\-{_INVISIBLE}"
# Longest inside of a marker; more is not held back, and loses its opening bracket.
_MAX_INSIDE = 80
_TOKEN = re.compile(
    rf"[ \t]{{0,3}}[{_OPEN}](?P<inside>[{_LIST}]{{0,{_MAX_INSIDE}}}+)"
    rf"(?P<note>†[^{_OPEN}{_CLOSE}\n]{{0,{_MAX_INSIDE}}}+)?(?P<close>[{_CLOSE}])?"
)
_TRAILING_SPACE = re.compile(r"[ \t]{1,3}\Z")
_UNCLOSED = re.compile(rf"[{_OPEN}][{_LIST}]*\Z")
_ITEMS = re.compile(r"\s*(\d+(?:\s*[-–]\s*\d+)?(?:\s*[,;，、]\s*\d+(?:\s*[-–]\s*\d+)?)*)\s*")
_MAX_RANGE = 50
# Of an answer's statement that is sought in its passage word for word.
_MIN_VERBATIM_WORDS, _MAX_VERBATIM_WORDS = 3, 200
# Longer sentences are rows of a table mostly: of these no more is quoted than was said.
_MAX_QUOTE_CHARS = 500


class CitationFilter:
    """Lets text through as it is written, without the markers that refer to no passage.

    Markers that stay are written `[1]`, several as `[1][3]`. The joined output is the same
    however the text is cut into deltas. What might be the beginning of a marker, at most
    some 160 characters, is held back until its end is known or `flush` is called.
    """

    def __init__(self, valid: Collection[int]) -> None:
        self._valid = frozenset(valid)
        self._pending = ""
        self._tail = ""

    def feed(self, delta: str) -> str:
        """What can be shown now; may be empty."""
        return self._advance(delta, at_end=False)

    def flush(self) -> str:
        """What was held back. To be called when the text is over."""
        return self._advance("", at_end=True)

    def _advance(self, delta: str, *, at_end: bool) -> str:
        text = self._pending + delta
        before = len(self._tail)
        shown = self._tail
        position = 0
        for token in _TOKEN.finditer(text):
            shown += text[position : token.start()]
            position = token.start()
            if token.end() == len(text) and not at_end and _may_go_on(token):
                break
            shown += self._replace(token, _tail_of(shown))
            position = token.end()
        else:
            end = len(text) if at_end else _held_from(text, position)
            shown += text[position:end]
            position = end
        self._pending = text[position:]
        self._tail = _tail_of(shown)
        return shown[before:]

    def _replace(self, token: re.Match[str], tail: str) -> str:
        if not token["close"]:
            # An opening bracket too far from its end: without it, no marker can arise.
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


def keep_citations(text: str, valid: Collection[int]) -> str:
    """`text` without the markers that refer to none of `valid`."""
    citations = CitationFilter(valid)
    return citations.feed(text) + citations.flush()


def strip_citations(text: str) -> str:
    """`text` without any marker, so that none in quoted matter poses as a citation."""
    return keep_citations(text, ())


def cited_indexes(text: str) -> list[int]:
    """The numbers that the markers in `text` name, each once, in order of appearance."""
    return list(cited_statements(text))


def cited_statements(text: str) -> dict[int, str]:
    """The numbers that the markers in `text` name, each with the sentence it first stands behind.

    A marker may stand before the full stop of its sentence or after it, and behind another.
    """
    found: dict[int, str] = {}
    statement, position = "", 0
    for token in _TOKEN.finditer(text):
        numbers = _numbers(token) if token["close"] else None
        if numbers is None:
            continue
        before = text[position : token.start()]
        position = token.end()
        if words(before):
            last = split_sentences(before)[-1]
            statement = before[last.start : last.end]
        for number in numbers:
            found.setdefault(number, statement)
    return found


def best_quote(passage_text: str, support: str, *, page_break: int | None = None) -> str:
    """The sentence of `passage_text` that best supports `support`, exactly as it stands there.

    `support` is a sentence of the answer, or the question. Scored by the F1 of shared word
    stems, so that neither a long nor a very short sentence wins by its length. The first
    sentence when none shares a word; empty only for an empty passage.

    From `page_break` on the text stands on the passage's second page, where only the end of
    a sentence can stand: the quote is then what stands of it on the first.
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
    """`statement` as `passage_text` has it word for word, with the rest of its sentence.

    None if it does not stand there, or says too little to be told from others. From
    `page_break` on it is as with `best_quote`.
    """
    end = len(passage_text) if page_break is None else page_break
    said = strip_citations(statement).strip(" …\n\t").split()
    if not _MIN_VERBATIM_WORDS <= len(said) <= _MAX_VERBATIM_WORDS:
        return None
    found = re.search(r"\s+".join(map(re.escape, said)), passage_text)
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


def _may_go_on(token: re.Match[str]) -> bool:
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
    """The numbers of a closed token in order, None if it is no marker."""
    inside = re.sub(f"[{_INVISIBLE}]", "", token["inside"])
    items = _ITEMS.fullmatch(inside)
    if items is None:
        return None
    return list(dict.fromkeys(_expand(items[1])))


def _expand(items: str) -> Iterator[int]:
    for item in re.split(r"[,;，、]", items):
        first, *last = (int(part) for part in re.split(r"[-–]", item))
        yield from range(first, min(max([first, *last]), first + _MAX_RANGE) + 1)
