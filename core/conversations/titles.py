"""Gives a session a title: first from its first question, then by the LLM if there is one."""

import re

from sqlalchemy import text

from core.answering.base import Question
from core.bootstrap import Services
from core.conversations.turns import TurnRows
from core.errors import RagError
from core.telemetry import get_logger

log = get_logger(__name__)

MAX_CHARS = 60
MAX_QUESTION_CHARS = 2000  # of the question in the LLM's prompt
_INSTRUCTION = (
    "Write a title of at most six words for a conversation that begins with the message"
    " below, in the language of the message. Answer with the title alone, without quotation"
    " marks.\n\n"
)

_IMPROVE = text(
    "UPDATE sessions SET title = :title"
    " WHERE tenant_id = :tenant_id AND id = :id AND title_is_automatic RETURNING 1"
)


def improve_title(services: Services, *, tenant_id: str, rows: TurnRows) -> None:
    """Let the LLM write the title, unless a user has changed it. Never raises."""
    if services.settings.chat_provider == "extractive":
        return
    prompt = _INSTRUCTION + rows.question.content[:MAX_QUESTION_CHARS]
    try:
        stream = services.answerer.answer(Question(text=prompt, search_query="", grounded=False))
        title = title_from("".join(stream))
        if title:
            values = {"tenant_id": tenant_id, "id": rows.question.session_id, "title": title}
            services.database.autocommit(tenant_id=tenant_id).execute(_IMPROVE, values)
    except RagError as error:
        log.info("title_not_improved", code=error.code)
    except Exception as error:  # for example because the process ends
        log.warning("title_not_improved", error=type(error).__name__)


def title_from(text: str) -> str:
    """Return the first line of `text`, cut between words to at most MAX_CHARS characters."""
    lines = [line for line in text.strip().splitlines() if line.strip()]
    title = re.sub(r"\s+", " ", lines[0]).strip(" \"'“”«»*#`") if lines else ""
    if len(title) <= MAX_CHARS:
        return title
    cut = title[: MAX_CHARS - 1]
    head = cut.rsplit(" ", 1)[0] if " " in cut[MAX_CHARS // 2 :] else cut
    return f"{head.rstrip(' ,;:')}…"
