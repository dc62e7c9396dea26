"""Common steps of tests: sessions, uploads, turns."""

import io
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any
from uuid import UUID
from weakref import WeakKeyDictionary

from core.access.idempotency import Claim
from core.bootstrap import Services
from core.conversations import messages, sessions, turns
from core.conversations.chat import turn_options
from core.conversations.events import ChatEvent
from core.conversations.live import LiveAnswers, drain
from core.conversations.messages import MessageRecord
from core.db.models import Document
from core.documents import ingestion, records, uploads

TENANT = "default"


def new_session(services: Services, user_id: str = "alice", *, tenant_id: str = TENANT) -> UUID:
    with services.database.transaction(tenant_id=tenant_id) as db:
        return sessions.create_session(db, tenant_id=tenant_id, user_id=user_id).id


def say(
    services: Services,
    session_id: UUID,
    content: str,
    *,
    sender: str = "user",
    tenant_id: str = TENANT,
) -> MessageRecord:
    with services.database.transaction(tenant_id=tenant_id) as db:
        return messages.append_message(
            db, tenant_id=tenant_id, session_id=session_id, sender=sender, content=content
        )


def ingest(services: Services, data: bytes, *, user_id: str | None = None) -> UUID:
    """Upload a PDF, do the worker's work until nothing is due, and return the document's id."""
    accepted = uploads.accept_upload(
        services,
        tenant_id=TENANT,
        body=io.BytesIO(data),
        filename="report.pdf",
        user_id=user_id,
        session_id=None,
        metadata={},
    )
    while ingestion.process_next_range(services):
        pass
    return accepted.document.id


def find_document(services: Services, document_id: UUID, *, tenant_id: str = TENANT) -> Document:
    with services.database.transaction(tenant_id=tenant_id) as db:
        return records.get_document(db, tenant_id=tenant_id, document_id=document_id)


_live: WeakKeyDictionary[Services, LiveAnswers] = WeakKeyDictionary()


def live_answers(services: Services) -> LiveAnswers:
    """The live answers of a process that has these services."""
    return _live.setdefault(services, LiveAnswers(services))


def run_turn(
    services: Services,
    *,
    session_id: UUID,
    message: str,
    tenant_id: str = TENANT,
    claim: Claim | None = None,
    **options: Any,
) -> Iterator[ChatEvent]:
    """Begin a turn and return its events. The first `next` raises the error of a refused turn."""
    opening = partial(
        turns.open_turn,
        tenant_id=tenant_id,
        session_id=session_id,
        message=message,
        options=turn_options(**options),
    )
    turn = live_answers(services).start(
        tenant_id=tenant_id, session_id=session_id, opening=opening, claim=claim
    )
    yield from drain(turn)


def ask(services: Services, session_id: UUID, message: str, **options: Any) -> MessageRecord:
    """Run a turn to its end and return the assistant's message."""
    arguments = {"tenant_id": TENANT} | options
    events = list(run_turn(services, session_id=session_id, message=message, **arguments))
    answer: MessageRecord = events[-1].data["assistant_message"]
    return answer


def wait_until(condition: Callable[[], object], *, what: str, seconds: float = 60) -> None:
    """Poll until `condition` is true. The limit is generous, for slow machines."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"still waiting for {what}"
        time.sleep(0.02)
