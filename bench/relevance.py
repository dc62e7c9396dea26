"""Decides whether a passage is a hit for a question, and rates a ranking of passages."""

import re
import unicodedata
from collections.abc import Callable, Sequence
from typing import Any

DEPTH = 10
Find = Callable[[str], Sequence[dict[str, Any]]]


def normalised(text: str) -> str:
    return re.sub(r"\W+", " ", unicodedata.normalize("NFKC", text).casefold()).strip()


def is_hit(passage: dict[str, Any], question: dict[str, Any], *, by_text: bool) -> bool:
    for gold in question["gold"]:
        if passage["filename"] != gold["document"]:
            continue
        if by_text:
            if normalised(gold["answer_text"]) in normalised(passage["text"]):
                return True
        elif gold["page"] is None or (passage["page_start"] <= gold["page"] <= passage["page_end"]):
            return True
    return False


def first_hit(
    passages: Sequence[dict[str, Any]], question: dict[str, Any], *, by_text: bool
) -> int:
    """The rank of the first hit, from 1; 0 if there is none."""
    for rank, passage in enumerate(passages, start=1):
        if is_hit(passage, question, by_text=by_text):
            return rank
    return 0


def rate(
    find: Find, questions: Sequence[dict[str, Any]], *, by_text: bool
) -> tuple[float, float, float]:
    """(hit@1, hit@5, MRR@10) of `find`, which gives DEPTH passages for a question's text."""
    ranks = [
        first_hit(find(question["question"])[:DEPTH], question, by_text=by_text)
        for question in questions
    ]
    total = len(ranks)
    return (
        sum(rank == 1 for rank in ranks) / total,
        sum(0 < rank <= 5 for rank in ranks) / total,
        sum(1 / rank for rank in ranks if rank) / total,
    )
