"""What the tests of turns do over and over: sessions, uploads, turns."""

import io
from typing import Any
from uuid import UUID

from core.bootstrap import Services
from core.conversations import messages, sessions
from core.conversations.chat import run_turn
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
    """Upload a PDF and play the worker until nothing is due; the document's id."""
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


def ask(services: Services, session_id: UUID, message: str, **options: Any) -> MessageRecord:
    """Drain a turn; the assistant's message."""
    arguments = {"tenant_id": TENANT} | options
    events = list(run_turn(services, session_id=session_id, message=message, **arguments))
    answer: MessageRecord = events[-1].data["assistant_message"]
    return answer
