"""Reads an answer while it arrives."""

import threading
from collections.abc import Callable, Iterator
from functools import partial

from ui.api_client import ApiClient, ApiError, ApiEvent, Json, new_key

# How often to resume a broken stream; the service still writes the answer.
RESUME_ATTEMPTS = 5


class Turn:
    """Reads one answer in its own thread.

    Streamlit runs the page's script again at every click. With a separate thread, the question
    is sent once and the answer keeps arriving, whatever the user clicks. The thread writes the
    attributes; they can be read at any time. A broken stream is resumed.
    """

    def __init__(
        self, client: ApiClient, *, user_id: str, session_id: str | None, question: str
    ) -> None:
        self.question = question
        self.session_id = session_id
        self.answer = ""
        self.passages: list[Json] = []
        self.searched = False
        self.stored_question: Json | None = None  # set when the API has stored it
        self.stored_answer: Json | None = None  # set at the end
        self.error: ApiError | None = None  # set before `finished`
        self.finished = False
        self.stopping = False
        self._client = client
        self._user_id = user_id
        self._key = new_key()
        self._last_event = ""
        self._opening: Callable[[], Iterator[ApiEvent]] | None = None
        self._resumed = threading.Event()

    @classmethod
    def ask(
        cls,
        client: ApiClient,
        *,
        user_id: str,
        session_id: str | None,
        question: str,
        document_ids: list[str] | None = None,
    ) -> "Turn":
        """Ask a new question. Without a session, create one."""
        turn = cls(client, user_id=user_id, session_id=session_id, question=question)
        turn._opening = partial(turn._ask, document_ids)
        return turn

    @classmethod
    def resume(cls, client: ApiClient, *, user_id: str, session: Json) -> "Turn":
        """Follow the answer that the service is writing in this session."""
        turn = cls(client, user_id=user_id, session_id=session["id"], question="")
        turn._opening = partial(client.follow, session["active_message_id"])
        return turn

    @classmethod
    def again(cls, client: ApiClient, *, user_id: str, message: Json, how: str) -> "Turn":
        """Answer again: `how` is `retry` or `regenerate`."""
        turn = cls(client, user_id=user_id, session_id=message["session_id"], question="")
        turn._opening = partial(client.answer_again, message["id"], how=how, key=turn._key)
        return turn

    @classmethod
    def edit(cls, client: ApiClient, *, user_id: str, message: Json, content: str) -> "Turn":
        """Replace the last question, and read its new answer."""
        turn = cls(client, user_id=user_id, session_id=message["session_id"], question=content)
        turn._opening = partial(client.edit, message["id"], content=content)
        return turn

    def start(self) -> None:
        """Send the request, or repeat a failed one with the same key, so it happens once."""
        self.error, self.answer = None, ""
        self.finished = False
        threading.Thread(target=self._run, name="turn", daemon=True).start()

    def stop(self) -> None:
        """Stop the answer; its text so far is kept. Raises ApiError."""
        self.stopping = True
        if self.session_id is None:
            return
        active = self._client.get_session(self.session_id).get("active_message_id")
        if active:
            self._client.cancel_answer(active, key=f"{self._key}-cancel")

    @property
    def accepted(self) -> bool:
        """Whether the API has stored the question."""
        return self.stored_question is not None

    @property
    def position(self) -> int | None:
        return self.stored_question["position"] if self.stored_question else None

    def includes(self, message: Json) -> bool:
        """Whether a stored message is the question or (a part of) the answer."""
        return self.position is not None and message["position"] >= self.position

    def _run(self) -> None:
        try:
            self._read()
        except ApiError as error:
            self.error = error
        except Exception as error:  # any error must reach the page
            self.error = ApiError("unexpected", type(error).__name__)
        finally:
            self.finished = True

    def _read(self) -> None:
        assert self._opening is not None
        opening = self._opening
        for attempt in range(RESUME_ATTEMPTS):
            try:
                for event in opening():
                    self._take(event)
                return
            except ApiError as error:
                broken = error.code in ("broken_off", "no_answer", "unreachable")
                if not (broken and self.stored_question) or attempt == RESUME_ATTEMPTS - 1:
                    raise
                self._resumed.wait(min(8.0, 0.5 * 2**attempt))
            opening = partial(
                self._client.follow, self.stored_question["id"], after=self._last_event
            )

    def _ask(self, document_ids: list[str] | None) -> Iterator[ApiEvent]:
        if self.session_id is None:
            session = self._client.create_session(
                user_id=self._user_id, title=None, key=f"{self._key}-session"
            )
            self.session_id = session["id"]
        return self._client.chat(
            self.session_id, message=self.question, key=self._key, document_ids=document_ids
        )

    def _take(self, event: ApiEvent) -> None:
        self._last_event = event.id
        match event.name:
            case "message_created":
                self.stored_question = event.data["user_message"]
                self.question = self.stored_question["content"]
                self.answer = ""
            case "retrieval":
                self.passages = list(event.data.get("passages") or [])
                self.searched = True
            case "delta":
                self.answer += str(event.data.get("content", ""))
            case "message_completed":
                self.stored_answer = event.data["assistant_message"]
