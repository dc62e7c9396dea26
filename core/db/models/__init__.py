"""The tables, and the reasons for their shape.

Every row of a customer has `tenant_id`. A chunk's text and its vector are in two
tables: PostgreSQL stores a vector of a wide row out of line (TOAST), which makes an
exact scan some six times slower.
"""

from core.db.models.access import ApiKey, IdempotencyKey
from core.db.models.base import (
    DIMENSIONS,
    DOCUMENT_STATUSES,
    JOB_STATES,
    MESSAGE_STATUSES,
    RANGE_STATES,
    SENDERS,
    TERMINAL_STATES,
    Base,
    new_id,
    write_vector,
)
from core.db.models.conversations import (
    AnswerChunk,
    AnswerContext,
    ChatSession,
    Message,
    MessageTrace,
    MessageVector,
)
from core.db.models.documents import (
    Chunk,
    ChunkVector,
    Document,
    DocumentPage,
    Erasure,
    ErasureItem,
    Job,
    LastServed,
    PageRange,
    TenantStatistic,
    TermStatistic,
)

__all__ = [
    "DIMENSIONS",
    "DOCUMENT_STATUSES",
    "JOB_STATES",
    "MESSAGE_STATUSES",
    "RANGE_STATES",
    "SENDERS",
    "TERMINAL_STATES",
    "AnswerChunk",
    "AnswerContext",
    "ApiKey",
    "Base",
    "ChatSession",
    "Chunk",
    "ChunkVector",
    "Document",
    "DocumentPage",
    "Erasure",
    "ErasureItem",
    "IdempotencyKey",
    "Job",
    "LastServed",
    "Message",
    "MessageTrace",
    "MessageVector",
    "PageRange",
    "TenantStatistic",
    "TermStatistic",
    "new_id",
    "write_vector",
]
