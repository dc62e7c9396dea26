"""Cleaning, running headers and the choice of engine: pure functions over texts."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.pdf.cleaning import clean_line, clean_text
from core.pdf.furniture import WINDOW, strip_furniture, take_furniture
from core.pdf.highlighting import Word, find_span, locate, locate_words
from core.pdf.known_words import find_known_words
from core.pdf.selection import choose, count_faults, wants_second_reading

RAW = st.text(
    alphabet=st.one_of(
        st.characters(), st.sampled_from("ab-\u00ad\ufffe\x00\x02\r\n \u00a0ﬁ\ud800é\u0301\u200f")
    )
)


@pytest.mark.parametrize(
    ("raw", "clean"),
    [
        ("one\r\ntwo\rthree\u2028four", "one\ntwo\nthree\nfour"),
        ("NUL\x00here", "NUL here"),
        ("lone \ud800surrogate\udfff", "lone surrogate"),
        ("ﬁne ﬂow eﬃcient", "fine flow efficient"),
        ("e\u0301tude", "étude"),
        ("5 m² and ½", "5 m² and ½"),
        ("soft\u00adhyphen and soft\u00ad\nbreak", "softhyphen and softbreak"),
        ("infor-\nmation", "information"),
        ("infor\ufffemation", "information"),
        ("a wide-body, and wide\ufffebody too", "a wide-body, and wide-body too"),
        ("the years 2021-\n2022 and A-\nBC", "the years 2021-2022 and A-BC"),
        ("COVID\ufffe19, KX-\n200, B\ufffe12", "COVID-19, KX-200, B-12"),
        ("non\ufffeEU, Anne-\nMarie, anti\ufffeAmerican", "non-EU, Anne-Marie, anti-American"),
        ("self\ufffeemployed, e\ufffemail, long-\nterm", "self-employed, e-mail, long-term"),
        ("a state-of-the\ufffeart lab", "a state-of-the-art lab"),
        ("INFOR-\nMATION for EU-\nUSA", "INFORMATION for EU-USA"),
        ("a price -\n12 each", "a price -\n12 each"),
        ("a  lot\u00a0of\t white \n\n\n\n space ", "a lot of white\n\nspace"),
        ("\u202bשלום\u202c \u200fעולם", "שלום עולם"),
        ("ﻼﺳ", "لاس"),
        ("⼀⼆", "一二"),
        ("می\u200cخواهم", "می\u200cخواهم"),
        ("", ""),
    ],
)
def test_clean_text(raw: str, clean: str) -> None:
    assert clean_text(raw) == clean


@given(RAW)
def test_clean_text_can_be_stored_and_is_stable(raw: str) -> None:
    text = clean_text(raw)
    assert "\x00" not in text
    assert text.encode("utf-8").decode("utf-8") == text
    assert clean_text(text) == text


def test_clean_line_is_one_line() -> None:
    assert clean_line(" Annual\r\n\x00Report ") == "Annual Report"


@pytest.mark.parametrize(
    ("elsewhere", "written"),
    [
        ("A wide-body aircraft.", "wide-body"),
        ("A Wide-Body. A widebody.", "wide-body"),
        ("A widebody. A widebody. One wide-body.", "widebody"),
        ("Nothing of the kind.", "widebody"),
        ("It goes wide- body.", "widebody"),
    ],
)
@pytest.mark.parametrize("line_end", ["-\r\n", "\ufffe"])
def test_a_broken_word_is_written_as_on_other_pages(
    elsewhere: str, written: str, line_end: str
) -> None:
    broken = f"Each new wide{line_end}body has two decks."
    known = find_known_words([broken, "Page two.", elsewhere])
    assert clean_text(broken, known_words=known) == f"Each new {written} has two decks."


def test_a_usual_hyphen_goes_where_other_pages_have_none() -> None:
    broken = "The by-\npass is closed. A long-\nterm lease. See pages 12-\n5."
    known = find_known_words([broken, "The bypass. Long-term plans. It costs 125."])
    text = clean_text(broken, known_words=known)
    assert text == "The bypass is closed. A long-term lease. See pages 12-5."
    assert clean_text(broken) == "The by-pass is closed. A long-term lease. See pages 12-5."


def page(number: int, *, header: str = "", footer: str = "") -> str:
    body = "\n".join(f"Line {chr(97 + line)} of body {number * 31 + line}" for line in range(12))
    return "\n".join(part for part in (header, body, footer) if part)


def strip_all(texts: list[str]) -> list[str]:
    numbered = dict(enumerate(texts, start=1))
    return [strip_furniture(number, numbered) for number in numbered]


def test_running_headers_and_footers_go_but_for_the_first() -> None:
    texts = [page(n, header="Annual Report", footer=f"Acme | {n} of 9") for n in range(1, 10)]
    stripped = strip_all(texts)
    assert stripped[0] == texts[0]
    assert stripped[1:] == [page(n) for n in range(2, 10)]


def test_headers_of_left_and_right_pages_go() -> None:
    texts = [page(n, header="Left" if n % 2 else "Right") for n in range(1, 10)]
    assert strip_all(texts)[4:7] == [page(n) for n in (5, 6, 7)]


def test_page_numbers_go_and_other_numbers_stay() -> None:
    numbered = [page(n, footer=str(n + 4)) for n in range(1, 8)]
    assert strip_all(numbered)[2:] == [page(n) for n in range(3, 8)]
    totals = [page(n, footer=f"{n * n * 17}") for n in range(1, 8)]
    assert strip_all(totals) == totals


@pytest.mark.parametrize(
    "footer",
    [
        "Page {n}",
        "Seite {n} von 9",
        "{n} of 9",
        "- {n} -",
        "{n} | Acme",
        "Acme Inc. | Q2 Form 10-Q | {n}",
        "Land Registry 2026-11-03 page {n} of 9",
    ],
)
def test_page_numbers_in_their_forms_go(footer: str) -> None:
    texts = [page(n, footer=footer.format(n=n)) for n in range(1, 8)]
    assert strip_all(texts)[2:] == [page(n) for n in range(3, 8)]


def test_roman_page_numbers_go() -> None:
    texts = [page(n, footer=roman) for n, roman in enumerate(("i", "ii", "iii", "iv", "v"), 1)]
    assert strip_all(texts)[2:] == [page(n) for n in range(3, 6)]


@pytest.mark.parametrize(
    "header",
    ["Invoice 2026-10{n}", "Article {n}", "Room {n}", "10{n}", "Case no. {n}", "{n}. The keeper"],
)
def test_numbers_that_count_with_the_pages_but_are_content_stay(header: str) -> None:
    texts = [page(n, header=header.format(n=n)) for n in range(1, 8)]
    assert strip_all(texts) == texts


def test_pages_that_are_alike_throughout_are_kept() -> None:
    forms = ["\n".join(f"Field {chr(97 + line)}:" for line in range(12)) for _ in range(6)]
    assert strip_all(forms) == forms


def test_a_header_over_lines_that_count_with_the_pages_goes() -> None:
    texts = [
        "\n".join(["Header", *(f"Page {n}, line {line}" for line in range(12))])
        for n in range(1, 7)
    ]
    assert strip_all(texts)[1:] == [text.removeprefix("Header\n") for text in texts[1:]]


def test_a_title_that_is_much_of_a_slide_stays_on_each_slide() -> None:
    bodies = ["Mind the lid.", "Open the damper.", "Wear gloves.", "Let it cool.", "Log it."]
    slides = [
        f"Kiln safety for new potters\nGallery of crafts\n{body}\n\nAsk first.\nBe slow.\nOne.\n"
        f"Two.\nThree {body}\nSlide {n}"
        for n, body in enumerate(bodies, start=1)
    ]
    for stripped, body in zip(strip_all(slides), bodies, strict=True):
        assert stripped.startswith("Kiln safety for new potters\nGallery of crafts\n")
        assert body in stripped


def test_a_running_title_is_known_for_each_page() -> None:
    headers = ("Charter of the harbour | {n}", "{n} | Charter of the harbour", "Table of contents")
    for header, title in zip(headers, ["Charter of the harbour"] * 2 + [""], strict=True):
        texts = {n: page(n, header=header.format(n=n)) for n in range(1, 8)}
        found = [take_furniture(number, texts) for number in texts]
        assert [one[1] for one in found] == [title] * 7
        assert [one[0] for one in found[2:]] == [page(n) for n in range(3, 8)]
    assert take_furniture(4, {n: page(n) for n in range(1, 8)})[1] == ""


def test_short_pages_are_kept() -> None:
    slides = ["Title\nOne point\nAnother" for _ in range(6)]
    assert strip_all(slides) == slides


@given(
    st.lists(st.lists(st.sampled_from("abcd12"), max_size=10), min_size=1, max_size=12),
    st.integers(1, 12),
)
def test_the_furniture_of_a_page_depends_only_on_its_window(
    pages: list[list[str]], number: int
) -> None:
    texts = {n: "\n".join(lines) for n, lines in enumerate(pages, start=1)}
    number = min(number, len(texts))
    window = {n: text for n, text in texts.items() if abs(n - number) <= WINDOW}
    assert strip_furniture(number, texts) == strip_furniture(number, window)


@pytest.mark.parametrize(
    ("text", "sound"),
    [
        ("An account with PayPal, SodaStream or iPhone.", True),
        ("The state ofState of affairs.", False),
        ("The design was made in InDesign, in a week.", True),
        ("The TheState, AnIdea and InHouse: an idea of the state, in a house.", False),
        ("من الأدوات القوية", True),
        ("من األدوات القوية اإلنتاجية", False),
        ("תוצר מקומי גולמי", True),
        ("ימלוג םימוקמ", False),
        ("the quyпn of readers", False),
        ("\ufffd" * 20 + "text", False),
        ("", True),
    ],
)
def test_faults(text: str, sound: bool) -> None:
    assert (count_faults(text) == 0) is sound
    assert wants_second_reading(text) is not sound


@pytest.mark.parametrize(
    ("pdfium", "pypdf", "chosen"),
    [
        ("A state ofState of affairs", "A state of State of affairs", "pypdf"),
        ("A state ofState of affairs", "A state", "pdfium"),
        ("A state ofState of affairs", "AstateofStateofaffairs", "pdfium"),
        ("PayPal and YouTube", "PayPal and YouTube", "pdfium"),
        ("some text", None, "pdfium"),
        (None, "some text", "pypdf"),
        (None, None, "pdfium"),
        ("", "", "pdfium"),
    ],
)
def test_choice(pdfium: str | None, pypdf: str | None, chosen: str) -> None:
    assert choose({"pdfium": pdfium, "pypdf": pypdf}) == chosen


def test_an_engine_asked_alone_is_chosen() -> None:
    assert choose({"pypdf": None}) == "pypdf"
    assert choose({"pdfium": None}) == "pdfium"


def test_locate_finds_the_longest_start() -> None:
    assert locate("thequickbrownfox", "quickbrown") == (3, 10)
    assert locate("thequickbrownfoxjumps", "quickbrownfoxsleeps") == (3, 13)
    assert locate("thequickbrownfox", "lazydog") == (0, 0)
    assert locate("anything", "") == (0, 0)


def test_locate_words_finds_where_most_stand_together() -> None:
    page_words = [*"atbf", "quick", "the", "brawn", "fox", "jumps", *"de", "the", "f"]
    first, last, letters = locate_words(page_words, ["the", "quick", "brown", "fox", "jumps"])
    assert page_words[first : last + 1] == ["quick", "the", "brawn", "fox", "jumps"]
    assert letters == len("quickthefoxjumps")
    assert locate_words(page_words, ["nothing", "of", "this", "is", "here"]) == (0, 0, 0)
    assert locate_words([], ["a"]) == (0, 0, 0)


def test_find_span_takes_words_where_letters_differ() -> None:
    text = "من األدوات القوية التي تعزز اإلنتاجية وتساعد"
    words, position = [], 0
    for part in text.split():
        words.append(Word(part, tuple(range(position, position + len(part)))))
        position += len(part) + 1
    span = find_span(words, "الأدوات القوية التي تعزز الإنتاجية وتساعد")
    assert span == (text.index("القوية"), len(text) - 1)
    assert find_span(words, "words that stand elsewhere") is None
