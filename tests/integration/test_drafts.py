"""How often the text of an answer is stored while it is written."""

import time
from collections.abc import Callable, Iterator

import pytest

from core.bootstrap import Services
from core.conversations import drafts, turns
from core.conversations.drafts import Draft, DraftWriter
from tests.integration.steps import TENANT, new_session, wait_until

StartDraft = Callable[[list[str]], tuple[DraftWriter, Draft]]


@pytest.fixture
def start(services: Services) -> Iterator[StartDraft]:
    """Begin an answer; its draft adds each text that is committed to a list."""
    writer, made = DraftWriter(services.database), []

    def start(stored: list[str]) -> tuple[DraftWriter, Draft]:
        with services.database.transaction(tenant_id=TENANT) as db:
            rows = turns.open_turn(
                db,
                tenant_id=TENANT,
                session_id=new_session(services),
                message="Hello?",
                options={},
            )
        draft = Draft(message_id=rows.answer.id, attempt=1, on_stored=stored.append)
        writer.add(draft)
        made.append(draft)
        return writer, draft

    yield start
    for draft in made:
        writer.remove(draft)


def test_text_is_stored_in_the_rhythm_and_no_more_often(start: StartDraft) -> None:
    stored: list[str] = []
    writer, draft = start(stored)
    words = [f"word{number} " for number in range(60)]
    began = time.monotonic()
    for word in words:
        writer.write(draft, word)
        time.sleep(0.02)
    wait_until(lambda: "".join(stored) == "".join(words), what="all words")
    flushes = (time.monotonic() - began) / drafts.FLUSH_SECONDS + 2
    assert 3 <= len(stored) <= flushes
    assert drafts.FLUSH_SECONDS <= 0.2


def test_much_text_is_stored_before_its_time(
    start: StartDraft, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("core.conversations.drafts.FLUSH_SECONDS", 60.0)
    stored: list[str] = []
    writer, draft = start(stored)
    writer.write(draft, "The first word is stored at once. ")
    wait_until(lambda: len(stored) == 1, what="the first words")
    writer.write(draft, "These wait. ")
    time.sleep(0.3)
    assert len(stored) == 1
    writer.write(draft, "x" * 1024)
    wait_until(lambda: len(stored) == 2, what="a kibibyte", seconds=40)
    assert stored[1] == "These wait. " + "x" * 1024
