"""Documents of several tenants whose words and vectors are known."""

from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any, cast
from uuid import UUID

import numpy as np

from bench.scale import add_document
from core.bootstrap import Services
from core.db import Database
from core.embedding.base import Vectors
from core.search import candidates
from core.search.candidates import Candidate, find_candidates
from core.search.reach import Reach

PER_DOCUMENT = 50
FILLER = ["stone", "timber", "water", "bridge", "near", "old", "town", "mill", "river", "wall"]
ODD_TENANT = 'o\'brien \\ 50% "söhne"'


@dataclass(frozen=True)
class Library:
    """Documents of several tenants; `vectors` by document, in the order of its chunks."""

    database: Database
    documents: dict[str, list[UUID]]
    vectors: dict[UUID, Vectors]

    @property
    def services(self) -> Services:
        return cast(Services, SimpleNamespace(database=self.database))

    def find(
        self, query: str = "", *, tenant: str = "a", vector: Vectors | None = None, **reach: Any
    ) -> list[Candidate]:
        within = {"user_id": None, "session_id": None, "document_ids": None} | reach
        mode: candidates.Mode = "text" if vector is None else ("hybrid" if query else "vector")
        db = self.database.autocommit(tenant_id=tenant)
        return find_candidates(
            db, reach=Reach(tenant, **within), query=query, vector=vector, mode=mode
        ).items


def texts_of(name: str, rng: np.random.Generator) -> list[str]:
    """Text n contains `name`wordn, `name`kind and `common`."""
    return [
        f"{name}word{number} {name}kind common {' '.join(rng.permutation(FILLER))}"
        for number in range(PER_DOCUMENT)
    ]


def unit_vectors(rng: np.random.Generator) -> Vectors:
    vectors = rng.normal(size=(PER_DOCUMENT, 384)).astype(np.float32)
    made: Vectors = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return made


def filled(database: Database) -> Library:
    """Three tenants with three documents each: two of ann, one of bob."""
    rng = np.random.default_rng(7)
    ids: dict[str, list[UUID]] = {}
    vectors: dict[UUID, Vectors] = {}
    for tenant in ("a", "b", ODD_TENANT):
        for name, user_id in (("alpha", "ann"), ("beta", "ann"), ("gamma", "bob")):
            made = unit_vectors(rng)
            document_id = add_document(
                database,
                name,
                tenant=tenant,
                owner=user_id,
                texts=texts_of(name, rng),
                vectors=made,
            )
            ids.setdefault(tenant, []).append(document_id)
            vectors[document_id] = made
    return Library(database, ids, vectors)
