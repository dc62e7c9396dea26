"""Reorders the best passages of a search by a reranking model, if one is configured."""

from collections.abc import Sequence

from core.answering.passages import Passage
from core.errors import ProviderError
from core.providers.reranker import Reranker
from core.telemetry import get_logger

log = get_logger(__name__)

DEPTH = 30  # passages to rerank; each costs the endpoint one pass of its model


def rerank(reranker: Reranker, *, query: str, passages: Sequence[Passage]) -> list[Passage]:
    """`passages` in the reranker's order and with its scores, renumbered from 1.

    If the reranker fails, logs a warning and returns them unchanged: a search must not fail.
    """
    if len(passages) < 2:
        return list(passages)
    try:
        scores = reranker.score(query, [passage.text for passage in passages])
    except ProviderError as error:
        log.warning("rerank_failed", code=error.code, detail=error.detail)
        return list(passages)
    order = sorted(range(len(passages)), key=lambda index: -scores[index])
    return [
        passages[index].numbered(rank).scored(scores[index])
        for rank, index in enumerate(order, start=1)
    ]
