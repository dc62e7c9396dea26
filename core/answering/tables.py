"""Reads the cells of tables in a passage's text, each with its row and columns. Pure.

A page's text has a table's row on one line: its label, then its values. The lines above name
the columns: years, dates, spans of time, or words.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

_VALUE = (
    r"(?:[$€£¥] ?)?\(?[-−]?[$€£¥]?\d(?:[\d,]*\d)?(?:\.\d+)?\)?(?: ?%\)?|x|bps)?"
    r"|[—–-](?: ?%)?|N/?[AM]"
)
_ROW = re.compile(rf"(?P<label>.*?)(?P<values>(?:(?:(?<=\s)|^)(?:{_VALUE})(?:\s+|$))+)$")
_VALUES = re.compile(rf"(?:(?<=\s)|^)(?:{_VALUE})(?=\s|$)")
YEAR = r"(?:19|20)\d\d"
_YEARS = re.compile(rf"^(?:FY ?)?{YEAR}$")
_MONTH = (
    r"(?:Jan(?:uary)?|Feb(?:ruary)?|Mar(?:ch)?|Apr(?:il)?|May|June?|July?|Aug(?:ust)?"
    r"|Sept?(?:ember)?|Oct(?:ober)?|Nov(?:ember)?|Dec(?:ember)?)"
)
_DATE = re.compile(rf"{_MONTH}\.? \d{{1,2}},?(?: {YEAR})?|{_MONTH}\.? {YEAR}", re.IGNORECASE)
_SPAN = re.compile(
    rf"(?:three|six|nine|twelve|\d{{1,2}}) (?:months|weeks) ended(?: {_MONTH}\.? \d{{1,2}},?)?"
    rf"|(?:fiscal )?(?:years?|quarters?) ended(?: {_MONTH}\.? \d{{1,2}},?)?"
    r"|(?:first|second|third|fourth) quarter|full year|year[- ]to[- ]date",
    re.IGNORECASE,
)
_LABEL_OF_COLUMN = re.compile(
    rf"{YEAR} (?:vs?\.?|to|over) {YEAR}|(?:FY ?)?{YEAR}(?:[-–/]\d\d)?\b"
    rf"|(?:% ?|\$ ?)?(?:Change|Variance|Increase|Decrease)\b|Q[1-4](?: ?{YEAR})?\b",
    re.IGNORECASE,
)
_CHANGE = re.compile(rf"change|variance|increase|decrease|{YEAR} \w+\.? {YEAR}", re.IGNORECASE)
_UNIT = re.compile(r"\b(thousand|million|billion)s?\b", re.IGNORECASE)
_PER_UNIT = re.compile(r"\bper\b|ratio|number of", re.IGNORECASE)
_PARENTHESIS = re.compile(r"\([^()]*\)")
_MAX_LINE = 240  # characters; a longer line is prose
_MAX_LABEL = 120
_MAX_HEADER_LINES = 8
_MAX_NAMES_CHARS = 110  # of a line that names columns; a longer line introduces the table


@dataclass(frozen=True, slots=True)
class Cell:
    """A value of a table with its row and columns.

    `columns` are the headers above it, outermost first; empty if none could be read.
    `heading` are the lines above the table's block, nearest last. `unit` is `million` or the
    like if the label or heading says so, else empty.
    """

    row: str
    section: str
    columns: tuple[str, ...]
    heading: tuple[str, ...]
    value: str
    unit: str

    @property
    def column(self) -> str:
        return " ".join(self.columns)


@dataclass(frozen=True, slots=True)
class _Line:
    """A line of a table: `values` are empty in a heading."""

    text: str
    label: str
    values: tuple[str, ...]

    @property
    def is_header(self) -> bool:
        """Whether its values are years, and so names of columns."""
        return not self.values or all(_YEARS.match(value) for value in self.values)


def read_cells(text: str) -> list[Cell]:
    """The cells of all tables in `text`, row by row."""
    cells: list[Cell] = []
    header: list[str] = []
    above: list[str] = []  # lines without values since the last row
    section = ""
    for line in (_read_line(line.strip()) for line in text.split("\n")):
        if line.is_header:
            above += [line.text] if line.text else []
            continue
        if not header or any(map(_names_columns, above)):
            header, section = above[-_MAX_HEADER_LINES:], ""
        elif above:
            section = above[-1]  # a heading between rows: the columns stay
        above = []
        cells += _cells_of_row(line, header, section)
    return cells


def _read_line(text: str) -> _Line:
    if len(text) > _MAX_LINE:
        return _Line(text, text, ())
    found = _ROW.match(text)
    if found is None or len(found["label"]) > _MAX_LABEL:
        return _Line(text, text, ())
    values = tuple(_VALUES.findall(found["values"]))
    return _Line(text, found["label"].strip(" .:"), values)


def _names_columns(text: str) -> bool:
    return bool(_SPAN.search(text) or _DATE.search(text) or _LABEL_OF_COLUMN.search(text))


def _cells_of_row(line: _Line, header: Sequence[str], section: str) -> Iterator[Cell]:
    columns = _columns(header, line.values)
    above = " ".join(header)
    for value, names in zip(line.values, columns, strict=True):
        if any(char.isdigit() for char in value):
            unit = "" if "%" in value else _unit_of(above, line.label)
            yield Cell(line.label, section, names, tuple(header), _tidy(value), unit)


def _unit_of(above: str, label: str) -> str:
    if _PER_UNIT.search(label):
        return ""
    found = _UNIT.search(label) or _UNIT.search(above)
    return found[1].lower() if found else ""


def _tidy(value: str) -> str:
    return re.sub(r"(?<=[$€£¥]) | (?=%)", "", value)


def _columns(header: Sequence[str], values: Sequence[str]) -> list[tuple[str, ...]]:
    """The names of each column of a row, outermost first, from the lines of the header."""
    names: list[list[str]] = [[] for _ in values]
    for line in reversed(header):
        if len(line) > _MAX_NAMES_CHARS or line.endswith((":", ".")):
            continue
        for place, name in enumerate(_names_in(line, values, names)):
            if name and name not in names[place]:
                names[place].insert(0, name)
    return [tuple(found) for found in names]


def _names_in(line: str, values: Sequence[str], names: Sequence[Sequence[str]]) -> list[str]:
    """The name that a header's line gives each column; all empty if that is unclear.

    `names` are the columns' names from the lines below it.
    """
    for pattern in (_LABEL_OF_COLUMN, _DATE, _SPAN):
        found = [match[0].strip(" ,") for match in pattern.finditer(line)]
        spread = _spread(found, values, names)
        if spread is not None:
            before = line[: next(pattern.finditer(line)).start()].strip(" ,:")
            span = _last(_SPAN, before) or _last(_DATE, before)
            return [f"{span} {name}".strip() for name in spread]
    for tokens in (line.split(), _PARENTHESIS.sub(" ", line).split()):
        if len(tokens) == len(values) > 1 and not any(names):
            return tokens
    return [""] * len(values)


def _last(pattern: re.Pattern[str], text: str) -> str:
    found = [match[0] for match in pattern.finditer(text)]
    return found[-1] if found else ""


def _spread(
    found: Sequence[str], values: Sequence[str], names: Sequence[Sequence[str]]
) -> list[str] | None:
    """Assign the headers `found` to the columns: one each, or each to as many neighbours.

    A line may leave out columns that are known to contain changes. None if the numbers of
    headers and columns do not fit.
    """
    count = len(values)
    if not found:
        return None
    if len(found) == count - 1 and values[-1].endswith("%") and count > 1:
        return [*found, "Change"]  # the header of changes is often printed on separate lines
    if count % len(found) == 0:
        share = count // len(found)
        return [name for name in found for _ in range(share)]
    dated = [place for place in range(count) if not _CHANGE.search(" ".join(names[place]))]
    if len(dated) % len(found):
        return None
    share = len(dated) // len(found)
    spread = [""] * count
    for number, place in enumerate(dated):
        spread[place] = found[number // share]
    return spread
