"""Translates the marks of other chat templates into `<think>` and `</think>`.

Servers that do not parse them leave them in the content: Mistral's Magistral, Cohere's Command A,
Seed-OSS, Kimi, and the channels of gpt-oss (OpenAI's Harmony format), whose first channel is the
reasoning and whose last one is the answer.
"""

import re

_OPEN, _CLOSE = "<think>\n", "\n</think>\n"
_OPENING = {
    "[THINK]": _OPEN,
    "<|START_THINKING|>": _OPEN,
    "<seed:think>": _OPEN,
    "◁think▷": _OPEN,
    "<|channel|>analysis<|message|>": _OPEN,
    "<|channel|>final<|message|>": "",
    "<|START_RESPONSE|>": "",
}
_CLOSING = {
    "[/THINK]": _CLOSE,
    "<|END_THINKING|>": _CLOSE,
    "</seed:think>": _CLOSE,
    "◁/think▷": _CLOSE,
    "<|end|><|start|>assistant<|channel|>final<|message|>": _CLOSE,
    "<|start|>assistant<|channel|>final<|message|>": _CLOSE,
}
_AFTER_CLOSING = {"<|START_RESPONSE|>": ""}
_FIRST_CHARACTER = re.compile("[<◁[]")  # of every mark


class MarkTranslator:
    """Translates a text while it is streamed. Marks may be cut anywhere between deltas.

    An opening mark counts at the beginning of the text. A closing mark counts once, after an
    opening one, or in a text without any code: a template may have opened the block itself.
    """

    def __init__(self) -> None:
        self._held = ""
        self._marks = _OPENING | _CLOSING
        self._is_start = True
        self._is_opened = False

    def feed(self, delta: str) -> str:
        """The translation as far as it is certain; may be empty."""
        self._held += delta
        if not _FIRST_CHARACTER.search(self._held):  # almost always
            text, self._held = self._held, ""
            self._note(text)
            return text
        done = ""
        while found := self._first_mark():
            place, mark = found
            done += self._held[:place] + self._marks[mark]
            self._held = self._held[place + len(mark) :]
            self._is_opened = self._marks[mark] == _OPEN
            self._is_start = False
            self._marks = _CLOSING if self._is_opened else _AFTER_CLOSING
        place = len(self._held) - self._length_of_begun_mark()
        text, self._held = self._held[:place], self._held[place:]
        self._note(text)
        return done + text

    def flush(self) -> str:
        """The rest. Call it when the text is over."""
        rest, self._held = self._held, ""
        return rest

    def _note(self, text: str) -> None:
        if self._is_start and text.strip():
            self._is_start = False
            self._marks = _CLOSING
        elif self._marks is _AFTER_CLOSING and text.strip():
            self._marks = {}
        if "`" in text and not self._is_opened:
            self._marks = {}

    def _first_mark(self) -> tuple[int, str] | None:
        found: list[tuple[int, int, str]] = []
        for mark in self._marks:
            place = self._held.find(mark)
            before = self._held[: max(place, 0)]
            is_allowed = not before.strip() if mark in _OPENING else self._may_close(before)
            if place >= 0 and is_allowed:
                found.append((place, -len(mark), mark))
        return (min(found)[0], min(found)[2]) if found else None

    def _may_close(self, before: str) -> bool:
        return self._is_opened or "`" not in before

    def _length_of_begun_mark(self) -> int:
        longest = min(max(map(len, self._marks), default=1) - 1, len(self._held))
        for length in range(longest, 0, -1):
            if any(mark.startswith(self._held[-length:]) for mark in self._marks):
                return length
        return 0
