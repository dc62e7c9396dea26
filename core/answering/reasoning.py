"""Removes a model's reasoning, and the end marks of its chat template, from its answer.

Servers that do not parse reasoning leave it in the content, between `<think>` and `</think>`.
Some chat templates (DeepSeek-R1, QwQ, Qwen3-Thinking) open the block themselves, so the content
has only the end tag, and only that shows that all text before it was reasoning. Such a model is
recognised by its name, by its earlier answers, or by the typical first words of reasoning.
"""

import re
from collections.abc import Callable

from core.answering.reasoning_marks import MarkTranslator
from core.text.code import split_code

_NAMES = r"(?:think|thinking|thought|reasoning)"
_OPEN = re.compile(rf"<{_NAMES}>", re.I)
_CLOSE = re.compile(rf"</{_NAMES}>", re.I)
_TAG = re.compile(rf"<(?P<slash>/?){_NAMES}>", re.I)
_BEGUN_TAG = re.compile(rf"(?:</?[a-z]{{0,9}}|</?{_NAMES}>[ \t]*)\Z", re.I)
_LONGEST_TAG = len("</reasoning>")
# Names, by vendors and Ollama, of models that reason before every answer.
_THINKERS = re.compile(
    r"deepseek[-_/:]?r1|\br1[-_:]|\bqwq|thinking|reason|magistral|marco-o1|exaone-deep"
    r"|smallthinker|openthinker|deepscaler",
    re.I,
)
# How DeepSeek-R1, QwQ, Qwen3-Thinking and gpt-oss begin to reason, and answers hardly ever.
_FIRST_WORDS = (
    "okay, ", "ok, ", "ok so", "okay so", "alright, ", "hmm", "wait, ", "let me ", "let's ",
    "first, i ", "we need ", "we are given", "we are asked", "i need to ", "i should ",
    "i'm trying to", "i am trying to", "so the user", "so, the user", "now, the user",
    "the user ask", "the user is ", "the user want", "the user has ", "the user said",
    "the user just", "the user's ", "user asks", "user wants", "thinking process",
)  # fmt: skip
_END_MARK = (
    r"(?:<\|(?:eot_id|eom_id|im_end|end|endoftext|end_of_text|end_of_turn|return|end_response)\|>|</s>"
    r"|<end_of_turn>|<｜end▁of▁sentence｜>)"
)
_END_MARKS = re.compile(rf"\s*(?:{_END_MARK}\s*)+\Z", re.I)
_BEGUN_MARKS = re.compile(rf"(?:{_END_MARK}\s*)*(?:<[|｜/a-z_▁]{{0,20}}>?\s*)?\Z", re.I)


def thinks_by_name(model: str) -> bool:
    """Whether the model is known by its name to reason before each answer."""
    return _THINKERS.search(model) is not None


def without_reasoning(text: str) -> str:
    """A whole answer without its reasoning."""
    reasoning = ReasoningFilter()
    first = reasoning.feed(text)
    return first + reasoning.flush()


class ReasoningFilter:
    """Removes reasoning and end marks from an answer while it is streamed.

    If `expected` is True, the model is known to reason without an opening tag, and everything is
    held back until the end tag or the end of the text. If `suspicious` is True, a text that
    begins with typical first words of reasoning is held back in the same way, and `suspected` is
    set. Otherwise an end tag without an opening tag sets `restarted`: all earlier text was
    reasoning, and the answer begins with the text that the same call of `feed` returns.
    `hidden_opening` is True after an end tag without an opening tag. Tags in code and in the
    middle of a line are text.
    """

    def __init__(self, *, expected: bool = False, suspicious: bool = False) -> None:
        self.restarted = False
        self.hidden_opening = False
        self.suspected = False
        self._suspicious = suspicious
        self._marks = MarkTranslator()
        self._seen = False  # there was reasoning
        self._expected = expected
        self._state: Callable[[bool], str] = self._begin
        self._held = ""
        self._searched = 0  # characters at the beginning of `_held` that have no end tag
        self._shown = ""
        self._end = ""
        self._has_strike = False  # `</s>` may be HTML's

    def expect_none(self) -> None:
        """Stop waiting for an end tag, because the server sends reasoning in a separate field."""
        self._expected = self._suspicious = False

    def feed(self, delta: str) -> str:
        """The text that can be shown now; may be empty."""
        self._end += self._advance(self._marks.feed(delta))
        self._has_strike = self._has_strike or "<s>" in self._end
        # Every mark begins with "<", and most deltas have none.
        begun = _BEGUN_MARKS.search(self._end) if "<" in self._end else None
        place = begun.start() if begun else len(self._end)
        shown, self._end = self._end[:place], self._end[place:]
        return shown

    def flush(self) -> str:
        """The text that was held back. Call it at the end of the text."""
        rest = self._advance(self._marks.flush(), at_end=True)
        rest, self._end = self._end + rest, ""
        return rest if self._has_strike else _END_MARKS.sub("", rest)

    def give_up(self) -> str:
        """The rest of a text that broke off, without what may be reasoning."""
        is_hidden = self._state in (self._think, self._wait, self._aside)
        return "" if is_hidden else self.flush()

    def _advance(self, delta: str, *, at_end: bool = False) -> str:
        self._held += delta
        shown, state = "", None
        while state != self._state:
            state, was_restarted = self._state, self.restarted
            part = state(at_end)
            shown = part if self.restarted != was_restarted else shown + part
        return shown

    def _begin(self, at_end: bool) -> str:
        """State: before the first word of the text, or of the text after a block of reasoning."""
        text = self._held.lstrip()
        if opened := _OPEN.match(text):
            self._seen = True
            self._held = text[opened.end() :]
            self._state = self._think
        elif text and (at_end or not _BEGUN_TAG.fullmatch(text)):
            if self._seen:
                self._held = text
            self._state = self._after_first_words(text, at_end)
        return ""

    def _after_first_words(self, text: str, at_end: bool) -> Callable[[bool], str]:
        if self._seen or at_end:
            return self._answer
        if self._expected:
            return self._wait
        head = text.lower().replace("’", "'")
        if not self._suspicious or not any(map(head.startswith, _FIRST_WORDS)):
            is_undecided = self._suspicious and any(one.startswith(head) for one in _FIRST_WORDS)
            return self._begin if is_undecided else self._answer
        self.suspected = self._expected = True
        return self._wait

    def _think(self, at_end: bool) -> str:
        if closed := _CLOSE.search(self._held):
            self._held = self._held[closed.end() :]
            self._state = self._begin
        else:
            self._held = "" if at_end else self._held[-_LONGEST_TAG:]
        return ""

    def _wait(self, at_end: bool) -> str:
        """State: the model is known to reason, and the end tag may still come."""
        if not self._expected:
            self._state = self._answer
        elif _CLOSE.search(self._held, self._searched):
            self._seen = self.hidden_opening = True
            self._state = self._think
        elif at_end:
            self._state = self._answer
        self._searched = max(0, len(self._held) - _LONGEST_TAG)
        return ""

    def _answer(self, at_end: bool) -> str:
        text, place = self._held, 0
        if "<" not in text:
            return self._show(text, len(text))
        while tag := _TAG.search(text, place):
            if not at_end and not text[tag.end() :].strip(" \t"):
                break  # the next characters decide whether it is a tag or text
            if self._is_mark(text, tag):
                return self._leave_answer(text, tag)
            place = tag.end()
        begun = None if at_end else _BEGUN_TAG.search(text, place)
        return self._show(text, begun.start() if begun else len(text))

    def _aside(self, at_end: bool) -> str:
        """State: in a block of reasoning inside the answer. It is text if it is never closed."""
        if closed := _CLOSE.search(self._held):
            self._seen = True
            self._held = self._held[closed.end() :]
            self._state = self._resume
            return ""
        return self._show(self._held, len(self._held)) if at_end else ""

    def _resume(self, at_end: bool) -> str:
        """State: after a block of reasoning inside the answer."""
        self._held = self._held.lstrip("\r\n")
        if self._held or at_end:
            self._state = self._answer
        return ""

    def _is_mark(self, text: str, tag: re.Match[str]) -> bool:
        before, after = self._shown + text[: tag.start()], text[tag.end() :]
        first = not before.rpartition("\n")[2].strip()
        last = not after.partition("\n")[0].strip()
        closes = bool(tag["slash"]) and not _OPEN.search(before)
        alone = (first or last) and closes if tag["slash"] else first
        return alone and not _in_code(before + text[tag.start() :], place=len(before))

    def _leave_answer(self, text: str, tag: re.Match[str]) -> str:
        self._seen = True
        if tag["slash"]:
            self.restarted = self.hidden_opening = True
            self._shown = self._end = ""
            self._held = text[tag.end() :]
            self._state = self._begin
            return ""
        self._state = self._aside
        return self._show(text, tag.start())

    def _show(self, text: str, end: int) -> str:
        self._shown += text[:end]
        self._held = text[end:]
        return text[:end]


def _in_code(text: str, *, place: int) -> bool:
    for segment in split_code(text):
        place -= len(segment.text)
        if place < 0:
            return segment.is_code
    return False
