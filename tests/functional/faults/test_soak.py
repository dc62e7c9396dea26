"""Many uploads and several faults at once: a short run of `python -m bench.soak`."""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench.soak.faults import Ground
from bench.soak.run import Plan, soak, whole_service

KINDS = (
    "pool process killed",
    "worker killed",
    "Redis killed",
    "Redis emptied",
    "PostgreSQL crashed",
)

pytestmark = pytest.mark.timeout(1800)


@pytest.fixture
def ground(model_dir: Path) -> Iterator[Ground]:
    with whole_service() as ground:
        yield ground


def test_faults_lose_and_double_nothing(ground: Ground) -> None:
    report = soak(ground, Plan(jobs=40, faults=len(KINDS), seed=7, rate=8, kinds=KINDS))
    assert report.violations == []
    assert report.faults == Counter(KINDS)
    assert report.uploads == 40
    assert report.states.keys() >= {
        "succeeded",
        "failed pdf_malformed",
        "failed pdf_encrypted",
        "failed pdf_no_text",
    }
