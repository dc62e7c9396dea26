"""Measures the extractive answers to a set's questions, through the API's chat."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

import httpx

from bench.relevance import normalised
from core.answering.citations import strip_citations
from core.answering.extractive import MAX_CHARS, NOTHING_FOUND


@dataclass(frozen=True)
class AnswerRow:
    """Shares of the questions: answered; answered with the accepted answer (None if the set has
    none); and answered although the documents with the answer are out of reach.

    `support` is the share of the answers' figures, names and dates that their passages contain,
    as the service stores it, averaged over the answers that have any (None if none has).
    """

    answered: float
    found: float | None
    absent_answered: float
    support: float | None


def measure_answers(
    client: httpx.Client,
    questions: Sequence[dict[str, Any]],
    *,
    user_id: str,
    names: Mapping[str, str],
) -> AnswerRow:
    """Ask each question twice: with all documents of the set, and without those that answer it.

    `names` are file names by document id. An abstention counts as not found.
    """
    made = client.post("/sessions", json={"user_id": user_id}).raise_for_status().json()
    path = f"/sessions/{made['id']}/chat"
    messages = [_ask(client, path, question) for question in questions]
    answers = [message["content"] for message in messages]
    absent = [
        _ask(client, path, question, document_ids=others)["content"]
        for question in questions
        if (others := _without_gold(question, names))
    ]
    support = [message["context_metadata"].get("support") for message in messages]
    held = [_holds(answer, question) for answer, question in zip(answers, questions, strict=True)]
    return AnswerRow(
        answered=_share([not answer.startswith(NOTHING_FOUND) for answer in answers]),
        found=_share([bool(one) for one in held]) if None not in held else None,
        absent_answered=_share([not answer.startswith(NOTHING_FOUND) for answer in absent]),
        support=fmean(known) if (known := [one for one in support if one is not None]) else None,
    )


def _ask(client: httpx.Client, path: str, question: dict[str, Any], **reach: Any) -> dict[str, Any]:
    """The message that answers. Raises RuntimeError if it is too long."""
    body = {"message": question["question"], "memory": "none", **reach}
    answer: dict[str, Any] = (
        client.post(path, json=body).raise_for_status().json()["assistant_message"]
    )
    if len(answer["content"]) > MAX_CHARS:
        raise RuntimeError(f"an answer of {len(answer['content'])} characters")
    return answer


def _without_gold(question: dict[str, Any], names: Mapping[str, str]) -> list[str]:
    gold = {entry["document"] for entry in question["gold"]}
    return [document_id for document_id, name in names.items() if name not in gold]


def _holds(answer: str, question: dict[str, Any]) -> bool | None:
    """Whether `answer` contains an accepted answer; None if the set has none."""
    accepted = question.get("answers")
    if not accepted:
        return None
    said = f" {normalised(strip_citations(answer))} "
    return any(f" {normalised(one)} " in said for one in accepted)


def _share(values: Sequence[bool]) -> float:
    return sum(values) / len(values) if values else 0.0
