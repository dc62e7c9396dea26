"""The documents of a soak, the further action on each, and its expected outcome."""

import io
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, TypeVar

from pypdf import PdfReader, PdfWriter

from bench.pdfs import sentence, wrapped, write_pages

Kind = Literal["text", "malformed", "encrypted", "blank"]
Action = Literal["none", "delete", "cancel", "reingest", "twice"]
Outcome = tuple[str, str | None]  # a job's state and error code
T = TypeVar("T")

MAX_PAGES = 6
LINES = 8  # on a page; sentences continue from page to page, and so from range to range
SENTENCE_LINES = 1.2
MAX_DELAY = 3.0  # s between an upload and the further action
CANCELLED: Outcome = ("cancelled", None)
OUTCOMES: dict[Kind, Outcome] = {
    "text": ("succeeded", None),
    "malformed": ("failed", "pdf_malformed"),
    "encrypted": ("failed", "pdf_encrypted"),
    "blank": ("failed", "pdf_no_text"),
}
TEXT: Kind = "text"
NOTHING: Action = "none"
KINDS: list[Kind] = ["malformed", "encrypted", "blank", *[TEXT] * 17]
ACTIONS: list[Action] = ["delete", "cancel", "reingest", "twice", *[NOTHING] * 16]


@dataclass(frozen=True, slots=True)
class Upload:
    """One PDF. `text` is the text of all its chunks, words separated by one space."""

    number: int
    kind: Kind
    action: Action
    delay: float
    data: bytes
    pages: int
    text: str

    @property
    def user_id(self) -> str:
        return f"user-{self.number % 10}"

    @property
    def filename(self) -> str:
        return f"soak-{self.number}.pdf"

    @property
    def outcome(self) -> Outcome:
        """The outcome of its job, unless the soak cancels it."""
        return OUTCOMES[self.kind]


def make_uploads(*, count: int, seed: int) -> Iterator[Upload]:
    """Different documents. Of every twenty, three fail and four get a further action."""
    chance = random.Random(seed)
    kinds, actions = _deal(chance, KINDS), _deal(chance, ACTIONS)
    for number in range(count):
        yield _make_upload(chance, number, kind=next(kinds), action=next(actions))


def _deal(chance: random.Random, cards: Sequence[T]) -> Iterator[T]:
    """Endless rounds of the cards, each shuffled: shares are fixed, the order is random."""
    while True:
        yield from chance.sample(cards, k=len(cards))


def _make_upload(chance: random.Random, number: int, *, kind: Kind, action: Action) -> Upload:
    pages = chance.randint(1, MAX_PAGES)
    # Enough sentences for every page. Spare ones make the last page longer.
    text = " ".join(sentence(chance) for _ in range(round(pages * LINES / SENTENCE_LINES) + 1))
    lines = wrapped(text)
    cut = [lines[LINES * page : LINES * (page + 1)] for page in range(pages - 1)]
    cut.append(lines[LINES * (pages - 1) :])
    return Upload(
        number=number,
        kind=kind,
        action=action,
        delay=chance.uniform(0, MAX_DELAY),
        data=_write(kind, cut) + b"%%soak %d\n" % number,  # no two have the same bytes
        pages=pages,
        text=text,
    )


def _write(kind: Kind, pages: Sequence[Sequence[str]]) -> bytes:
    file = io.BytesIO()
    write_pages(file, [[] for _ in pages] if kind == "blank" else pages, count=len(pages))
    match kind:
        case "malformed":  # cut before its first page
            return file.getvalue().partition(b"/Type /Page /")[0] + b"\n"
        case "encrypted":
            return _encrypted(file)
        case _:
            return file.getvalue()


def _encrypted(file: io.BytesIO) -> bytes:
    writer = PdfWriter(clone_from=PdfReader(file))
    writer.encrypt("nobody knows it", algorithm="AES-256")
    output = io.BytesIO()
    writer.write(output)
    return output.getvalue()
