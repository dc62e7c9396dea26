"""Headers of several levels: which columns each of them names. Pure functions, no PDF."""

from collections.abc import Sequence

from core.pdf.layout.reading import read_layout
from core.pdf.layout.words import Box, Word

WIDTH, HEIGHT = 595, 842
EM = 10.0
YEARS = ("2022", "2021") * 3


def at(text: str, baseline: float, *, middle: float = 0, right: float = 0) -> list[Word]:
    """The words of `text`, in the middle at `middle` or ending at `right`."""
    width = 0.5 * EM * len(text.replace(" ", "")) + 0.3 * EM * text.count(" ")
    x = right - width if right else middle - width / 2
    words = []
    for part in text.split():
        end = x + 0.5 * EM * len(part)
        words.append(Word(part, x, baseline - 0.9 * EM, end, baseline + 0.27 * EM, baseline))
        x = end + 0.3 * EM
    return words


def body(rights: Sequence[float], top: float) -> list[Word]:
    """Three rows, each with a label and a number for each column that ends at `rights`."""
    words = []
    for row, label in enumerate(("Service", "Interest", "Returns")):
        words += at(label, top + 14 * row, right=60 + 5 * len(label))
        for column, right in enumerate(rights):
            words += at(f"{row + 1}{column}.5", top + 14 * row, right=right)
    return words


def read(words: list[Word], rules: Sequence[Box] = ()) -> str:
    return read_layout(words, width=WIDTH, height=HEIGHT, rules=rules).text()


def headers(words: list[Word], rules: Sequence[Box] = ()) -> list[str]:
    """The names of the columns in the row `Service`."""
    [row] = [line for line in read(words, rules).split("\n") if line.startswith("Service |")]
    return [cell.partition(":")[0] for cell in row.split(" | ")[1:]]


def rule(left: float, right: float, y: float) -> Box:
    return (left, y, right, y + 0.5)


RIGHTS = (200.0, 250, 300, 350, 420, 470)
PLANS = [
    *at("Pension", 100, middle=255),
    *at("Retiree Medical", 100, middle=445),
    *at("U.S.", 114, middle=205),
    *at("International", 114, middle=305),
    *[
        word
        for year, right in zip(YEARS, RIGHTS, strict=True)
        for word in at(year, 128, right=right)
    ],
    *body(RIGHTS, 146),
]
PLAN_NAMES = [
    *("Pension U.S. 2022", "Pension U.S. 2021"),
    *("Pension International 2022", "Pension International 2021"),
    *("Retiree Medical 2022", "Retiree Medical 2021"),
]
# A page's cells are drawn one by one: lines have parts.
PLAN_RULES = [
    *(rule(160, 250, 103), rule(250, 350, 103), rule(380, 470, 103)),
    *(rule(160, 250, 117), rule(260, 350, 117)),
    *(rule(right - 40, right, 131) for right in RIGHTS),
]


def test_the_line_below_a_header_shows_its_columns() -> None:
    assert headers(PLANS, PLAN_RULES) == PLAN_NAMES
    # The headers are at the left of their columns, as some programs write them.
    moved = [
        word._replace(left=word.left - 12, right=word.right - 12) if word.baseline < 120 else word
        for word in PLANS
    ]
    assert headers(moved, PLAN_RULES) == PLAN_NAMES


def test_names_that_repeat_show_the_columns_of_a_header() -> None:
    assert headers(PLANS) == PLAN_NAMES


def test_the_line_below_a_header_shows_its_columns_on_a_turned_page() -> None:
    turned = [
        Word(text, HEIGHT - bottom, left, HEIGHT - top, right, HEIGHT - baseline, 90)
        for text, left, top, right, bottom, baseline, _ in PLANS
    ]
    rules = [(HEIGHT - y, left, HEIGHT - top, right) for left, top, right, y in PLAN_RULES]
    text = read_layout(turned, width=HEIGHT, height=WIDTH, rules=rules).text()
    assert "Pension International 2021: 13.5 | Retiree Medical 2022: 14.5" in text


def test_underlined_words_show_no_columns() -> None:
    words = [
        *at("Months ended", 100, middle=225),
        *at("2022", 114, right=200),
        *at("2021", 114, right=250),
        *body((200, 250), 130),
    ]
    left, right = words[0].left, words[1].right
    assert headers(words, [rule(left, right, 102)]) == ["Months ended 2022", "Months ended 2021"]


def test_names_of_narrow_columns_are_apart() -> None:
    rights = (200.0, 240, 280, 320)
    words = [
        *at("All modern", 100, middle=250),
        *at("Condom/ Other", 114, middle=290),
        *[word for right in rights for word in at("method", 128, middle=right - 10)],
        *body(rights, 146),
    ]
    words[2] = at("Condom/", 114, middle=270)[0]
    words[3] = at("Other", 114, middle=310)[0]
    lines = [rule(178, 282, 103)]
    assert headers(words, lines) == [
        *("All modern method", "All modern method"),
        *("All modern Condom/ method", "Other method"),
    ]


def test_parts_of_a_name_in_the_middle_of_columns_are_apart() -> None:
    words = [
        *at("simple", 100, middle=190),
        *at("complex", 100, middle=227),
        *at("all", 100, middle=290),
        *body((200, 237, 300, 360), 116),
    ]
    assert headers(words)[:3] == ["simple", "complex", "all"]


def test_a_title_above_rows_of_headers_is_no_header() -> None:
    words = [
        *at("Crime Complaints", 100, middle=265),
        *at("Pension", 114, middle=230),
        *at("International", 114, middle=320),
        *at("Other", 114, middle=440),
        *[
            word
            for year, right in zip(YEARS, RIGHTS, strict=True)
            for word in at(year, 128, right=right)
        ],
        *body(RIGHTS, 146),
    ]
    names = headers(words, [rule(50, 480, 103)])
    assert not [name for name in names if "Crime" in name]
    assert names[-1] == "Other 2021"
    words[:2] = at("A title of the whole table and of all columns below it", 100, middle=265)
    assert headers(words) == names


def test_a_unit_with_a_digit_is_a_header() -> None:
    words = [
        *at("Index", 100, right=200),
        *at("Name", 114, right=80),
        *at("(1/km)", 114, right=200),
        *at("(mi)", 114, right=250),
        *body((200, 250), 130),
    ]
    assert headers(words) == ["Index (1/km)", "(mi)"]


def test_stars_are_a_value_that_is_not_given() -> None:
    words = [
        *at("2022", 100, right=200),
        *at("Change", 100, right=240),
        *body((200, 240), 116),
        *at("Murder", 158, right=90),
        *at("0 ***.*", 158, right=238),
    ]
    words[-2] = at("0", 158, right=207)[0]
    assert "Murder | 2022: 0 | Change: ***.*" in read(words)


def test_a_unit_above_several_columns_is_no_header() -> None:
    words = [
        *at("2022", 100, right=200),
        *at("2021", 100, right=250),
        *at("Liabilities:", 114, right=120),
        *at("(In millions)", 114, middle=218),
        *body((200, 250), 130),
    ]
    assert headers(words) == ["2022", "2021"]


def test_a_name_of_several_words_is_not_split_at_its_spaces() -> None:
    words = [
        *at("2022", 100, right=200),
        *at("2022 vs. 2021", 100, middle=250),
        *body((200, 242, 275), 116),
    ]
    assert headers(words) == ["2022", "2022 vs. 2021", "2022 vs. 2021"]


def test_a_header_over_a_line_is_no_title() -> None:
    words = [*at("Qualified Benefits", 86, middle=235), *PLANS[3:]]
    rules = [rule(160, 350, 89), *PLAN_RULES[3:]]
    assert headers(words, rules)[:2] == [
        *("Qualified Benefits U.S. 2022", "Qualified Benefits U.S. 2021")
    ]


def test_lines_below_each_column_do_not_show_the_columns_of_a_header() -> None:
    words = [
        *at("2022", 100, middle=227),
        *at("2021", 100, middle=377),
        *[
            word
            for name, right in zip(("Gross", "Sum") * 2, (200, 260, 350, 410), strict=True)
            for word in at(name, 114, right=right)
        ],
        *body((200, 260, 350, 410), 130),
    ]
    rules = [rule(right - 45, right, 103) for right in (200, 260, 350, 410)]
    assert headers(words, rules) == ["2022 Gross", "2022 Sum", "2021 Gross", "2021 Sum"]


def test_a_line_below_all_columns_does_not_show_the_column_of_a_name_at_its_end() -> None:
    rights = (200.0, 260, 320, 380)
    words = [
        *at("Other", 100, right=380),
        *[
            word
            for name, right in zip(("Gross", "Net", "Sum", "Rest"), rights, strict=True)
            for word in at(name, 114, right=right)
        ],
        *body(rights, 130),
    ]
    assert headers(words, [rule(150, 385, 103)]) == ["Gross", "Net", "Sum", "Other Rest"]


def test_a_long_name_of_a_group_below_the_headers_is_passed_over() -> None:
    group = at("Plans with more than we have put by for all of them", 144, middle=178)
    words = [word._replace(left=word.left, right=word.right) for word in PLANS[:-1]]
    below = [
        word._replace(top=word.top + 16, bottom=word.bottom + 16, baseline=word.baseline + 16)
        if word.baseline > 140
        else word
        for word in words
    ]
    assert headers([*below, *group], PLAN_RULES)[:2] == PLAN_NAMES[:2]
