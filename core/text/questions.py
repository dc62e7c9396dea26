"""Tells what a question asks for from instructions how to answer it, and finds parts it names."""

import re

_QUESTION_END = re.compile(r"\?[\"'”’)]*(?=\s|$)|[？؟]")
_INSTRUCTION = re.compile(
    r"(?:please|if|answer|respond|reply|give|list|provide|explain|state|define|describe|use|assume"
    r"|calculate|compute|include|round|express|format|write|return|show|keep|be|do not|don['’]t)\b",
    re.IGNORECASE,
)

# A part of a document by its number or letter: `Note 5`, `item 7a`, `Section 4.2`, `Annex B`.
NUMBERED_PART = re.compile(
    r"\b(?:note|item|part|section|chapter|article|clause|appendix|annex|exhibit|schedule|table"
    r"|figure) (?:\d{1,3}(?:\.\d{1,3})*[a-z]?|[ivx]{1,5}|(?-i:[A-Z]))(?!\w)",
    re.IGNORECASE,
)


def numbered_parts(question: str) -> list[str]:
    """The parts of documents that the question names, as written: `Note 5`."""
    return [found[0] for found in NUMBERED_PART.finditer(question)]


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
