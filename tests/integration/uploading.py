"""Common steps of tests of uploads and of the worker."""

import io
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import select

from core.bootstrap import Services
from core.db.models import Document, Job
from core.db.paging import PageRequest
from core.documents import ingestion, jobs, records, uploads
from core.documents.uploads import Accepted

TENANT = "default"


PAGES = [
    "The lighthouse of Norrskar was built in 1847 by Albin Lind. It is 31 metres high.",
    "Its lamp burned rapeseed oil until 1886. Since then it has burned petroleum.",
    "The last keeper, Elsa Holm, left the island in 1962. A radio beacon took over her work.",
]


def upload(services: Services, data: bytes, **overrides: Any) -> Accepted:
    arguments: dict[str, Any] = {
        "filename": "report.pdf",
        "user_id": None,
        "session_id": None,
        "metadata": {},
    }
    return uploads.accept_upload(
        services, tenant_id=TENANT, body=io.BytesIO(data), **(arguments | overrides)
    )


def work_off(services: Services) -> int:
    """Do the worker's work until nothing is due; return the number of units."""
    count = 0
    while ingestion.process_next_range(services):
        count += 1
    return count


def reload(services: Services, accepted: Accepted) -> tuple[Document, Job]:
    with services.database.transaction(tenant_id=TENANT) as db:
        document = records.get_document(db, tenant_id=TENANT, document_id=accepted.document.id)
        return document, jobs.get_job(db, tenant_id=TENANT, job_id=document.job_id or uuid4())


def chunk_texts(services: Services, document_id: UUID) -> list[str]:
    with services.database.transaction(tenant_id=TENANT) as db:
        page = records.list_chunks(
            db, tenant_id=TENANT, document_id=document_id, page=PageRequest(limit=100)
        )
    return [chunk.text for chunk in page.items]


def count(services: Services, table: type) -> int:
    with services.database.transaction(tenant_id=None) as db:
        return len(db.execute(select(table)).all())


def stored_files(services: Services) -> list[str]:
    return [item.key for item in services.storage.list_objects()]
