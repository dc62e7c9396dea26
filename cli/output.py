"""Output of the commands: text and tables for people, JSON lines for scripts.

Results go to stdout, and everything else (bars, hints, errors) to stderr, so that results can
be piped. Names, messages and answers may contain terminal escapes; `clean` removes them.
"""

import json
import re
from collections.abc import Iterable, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from cli.errors import ApiError

Json = dict[str, Any]

# C0 and C1 controls except tab and newline, and the marks that reorder text
# (Unicode Standard Annex 9, explicit directional formatting).
_UNSAFE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


def clean(text: object) -> str:
    """Return `text` without characters that control a terminal."""
    return _UNSAFE.sub("", str(text))


class Output:
    """Prints a command's results. With `as_json`, each is one line of JSON."""

    def __init__(self, *, as_json: bool) -> None:
        self.as_json = as_json
        self.console = Console(highlight=False, soft_wrap=True)
        self.notes = Console(stderr=True, highlight=False, soft_wrap=True)

    def json(self, value: object) -> None:
        """Print `value` as one line of JSON."""
        self.console.out(json.dumps(value, ensure_ascii=False), highlight=False)

    def text(self, text: str, *, end: str = "\n", style: str | None = None) -> None:
        """Print text. It may contain any characters."""
        self.console.print(Text(clean(text), style=style or ""), end=end)

    def note(self, text: str, *, style: str = "dim") -> None:
        """Print a hint, which is not a result, to stderr."""
        if not self.as_json:
            self.notes.print(Text(clean(text), style=style))

    def error(self, error: ApiError) -> None:
        """Print an error to stderr."""
        if self.as_json:
            self.notes.out(json.dumps(error.as_dict(), ensure_ascii=False), highlight=False)
        else:
            self.note(f"error: {error}", style="red")

    def rows(self, items: Iterable[Json], columns: Sequence[tuple[str, Any]]) -> None:
        """Print `items`: as JSON, or as a table of `columns` (title, function of an item)."""
        if self.as_json:
            for item in items:
                self.json(item)
            return
        table = make_table(items, columns)
        if table.row_count:
            self.console.print(table)
        else:
            self.note("Nothing found.")


def make_table(items: Iterable[Json], columns: Sequence[tuple[str, Any]]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for number, (title, _) in enumerate(columns):
        # The id comes first and is not shortened, so that people can copy it.
        table.add_column(title, no_wrap=number == 0, overflow="ignore" if number == 0 else "fold")
    for item in items:
        table.add_row(*(Text(clean(value(item))) for _, value in columns))
    return table


def shorten(text: object, *, to: int = 60) -> str:
    """Return `text` as one line of at most `to` characters."""
    line = " ".join(str(text or "").split())
    return line if len(line) <= to else f"{line[: to - 1]}…"


def format_time(moment: str | None) -> str:
    """Return a time of the API, to the minute."""
    return moment[:16].replace("T", " ") if moment else ""
