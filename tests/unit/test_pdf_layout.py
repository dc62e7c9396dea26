"""Words with boxes to text in reading order: pure functions, no PDF."""

from collections.abc import Iterator

import pytest

from core.pdf.layout.reading import read_layout
from core.pdf.layout.words import Word

WIDTH, HEIGHT = 595, 842
EM = 10.0


def line(text: str, left: float, baseline: float, *, size: float = EM) -> list[Word]:
    """The words of `text` in letters half as wide as high, one letter apart."""
    words, x = [], left
    for part in text.split(" "):
        right = x + 0.5 * size * len(part)
        if part:
            words.append(
                Word(part, x, baseline - 0.9 * size, right, baseline + 0.27 * size, baseline)
            )
        x = right + 0.3 * size
    return words


def lines(texts: list[str], left: float, top: float, *, pitch: float = 14) -> Iterator[Word]:
    for index, text in enumerate(texts):
        yield from line(text, left, top + index * pitch)


def read(words: list[Word]) -> str:
    return read_layout(words, width=WIDTH, height=HEIGHT).text()


YEARS_AND_SPAN = ("2022", "2021", "2020", "2022-2021")
LEFT = [
    "The herring fleet left port at four",
    "in the morning when the tide was",
    "high and the wind came from north.",
    "Skipper Odde kept the log himself",
    "and wrote that barrels were landed.",
]
RIGHT = [
    "The lighthouse keeper at Vesk got",
    "crowns a year plus coal and fish",
    "from the fleet. His daughter Runa",
    "learned signalling at a young age",
    "and later directed the station.",
]


def test_columns_are_read_one_after_the_other() -> None:
    words = [*lines(LEFT, 60, 100), *lines(RIGHT, 320, 100)]
    words.sort(key=lambda word: word.baseline)  # as a file drawn row by row
    assert read(words) == "\n".join(LEFT) + "\n\n" + "\n".join(RIGHT)


def test_columns_whose_lines_are_not_level_are_read_one_after_the_other() -> None:
    words = [*lines(LEFT, 60, 100), *lines(RIGHT, 320, 106)]
    words.sort(key=lambda word: word.baseline)
    assert read(words) == "\n".join(LEFT) + "\n\n" + "\n".join(RIGHT)


def test_a_title_over_columns_and_a_line_below_them_stay_outside() -> None:
    title = "A title that is as wide as both of the columns below it, from left to right"
    below = "And a line below them that is as wide as both of the columns above it together"
    words = [
        *line(title, 60, 70),
        *lines(LEFT, 60, 100),
        *lines(RIGHT, 320, 100),
        *line(below, 60, 190),
    ]
    parts = [title, "\n".join(LEFT), "\n".join(RIGHT), below]
    assert read(words) == "\n\n".join(parts)


def test_three_columns() -> None:
    columns = [[text[:24].rsplit(" ", 1)[0] for text in LEFT + RIGHT] for _ in range(3)]
    words = [
        word
        for left, column in zip((40, 220, 400), columns, strict=True)
        for word in lines(column, left, 100)
    ]
    assert read(words) == "\n\n".join("\n".join(column) for column in columns)


def table(*columns: tuple[float, list[str]], top: float = 100) -> list[Word]:
    """Columns of cells at the given left edges, drawn one after the other."""
    return [word for left, cells in columns for word in lines(cells, left, top)]


def test_a_table_is_read_row_by_row_with_its_headers_however_it_was_drawn() -> None:
    words = table(
        (60, ["Plant", "Aldery", "Brennig", "Corvath"]),
        (250, ["2023", "410", "275", "962"]),
        (330, ["2024", "433", "198", "1,004"]),
    )
    assert read(words).split("\n") == [
        "Plant 2023 2024",
        "Aldery | 2023: 410 | 2024: 433",
        "Brennig | 2023: 275 | 2024: 198",
        "Corvath | 2023: 962 | 2024: 1,004",
    ]


def test_a_header_over_several_columns_belongs_to_each_of_them() -> None:
    words = [
        *line("Three Months", 265, 86),
        *line("Nine Months", 425, 86),
        *table(
            (60, ["(millions)", "Revenue", "Cost of sales"]),
            (250, ["2023", "$ 410", "(275)"]),
            (330, ["2022", "$ 433", "(198)"]),
            (410, ["2023", "$ 910", "(775)"]),
            (490, ["2022", "$ 933", "(798)"]),
        ),
    ]
    assert read(words).split("\n")[2:] == [
        "Revenue | Three Months 2023: $410 | Three Months 2022: $433"
        " | Nine Months 2023: $910 | Nine Months 2022: $933",
        "Cost of sales | Three Months 2023: (275) | Three Months 2022: (198)"
        " | Nine Months 2023: (775) | Nine Months 2022: (798)",
    ]


def test_a_span_of_years_is_the_header_of_a_change() -> None:
    columns = (300, 360, 420, 480)
    words = [
        *line("(in millions)", 60, 100),
        *(
            word
            for text, x in zip(YEARS_AND_SPAN, columns, strict=True)
            for word in line(text, x, 100)
        ),
    ]
    for label, baseline in (("Creative", 114), ("Document", 128), ("Total", 142)):
        words += line(label, 60, baseline)
        for text, x in zip(("2,383", "1,974", "1,497", "21%"), columns, strict=True):
            words += line(text, x, baseline)
    assert "Document | 2022: 2,383 | 2021: 1,974 | 2020: 1,497 | 2022-2021: 21%" in read(words)


def test_years_with_a_span_of_years_begin_another_table() -> None:
    words = [
        *table((60, ["", "Barrels", "Crates"]), (250, ["North", "11", "21"])),
        *table((320, ["South", "12", "22"]), (400, ["East", "13", "23"])),
        *table((60, ["", "Herring"]), (250, ["2023", "31"]), (320, ["2024", "32"]), top=150),
        *table((400, ["2025", "33"]), (460, ["2026 – 2030", "34"]), top=150),
    ]
    *_, herring = read(words).splitlines()
    assert herring == "Herring | 2023: 31 | 2024: 32 | 2025: 33 | 2026 – 2030: 34"


def test_a_row_includes_the_line_above_it() -> None:
    words = table(
        (60, ["Segment", "Sales:", "  Pumps", "Seals"]),
        (250, ["2023", "", "410", "275"]),
    )
    assert read(words).split("\n")[1:] == [
        "Sales:",
        "Sales: Pumps | 2023: 410",
        "Sales: Seals | 2023: 275",
    ]


HEADERS = [*line("Kind", 160, 100), *line("Suffered", 240, 100), *line("Treated", 320, 100)]


def counted(label: str, baseline: float, kind: str, *values: str) -> list[Word]:
    cells = [*line(label, 60, baseline), *line(kind, 160, baseline)]
    return cells + [
        word
        for x, value in zip((240, 320), values, strict=True)
        for word in line(value, x, baseline)
    ]


def test_a_label_of_several_lines_and_rows_belongs_to_each_of_its_rows() -> None:
    words = [
        *HEADERS,
        *counted("Asthma", 116, "Count", "31", "22"),
        *counted("", 132, "Share", "6 %", "4 %"),
        *counted("Chronic fatigue", 148, "Count", "19", "4"),
        *line("syndrome", 60, 160),
        *counted("", 164, "Share", "3 %", "1 %"),
        *counted("Long known ailment", 180, "Count", "7", "5"),  # it runs into the next column
        *counted("", 196, "Share", "2 %", "1 %"),
        *line("Infections", 60, 212),
        *counted("Throat", 228, "Count", "9", "8"),
    ]
    assert read(words).split("\n")[1:] == [
        "Asthma | Kind: Count | Suffered: 31 | Treated: 22",
        "Asthma | Kind: Share | Suffered: 6% | Treated: 4%",
        "Chronic fatigue syndrome | Kind: Count | Suffered: 19 | Treated: 4",
        "Chronic fatigue syndrome | Kind: Share | Suffered: 3% | Treated: 1%",
        "Long known ailment | Kind: Count | Suffered: 7 | Treated: 5",
        "Long known ailment | Kind: Share | Suffered: 2% | Treated: 1%",
        "Infections",
        "Throat | Kind: Count | Suffered: 9 | Treated: 8",
    ]


def test_titles_in_the_middle_above_a_table_are_no_headers() -> None:
    title = "Statement of income (in millions)"
    words = [
        *line(title, 280 - 2.6 * len(title), 84),
        *line("Year ended", 410, 100),
        *line("2031", 400, 116),
        *line("2030", 480, 116),
    ]
    labels = ("Net income", "Other income:", "   Change in the value of bonds held", "Sum")
    for row, label in enumerate(labels):
        top = 132 + 16 * row
        words += line(label.lstrip(), 60 + 3 * (len(label) - len(label.lstrip())), top)
        if not label.endswith(":"):
            words += [*line(f"{row}07", 405, top), *line(f"{row}13", 485, top)]
    assert read(words).split("\n")[-4:] == [
        "Net income | Year ended 2031: 007 | Year ended 2030: 013",
        "Other income:",
        "Other income: Change in the value of bonds held | Year ended 2031: 207"
        " | Year ended 2030: 213",
        "Other income: Sum | Year ended 2031: 307 | Year ended 2030: 313",
    ]


def test_a_unit_between_headers_is_no_header() -> None:
    words = [
        *line("Year ended", 410, 84),
        *line("(in millions, except shares)", 390, 100),
        *line("2031", 400, 116),
        *line("2030", 480, 116),
    ]
    for row, label in enumerate(("Income", "Costs")):
        top = 132 + 16 * row
        words += [*line(label, 60, top), *line("70", 405, top), *line("71", 485, top)]
    assert read(words).split("\n")[1:] == [
        "(in millions, except shares)",
        "2031 2030",
        "Income | Year ended 2031: 70 | Year ended 2030: 71",
        "Costs | Year ended 2031: 70 | Year ended 2030: 71",
    ]


def test_labels_with_different_indents_are_one_column() -> None:
    words = [*line("2031", 400, 100), *line("2030", 480, 100)]
    rows = (("Cash", 60), ("bonds", 86), ("Other assets of the fund", 60), ("loans", 90))
    for row, (label, left) in enumerate(rows):
        top = 116 + 16 * row
        words += [*line(label, left, top), *line("70", 405, top), *line("71", 485, top)]
    assert read(words).split("\n")[1:] == [f"{label} | 2031: 70 | 2030: 71" for label, _ in rows]


def test_a_row_outside_of_a_group_is_not_under_it() -> None:
    words = [*line("2031", 400, 100), *line("2030", 480, 100)]
    rows = (("Assets", 60), ("Of these:", 80), ("Cash", 92), ("All assets", 60))
    for row, (label, left) in enumerate(rows):
        top = 116 + 16 * row
        words += line(label, left, top)
        if not label.endswith(":"):
            words += [*line("70", 405, top), *line("71", 485, top)]
    assert read(words).split("\n")[-1] == "All assets | 2031: 70 | 2030: 71"


def test_a_page_number_above_a_table_is_no_header() -> None:
    words = [*line("Harbour board", 60, 84), *line("Page 12", 320, 84), *HEADERS]
    words += [*counted("Asthma", 116, "Count", "31", "22"), *counted("Flu", 132, "Count", "3", "2")]
    assert "Flu | Kind: Count | Suffered: 3 | Treated: 2" in read(words)


def test_a_caption_is_no_header() -> None:
    words = [
        *line("Table 3. Output by plant in kilotonnes, by year", 60, 86),
        *table((60, ["Plant", "Aldery", "Brennig"]), (250, ["Output", "410", "275"])),
    ]
    assert read(words).split("\n")[3] == "Aldery | Output: 410"


def test_prose_beside_labels_is_no_header() -> None:
    words = [
        *line("All the keepers on the old wall were asked what they saw", 200, 72),
        *line("in each of the last six nights before the storm came in:", 200, 86),
        *table(
            (60, ["Post", "Gate", "Tower"]), (300, ["Lamps", "12", "7"]), (400, ["Ships", "3", "4"])
        ),
    ]
    rows = ["Gate | Lamps: 12 | Ships: 3", "Tower | Lamps: 7 | Ships: 4"]
    assert [row for row in read(words).split("\n") if "|" in row] == rows


def test_entries_of_a_table_of_contents_keep_their_own_number() -> None:
    entries = ["Before you begin", "Cleaning the filter", "Storing the pump in winter"]
    words = []
    for index, (entry, page) in enumerate(zip(entries, ("5", "7", "12"), strict=True)):
        label = line(entry, 60, 100 + 14 * index)
        dots = line("." * 40, label[-1].right + 3, 100 + 14 * index)
        words += [*label, *dots, *line(page, 500, 100 + 14 * index)]
    assert read(words).split("\n") == [
        "Before you begin | 5",
        "Cleaning the filter | 7",
        "Storing the pump in winter | 12",
    ]


def test_cells_of_several_lines_stay_together() -> None:
    permits = [
        (("Harbour", "dredging"), ("Granted until", "30 June 2028"), ("Fee due",)),
        (("Night", "loading"), ("Refused on", "2 April 2026"), ("Fee waived",)),
    ]
    words = [
        word
        for row, cells in enumerate(permits)
        for left, cell in zip((60, 200, 350), cells, strict=True)
        for word in lines(list(cell), left, 100 + 44 * row)
    ]
    assert read(words).split("\n") == [
        "Harbour dredging | Granted until 30 June 2028 | Fee due",
        "Night loading | Refused on 2 April 2026 | Fee waived",
    ]


def test_spaces_between_groups_of_digits_do_not_end_a_number() -> None:
    words = table(
        (60, ["Path", "Direct", "Reflex"]),
        (250, ["Persons", "236 185", "6001"]),
        (350, ["Cost", "1 747 769", "(2 416 608)"]),
    )
    assert read(words).split("\n")[1:] == [
        "Direct | Persons: 236 185 | Cost: 1 747 769",
        "Reflex | Persons: 6001 | Cost: (2 416 608)",
    ]


@pytest.mark.parametrize("values", [("12", "345"), ("1,204", "345"), ("2019", "345")])
def test_numbers_of_two_columns_stay_two(values: tuple[str, str]) -> None:
    """Also if only a little more than a space, or another number with a comma, is beside them."""
    gap = 0.45 if "," not in values[0] else 0.3
    x = 250 + 0.5 * EM * len(values[0]) + gap * EM
    rows = [("North", 100), ("South", 114)]
    words = [word for name, y in rows for word in line(name, 60, y)]
    words += [word for _, y in rows for word in (*line(values[0], 250, y), *line(values[1], x, y))]
    assert read(words) == "\n".join(f"{name} | {values[0]} | {values[1]}" for name, _ in rows)


def test_a_single_row_below_its_years_is_a_table() -> None:
    words = [
        *line("Nets are written off as follows:", 60, 80),
        *table((60, ["(thousands)", "Nets"]), (250, ["2023", "$ 410"]), (330, ["2024", "$ 433"])),
        *line("Boats are written off over thirty years.", 60, 150),
    ]
    assert "\nNets | 2023: $410 | 2024: $433\n" in read(words)


def test_periods_beside_labels_are_values() -> None:
    words = table(
        (60, ["Harbour", "Bergen", "Tromsø", "Vesk"]),
        (250, ["Open years", "2014-2021", "2016–2021", "2020-2021"]),
        (350, ["Audited years", "2014-2017", "2016–2019", "None"]),
    )
    assert read(words).split("\n")[1:] == [
        "Bergen | Open years: 2014-2021 | Audited years: 2014-2017",
        "Tromsø | Open years: 2016–2021 | Audited years: 2016–2019",
        "Vesk | Open years: 2020-2021 | Audited years: None",
    ]


def test_prose_with_numbers_is_no_table() -> None:
    prose = [
        "The mine closed in 2019 and 2020",
        "and sold 14 tonnes in March 2021",
        "or April 2022",
    ]
    assert read(list(lines(prose, 60, 100))) == "\n".join(prose)


def test_labels_and_values_stay_on_one_line() -> None:
    labels = ["Tenant:", "Flat:", "Monthly rent:", "Deposit:", "Landlord:"]
    values = ["Ottoline Grieve", "14 Rook Street", "870 euros", "1,740 euros", "Bastian Kofoed"]
    words = [*lines(labels, 60, 100, pitch=33), *lines(values, 200, 100, pitch=33)]
    pairs = [f"{label} {value}" for label, value in zip(labels, values, strict=True)]
    assert read(words) == "\n".join(pairs)


def raised(text: str, host: Word, *, by: float = 4.0) -> Word:
    base = host.baseline - by
    return Word(text, host.right, base - 5.8, host.right + 3.3 * len(text), base + 1.8, base)


@pytest.mark.parametrize(
    ("host", "small", "by", "after", "text"),
    [
        ("10", "6", 4, "litres", "10^6 litres"),
        ("10", "-4", 4, "per", "10^-4 per"),
        ("12,500", "3", 4, "inhabitants", "12,500^3 inhabitants"),
        ("m", "2", 4, "wide", "m² wide"),
        ("km", "3", 4, "wide", "km³ wide"),
        ("21", "st", 4, "century", "21st century"),
        ("Corp", "*", 4, "sold", "Corp* sold"),
        ("sales", "(1)", 4, "rose", "sales (1) rose"),
        ("CO", "2", -3, "rises", "CO2 rises"),
    ],
)
def test_raised_and_lowered_words(host: str, small: str, by: float, after: str, text: str) -> None:
    [first] = line(host, 60, 100)
    shifted = raised(small, first, by=by)
    words = [first, shifted, *line(after, shifted.right + 3, 100)]
    assert read(words) == text


def test_a_full_stop_after_a_raised_word_stays_with_it() -> None:
    [first] = line("m", 60, 100)
    shifted = raised("3", first)
    assert read([first, shifted, *line(".", shifted.right, 100)]) == "m³."


def test_a_large_gap_begins_a_paragraph() -> None:
    assert read([*lines(LEFT[:2], 60, 100), *lines(LEFT[2:4], 60, 140)]) == (
        f"{LEFT[0]}\n{LEFT[1]}\n\n{LEFT[2]}\n{LEFT[3]}"
    )


def test_turned_text_is_read_after_the_page() -> None:
    margin = Word("Confidential", 20, 300, 30, 380, 28, 270)
    second = Word("draft", 20, 270, 30, 297, 28, 270)
    assert (
        read([margin, second, *lines(LEFT, 60, 100)]) == "\n".join(LEFT) + "\n\nConfidential draft"
    )


def test_a_page_of_turned_text_is_read_along_its_lines() -> None:
    words = [
        Word("first", 500, 100, 510, 130, 502, 90),
        Word("line", 500, 135, 510, 160, 502, 90),
        Word("second", 480, 100, 490, 130, 482, 90),
    ]
    assert read(list(reversed(words))) == "first line\nsecond"


def test_right_to_left_lines_are_read_from_the_right() -> None:
    words = [
        Word("נבנה", 300, 91, 330, 103, 100),
        Word("1847", 260, 91, 290, 103, 100),
        Word("הנמל", 340, 91, 370, 103, 100),
        Word("הצפוני", 380, 91, 410, 103, 100),
        Word("North", 200, 91, 225, 103, 100),
        Word("Sea", 230, 91, 250, 103, 100),
    ]
    assert read(words) == "הצפוני הנמל נבנה 1847 North Sea"


def test_japanese_lines_are_joined_within_a_sentence() -> None:
    words = [
        Word("灯台守の名は佐藤兼吉で、三", 60, 91, 190, 103, 100),
        Word("十年のあいだ火を守った。", 60, 109, 180, 121, 118),
        Word("港の灯台は明治に建てられた。", 60, 127, 190, 139, 136),
    ]
    assert (
        read(words)
        == "灯台守の名は佐藤兼吉で、三十年のあいだ火を守った。\n港の灯台は明治に建てられた。"
    )


@pytest.mark.parametrize(
    "words", [[], [Word("one", 5, 5, 5, 5, 5)], [Word("x", 0, 0, 0, 0, 0)] * 50]
)
def test_odd_boxes_are_read(words: list[Word]) -> None:
    assert read(words).split() == [word.text for word in words]
