"""What a question asks for, apart from how it wants to be answered."""

import re

_QUESTION_END = re.compile(r"\?[\"'”’)]*(?=\s|$)|[？؟]")
_INSTRUCTION = re.compile(
    r"(?:please|if|answer|respond|reply|give|list|provide|explain|state|define|describe|use|assume"
    r"|calculate|compute|include|round|express|format|write|return|show|keep|be|do not|don['’]t)\b",
    re.IGNORECASE,
)


def without_instructions(question: str) -> str:
    """The question up to its last question mark, if all that follows tells how to answer.

    "… FY2022? If it is not useful, state that and explain why." asks for what stands before
    the "If"; the rest draws its embedding away.
    """
    ends = list(_QUESTION_END.finditer(question))
    if not ends:
        return question
    rest = re.split(r"(?<=[.!])\s+", question[ends[-1].end() :].strip())
    told = all(_INSTRUCTION.match(sentence) for sentence in rest)
    return question[: ends[-1].end()] if told else question
