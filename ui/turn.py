"""A question and its answer while it arrives."""

import threading
from collections.abc import Callable

from ui.api_client import ApiClient, ApiError, Json, new_key

TITLE_LENGTH = 60


class Turn:
    """Reads one answer in a thread of its own.

    Streamlit runs the page's script anew at every click; reading outside of it
    keeps the answer coming, and asks once whatever is clicked meanwhile. The
    attributes are written by the thread and may be read at any time.
    """

    def __init__(
        self, client: ApiClient, *, user_id: str, session_id: str | None, question: str
    ) -> None:
        self.question = question
        self.session_id = session_id
        self.answer = ""
        self.searched = False
        self.position: int | None = None  # of the question, once it is stored
        self.error: ApiError | None = None  # set before `finished`
        self._client = client
        self._user_id = user_id
        self._key = new_key()
        self.finished = False

    def start(self) -> None:
        """Ask, or ask again what failed: the keys stay, so nothing is done twice."""
        self.error, self.answer = None, ""
        self.finished = False
        threading.Thread(target=self._run, name="turn", daemon=True).start()

    @property
    def accepted(self) -> bool:
        """Whether the API has stored the question."""
        return self.position is not None

    def covers(self, message: Json) -> bool:
        """Whether a stored message is the question or (a part of) the answer."""
        return self.position is not None and message["position"] >= self.position

    def _run(self) -> None:
        try:
            self._ask()
        except ApiError as error:
            self.error = error
        except Exception as error:  # the page must hear of it, whatever it is
            self.error = ApiError("unexpected", type(error).__name__)
        finally:
            self.finished = True

    def _ask(self) -> None:
        if self.session_id is None:
            session = self._client.create_session(
                user_id=self._user_id, title=_title(self.question), key=f"{self._key}-session"
            )
            self.session_id = session["id"]
        handlers: dict[str, Callable[[Json], None]] = {
            "message_created": self._on_created,
            "retrieval": self._on_retrieval,
            "delta": self._on_delta,
        }
        for event in self._client.chat(self.session_id, message=self.question, key=self._key):
            if handler := handlers.get(event.name):
                handler(event.data)

    def _on_created(self, data: Json) -> None:
        self.position = data["user_message"]["position"]

    def _on_retrieval(self, _: Json) -> None:
        self.searched = True

    def _on_delta(self, data: Json) -> None:
        self.answer += str(data.get("content", ""))


def _title(question: str) -> str:
    """The beginning of the first question, cut at a word."""
    line = " ".join(question.split())
    if len(line) <= TITLE_LENGTH:
        return line
    return (line[:TITLE_LENGTH].rpartition(" ")[0] or line[:TITLE_LENGTH]) + "…"
