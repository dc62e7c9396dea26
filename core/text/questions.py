"""Tells what a question asks for from instructions how to answer it."""

import re

_QUESTION_END = re.compile(r"\?[\"'”’)]*(?=\s|$)|[？؟]")
_INSTRUCTION = re.compile(
    r"(?:please|if|answer|respond|reply|give|list|provide|explain|state|define|describe|use|assume"
    r"|calculate|compute|include|round|express|format|write|return|show|keep|be|do not|don['’]t)\b",
    re.IGNORECASE,
)


def without_instructions(question: str) -> str:
    """The question up to its last question mark, if all that follows tells how to answer.

    "… FY2022? If it is not useful, state that and explain why." asks for what is before
    the "If"; with the rest, its embedding would be further from the passages it asks for.
    """
    ends = list(_QUESTION_END.finditer(question))
    if not ends:
        return question
    rest = re.split(r"(?<=[.!])\s+", question[ends[-1].end() :].strip())
    told = all(_INSTRUCTION.match(sentence) for sentence in rest)
    return question[: ends[-1].end()] if told else question
