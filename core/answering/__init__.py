"""Writes answers, from the passages alone or by an LLM."""

from core.answering.base import Answerer
from core.answering.extractive import ExtractiveAnswerer
from core.answering.openai import OpenAIAnswerer
from core.embedding.base import Embedder
from core.settings import Settings

__all__ = ["create_answerer"]


def create_answerer(settings: Settings, *, embedder: Embedder) -> Answerer:
    """The answerer that `CHAT_PROVIDER` names. Connects to nothing yet."""
    if settings.chat_provider == "extractive":
        return ExtractiveAnswerer(embedder=embedder)
    return OpenAIAnswerer(
        base_url=settings.chat_base_url,
        model=settings.chat_model,
        api_key=settings.effective_chat_api_key,
        count_tokens=embedder.count_tokens,
        history_tokens=settings.chat_history_tokens,
        context_tokens=settings.chat_context_tokens,
        max_tokens=settings.chat_max_tokens,
        temperature=settings.chat_temperature,
        timeout=settings.chat_timeout_seconds,
    )
