"""The checks of a soak: they must notice every kind of violation."""

from collections.abc import Callable, Iterator

import pytest

from bench.soak.checks import DOUBLED, LOST, ORPHANS, STRANGE, WRONG, Stored, check
from bench.soak.documents import ACTIONS, CANCELLED, KINDS, make_uploads
from bench.soak.uploads import Promise

Spoil = Callable[[Promise, Stored], object]


@pytest.fixture
def promise() -> Promise:
    upload = next(item for item in make_uploads(count=20, seed=1) if item.kind == "text")
    return Promise(upload, "document", {"job": {upload.outcome}}, tries=1)


@pytest.fixture
def stored(promise: Promise) -> Stored:
    pages = promise.upload.pages
    return Stored(
        documents={"document": ["ready", 2, pages, "job"]},
        jobs={"job": ["succeeded", None, "document", 1]},
        chunks={"document": [2, 2, promise.upload.text]},
        pages={"document": list(range(1, pages + 1))},
        orphans=dict.fromkeys(ORPHANS, 0),
    )


def test_kept_promises_are_no_violation(promise: Promise, stored: Stored) -> None:
    assert list(check([promise], stored)) == []


def words(stored: Stored, change: Callable[[list[str]], list[str]]) -> None:
    text = stored.chunks["document"][2]
    stored.chunks["document"][2] = " ".join(change(text.split()))


SPOILT: dict[str, tuple[str, Spoil]] = {
    "job gone": (LOST, lambda _, stored: stored.jobs.clear()),
    "job open": (LOST, lambda _, stored: stored.jobs.update(job=["running", None, "document", 1])),
    "document gone": (LOST, lambda _, stored: stored.documents.clear()),
    "words missing": (LOST, lambda _, stored: words(stored, lambda all_: all_[:-3])),
    "chunk twice": (DOUBLED, lambda _, stored: words(stored, lambda all_: [*all_, *all_[:9]])),
    "order": (WRONG, lambda _, stored: words(stored, lambda all_: all_[::-1])),
    "state": (WRONG, lambda _, stored: stored.jobs.update(job=["cancelled", None, "document", 1])),
    "code": (
        WRONG,
        lambda _, stored: stored.jobs.update(job=["failed", "internal_error", "document", 3]),
    ),
    "vector missing": (WRONG, lambda _, stored: stored.chunks["document"].__setitem__(1, 1)),
    "page missing": (WRONG, lambda _, stored: stored.pages["document"].pop()),
    "unknown job": (
        DOUBLED,
        lambda _, stored: stored.jobs.update(other=["cancelled", None, "document", 1]),
    ),
    "unknown document": (
        DOUBLED,
        lambda _, stored: stored.documents.update(other=["ready", 1, 1, "job"]),
    ),
    "orphan": (DOUBLED, lambda _, stored: stored.orphans.update(chunks=1)),
    "deleted and back": (DOUBLED, lambda promise, _: setattr(promise, "deleted", True)),
    "strange answer": (STRANGE, lambda promise, _: promise.complaints.append("500")),
}


@pytest.mark.parametrize("name", SPOILT)
def test_broken_promises_are_reported(name: str, promise: Promise, stored: Stored) -> None:
    kind, spoil = SPOILT[name]
    spoil(promise, stored)
    assert kind in {violation.kind for violation in check([promise], stored)}


def test_a_cancelled_job_is_right_if_the_soak_cancelled_it(
    promise: Promise, stored: Stored
) -> None:
    promise.jobs["job"] = {CANCELLED}
    stored.jobs["job"] = ["cancelled", None, "document", 1]
    stored.documents["document"] = ["cancelled", 0, None, "job"]
    stored.chunks.clear()
    stored.pages.clear()
    assert list(check([promise], stored)) == []


def test_uploads_are_different_and_have_known_shares() -> None:
    def kinds(seed: int) -> Iterator[tuple[str, str, bytes]]:
        for item in make_uploads(count=40, seed=seed):
            yield item.kind, item.action, item.data

    made = list(kinds(1))
    assert len({data for _, _, data in made}) == 40
    assert sorted(kind for kind, _, _ in made) == sorted(KINDS * 2)
    assert sorted(action for _, action, _ in made) == sorted(ACTIONS * 2)
    drawn = [item[:2] for item in kinds(1)]
    assert drawn == [item[:2] for item in made]
    assert drawn != [item[:2] for item in kinds(2)]
