"""Reads the cells of tables in a passage's text, each with its row and columns. Pure.

The page reader writes a table's row on one line, see `core.text.table_rows`.
Where it found no table, a row is a label and then its values; the lines above it say what the
columns are: years, dates, spans of time, or words.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from core.answering.column_names import YEARS, spread_group, without_title, without_unit
from core.text.dates import MONTH, YEAR
from core.text.table_rows import CELL_END

_VALUE = (
    r"(?:[$€£¥] ?)?\(?[-−]?[$€£¥]?\d(?:[\d,]*\d)?(?:\.\d+)?\)?(?: ?%\)?|x|bps)?"
    r"|(?:[$€£¥] ?)?[—–-](?: ?%)?|N/?[AM]"
)
_ROW = re.compile(rf"(?P<label>.*?)(?P<values>(?:(?:(?<=\s)|^)(?:{_VALUE})(?:\s+|$))+)$")
_VALUES = re.compile(rf"(?:(?<=\s)|^)(?:{_VALUE})(?=\s|$)")
_PERIOD = re.compile(rf"(?:FY ?)?{YEAR}(?: ?(?:[-–/]|vs\.?) ?{YEAR})?")
_DATE = re.compile(rf"{MONTH}\.? \d{{1,2}},?(?: {YEAR})?|{MONTH}\.? {YEAR}", re.IGNORECASE)
_SPAN = re.compile(
    rf"(?:three|six|nine|twelve|\d{{1,2}}) (?:months|weeks) ended(?: {MONTH}\.? \d{{1,2}},?)?"
    rf"|(?:fiscal )?(?:years?|quarters?) ended(?: {MONTH}\.? \d{{1,2}},?)?"
    r"|(?:first|second|third|fourth) quarter|full year|year[- ]to[- ]date",
    re.IGNORECASE,
)
_LABEL_OF_COLUMN = re.compile(
    rf"{YEAR} (?:vs?\.?|to|over) {YEAR}|(?:FY ?)?{YEAR}(?:[-–/]\d\d)?\b"
    rf"|(?:% ?|\$ ?)?(?:Change|Variance|Increase|Decrease)\b|Q[1-4](?: ?{YEAR})?\b",
    re.IGNORECASE,
)
_CHANGE = re.compile(rf"change|variance|increase|decrease|{YEAR} \w+\.? {YEAR}", re.IGNORECASE)
_UNIT = re.compile(
    r"\bin (thousand|million|billion|crore|lakh)s?\b"
    r"|\((?:[^()]*\b)?(thousand|million|billion|crore|lakh)s?\b[^()]*\)"
    r"|(?:[$€£¥]|\b(?:EUR|USD|GBP|CHF)) ?(thousand|million|billion)s?\b"
    r"|^(thousand|million|billion)s? of (?:euro|dollar|pound|franc|yen)s?\b",
    re.IGNORECASE,
)
# A row with a unit of its own, which is not that of the table.
_PER_UNIT = re.compile(
    r"\bper\b|ratio|number of|\((?:in )?(?:dollars?|euros?|pounds?|cents?|units?|days|years)\)",
    re.IGNORECASE,
)
_PARENTHESIS = re.compile(r"\([^()]*\)")
_MAX_VALUE = 30  # characters
_FIGURES = re.compile(r"(?:^|\s)[$€£¥]?\d")
_MAX_FIGURES = 2  # of one value: a range, or an amount with its share
_KEY = re.compile(r"[-–<>≤≥]{0,2}\d{1,4}(?: ?[-–/] ?\d{1,4})?[+%]?")  # of a row: `65-69`, `-3`
_WORD = re.compile(r"[^\W\d_]{3}")
_MAX_LINE = 240  # characters; a longer line is prose
_MIN_PROSE = 20  # characters of a paragraph's last line
_MAX_LABEL = 120
_MAX_HEADER_LINES = 8
_MAX_NAMES_CHARS = 110  # of a line that names columns; a longer line introduces the table


@dataclass(frozen=True, slots=True)
class Cell:
    """A value of a table with its row and columns.

    `columns` are the headers above it, outermost first; empty if none could be read.
    `heading` are the lines above the table's block, nearest last. `unit` is `million` or the
    like if the label or heading says so, else empty. `peers` are the row's cells as (columns,
    value), in order, with this one at `place`.
    """

    row: str
    section: str
    columns: tuple[str, ...]
    heading: tuple[str, ...]
    value: str
    unit: str
    peers: tuple[tuple[tuple[str, ...], str], ...] = ()
    place: int = 0

    @property
    def column(self) -> str:
        return " ".join(self.columns)

    @property
    def alike(self) -> list[int]:
        """The places in the row of the cells with the same columns, this one included."""
        return [at for at, (columns, _) in enumerate(self.peers) if columns == self.columns]


@dataclass(frozen=True, slots=True)
class _Line:
    """A line of a table: `values` are empty in a heading."""

    text: str
    label: str
    values: tuple[str, ...]

    @property
    def is_header(self) -> bool:
        """Whether its values are years, and so names of columns."""
        return not self.values or all(YEARS.match(value) for value in self.values)


@dataclass(frozen=True, slots=True)
class LabelledRow:
    """A row as the page reader writes it: `label | header: value | header: value`."""

    label: str
    cells: tuple[tuple[str, str], ...]  # of header and value; a header may be empty

    def without_marks(self) -> str:
        """The row as it is printed."""
        return " ".join(
            [self.label, *(f"{header} {value}".strip() for header, value in self.cells)]
        )


def read_cells(text: str, *, caption: str = "") -> list[Cell]:
    """The cells of all tables in `text`, row by row.

    `caption` is that of the table in which `text` begins: it may name the unit.
    """
    reader = _Reader(caption)
    return [cell for line in text.split("\n") for cell in reader.read(line.strip())]


class _Reader:
    """Reads lines in order, and knows the header and the section that the next row is under."""

    def __init__(self, caption: str) -> None:
        self._caption = [caption] if caption else []
        self._header: list[str] = []
        self._above: list[str] = []  # lines without values since the last row
        self._section = ""

    def read(self, text: str) -> list[Cell]:
        """The cells of one line; none if it is no row."""
        labelled = read_row(text)
        if labelled is not None and _is_header_row(labelled):
            text, labelled = labelled.without_marks(), None
        line = None if labelled else _read_line(text)
        if line is not None and line.is_header:
            self._above += [text] if text else []
            return []
        if self._above and (not self._header or any(map(_names_columns, self._above))):
            self._caption = []  # another table begins
            self._header, self._section = self._above[-_MAX_HEADER_LINES:], ""
        elif self._above:
            self._section = self._above[-1]  # a heading between rows: the columns stay
        self._above = []
        if labelled is not None:
            return list(self._labelled_cells(labelled))
        return list(_cells_of_row(line, self._header, self._section)) if line else []

    def _labelled_cells(self, row: LabelledRow) -> Iterator[Cell]:
        section, _, label = row.label.rpartition(": ")
        self._section = section or ("" if label else self._section)
        if not row.label and (key := _key_of(row)):
            label, row = key, LabelledRow("", row.cells[1:])
        above = " ".join((*self._caption, *self._header))
        # What the page reader gave to one column may be of all of them: a title, say.
        headers = dict.fromkeys(re.sub(r"\d", "", header) for header, _ in row.cells)
        heading = (*self._caption, *self._header, " ".join(headers))
        columns = self._columns_of(row)
        peers = tuple(zip(columns, (value for _, value in row.cells), strict=True))
        for place, (header, value) in enumerate(row.cells):
            if columns[place] and _is_value(value):
                unit = "" if "%" in value + header else _unit_of(f"{above} {header}", row.label)
                yield Cell(
                    label, self._section, columns[place], heading, _tidy(value), unit, peers, place
                )

    def _columns_of(self, row: LabelledRow) -> list[tuple[str, ...]]:
        """The names of each cell's columns: those it has, else by its place in the header."""
        headers = without_title([header for header, _ in row.cells])
        own = spread_group([without_unit(header) for header in headers])
        bare = [value for header, value in row.cells if not header]
        placed = iter(
            _columns(self._header, bare) if 2 * len(bare) > len(own) else [()] * len(bare)
        )
        return [(header,) if header else next(placed) for header in own]


def read_row(line: str) -> LabelledRow | None:
    """The label and cells of a table's row; None if the line is none."""
    first, *others = line.split(CELL_END)
    if not others:
        return None
    label, cells = first, [_header_and_value(part) for part in others]
    header, value = _header_and_value(first)
    if header and _is_value(value):
        label, cells = "", [(header, value), *cells]
    return LabelledRow(label.strip(), tuple(cells))


def _key_of(row: LabelledRow) -> str:
    """The first cell of a row without a label, if it tells which row it is: `Age 65-69`."""
    header, value = row.cells[0]
    others = {other for other, _ in row.cells[1:]}
    is_key = _KEY.fullmatch(value) and header not in others and not re.search(r"\d", header)
    return f"{header} {value}" if is_key and others else ""


def _header_and_value(part: str) -> tuple[str, str]:
    header, _, value = part.strip().rpartition(": ")
    return header, value


def _is_header_row(row: LabelledRow) -> bool:
    """Whether the row's values are periods, which name columns."""
    return all(_PERIOD.fullmatch(value) for _, value in row.cells)


def _is_value(text: str) -> bool:
    """Whether the text of a cell is a number, with its signs and notes."""
    is_short = len(text) <= _MAX_VALUE and any(map(str.isdigit, text))
    is_short = is_short and len(_FIGURES.findall(_PARENTHESIS.sub(" ", text))) <= _MAX_FIGURES
    return is_short and not _WORD.search(_PARENTHESIS.sub(" ", text))


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
    peers = tuple(zip(columns, line.values, strict=True))
    for place, (names, value) in enumerate(peers):
        if any(char.isdigit() for char in value):
            unit = "" if "%" in value else _unit_of(above, line.label)
            yield Cell(line.label, section, names, tuple(header), _tidy(value), unit, peers, place)


def _unit_of(above: str, label: str) -> str:
    if _PER_UNIT.search(label):
        return ""
    found = _UNIT.search(label) or _UNIT.search(above)
    return found[found.lastindex or 0].lower() if found else ""


def _tidy(value: str) -> str:
    return re.sub(r"(?<=[$€£¥]) | (?=%)", "", value)


def _columns(header: Sequence[str], values: Sequence[str]) -> list[tuple[str, ...]]:
    """The names of each column of a row, outermost first, from the lines of the header.

    Lines up to the end of a paragraph name no columns.
    """
    names: list[list[str]] = [[] for _ in values]
    for line in reversed(header):
        if len(line) > _MIN_PROSE and line.endswith("."):
            break
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
    if (years := _years_and_rest(line, len(values))) is not None and not any(names):
        return years
    for tokens in (line.split(), _PARENTHESIS.sub(" ", line).split()):
        if len(tokens) == len(values) > 1 and not any(names):
            return tokens
    return [""] * len(values)


def _years_and_rest(line: str, count: int) -> list[str] | None:
    """The names of `count` columns: years, and then words: `2023 2024 Thereafter Total`."""
    years = list(re.finditer(rf"(?<!\S){YEAR}(?!\S)", line))
    if not 1 < len(years) < count:
        return None
    rest = line[years[-1].end() :].split()
    left = count - len(years)
    if not rest or any(map(YEARS.match, rest)):
        return None
    return [one[0] for one in years] + (
        rest if len(rest) == left else [*[""] * (left - 1), rest[-1]]
    )


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
    if len(found) == 1 < count and _CHANGE.search(found[0]):
        return [*[""] * (count - 1), found[0]]
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
