"""Checks whether the stored vectors come from the model that the settings name.

Vectors of two models cannot be compared. Each vector is stored with its model's name, and a
search compares only vectors of the query's model. A document's `embedding_model` is the model
of all its vectors; it is empty if they come from several.
"""

from dataclasses import dataclass

from sqlalchemy import text
from sqlalchemy.orm import Session

from core.bootstrap import Services
from core.db import Executor
from core.errors import ProviderRefused

CODE = "embedding_model_changed"

# An index gives the least and the greatest name in two look-ups, however many documents exist.
_STORED = text(
    """
    SELECT (SELECT min(embedding_model) FROM documents WHERE generation > 0) AS least,
           (SELECT max(embedding_model) FROM documents WHERE generation > 0) AS greatest
    """
)
# For pgvector's types, the modifier is the number of dimensions.
_LENGTH = text(
    "SELECT atttypmod FROM pg_attribute"
    " WHERE attrelid = 'chunk_vectors'::regclass AND attname = 'embedding'"
)


@dataclass(frozen=True, slots=True)
class ModelChange:
    """The stored vectors and the settings differ; `detail` says so in one line."""

    detail: str


def stored_length(db: Executor) -> int:
    """The length of the vectors that the database's column has."""
    column = db.execute(_LENGTH, {}).first()
    return int(column[0]) if column else 0


def find_change(db: Session, *, model: str, dimensions: int) -> ModelChange | None:
    """The difference between the stored vectors and the settings' model, or None.

    `model` is the embedder's name, `dimensions` the length of its vectors.
    """
    length = stored_length(db)
    if length != dimensions:
        return _change(f"vectors of {length} numbers", f"{model} with vectors of {dimensions}")
    stored = db.execute(_STORED).one()
    other = next((name for name in stored if name is not None and name != model), None)
    if other is None:
        return None
    return _change(f"vectors of {other or 'several models'}", model)


def check_length(services: Services) -> None:
    """Raise ProviderRefused if the database has vectors of another length."""
    embedder = services.embedder
    length = stored_length(services.database.autocommit(tenant_id=None))
    if length != embedder.dimensions:
        change = _change(f"vectors of {length} numbers", f"vectors of {embedder.dimensions}")
        raise ProviderRefused(change.detail, code=CODE)


def _change(stored: str, wanted: str) -> ModelChange:
    return ModelChange(
        f"The documents have {stored}, the settings name {wanted}: put EMBEDDING_PROVIDER, "
        "EMBEDDING_MODEL and EMBEDDING_DIMENSIONS back, or run "
        "`flask --app web.app embeddings renew`."
    )
