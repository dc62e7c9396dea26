"""How a text is cut into words, for the index, for queries and for comparing texts."""

import unicodedata

import pytest

from core.search.lexemes import terms_of, vector_of
from core.text.words import content_stems, index_stems, query_stems, stem, words


def indexed(text: str) -> set[str]:
    return {stem for _, stem in index_stems(text)}


@pytest.mark.parametrize(
    ("query", "text"),
    [
        ("4187", "Fault ERR-4187 means a jam."),
        ("ERR 4187", "ERR-4187"),
        ("err4187", "ERR-4187"),
        ("#4187", "ERR–4187"),
        ("ERR‑4187", "ERR4187"),
        ("output", "input/output board"),
        ("ISO27001", "ISO 27001"),
        ("ISO-27001", "iso 27001"),
        ("2.10.3", "since v2.10.3"),
        ("v2.10.3", "version 2.10.3"),
        ("2023", "30.06.2023"),
        ("billing", "billing.office@harbour.example"),
        ("harbour.example", "billing.office@harbour.example"),
        ("gateway config", "gateway_config.yaml"),
        ("gateway_config", "GatewayService reads gateway_config.yaml"),
        ("1250000", "1,250,000 units"),
        ("1.250.000", "1250000"),
        ("10-K", "the 10K report"),
        ("5GB", "5-GB"),
        ("B12", "vitamin B-12"),
        ("email", "by e-mail"),
        ("U.S.", "the US and others"),
        ("5-year plan", "a plan of 5 years"),
        ("resume", "the résumé"),
        (unicodedata.normalize("NFD", "résumé"), "résumé"),
        ("Strassenbahn", "STRASSENBAHN, Straßenbahn"),
        ("ＡＢＣ１２３", "abc123"),
        ("smorrebrod", "smørrebrød"),
        ("φαρος", "ΦΑΡΟΣ"),
        ("灯塔", "使用北岬灯塔的镜片进行测试。"),
        ("灯", "灯塔"),
        ("ห้องสมุด", "ไปห้องสมุดกัน"),
        ("विद्यालय", "यह विद्यालय है"),
        ("IT", "IT keeps the servers."),
        ("WHO", "The WHO recommends it."),
        ("What does the WHO say?", "WHO said so."),
        ("deploy", "we deployed it"),
        ("reports", "a report"),
    ],
)
def test_a_word_is_found_whatever_its_spelling(query: str, text: str) -> None:
    sought = set(query_stems(query))
    assert sought
    assert sought - {"say"} <= indexed(text)


@pytest.mark.parametrize(
    ("query", "text"),
    [
        ("IT", "it keeps the servers"),
        ("WHO", "who said so"),
        ("3M", "3 metres and m"),
        ("418", "ERR-4187"),
        ("灯台", "灯塔"),
        ("250", "1,250,000"),
        ("विद्या", "विद्यालय"),
    ],
)
def test_another_word_is_not_found(query: str, text: str) -> None:
    sought = set(query_stems(query))
    assert sought
    assert not sought <= indexed(text)


def test_stop_words_have_no_place_in_the_index_but_names_like_them_have() -> None:
    assert indexed("It is what it is, and who would know?") == {"would", "know"}
    assert indexed("Ask IT or the WHO.") == {"ask", "IT", "WHO"}
    assert indexed("WHAT IS IT ABOUT, AND WHO IS IT FOR") == set()
    assert query_stems("what is it") == []


def test_words_keep_their_places_and_a_code_s_parts_share_one() -> None:
    assert index_stems("the blue 10-K form") == [
        (2, "blue"), (3, "10k"), (3, "10"), (3, "k"), (4, "form"),
    ]  # fmt: skip


def test_numbers_and_words_of_a_range_or_a_date_are_apart() -> None:
    assert content_stems("2-3 weeks in 2021–2022") == ["2", "3", "week", "2021", "2022"]
    assert content_stems("12/31/2022") == ["12", "31", "2022"]
    assert content_stems("12-month term") == ["12", "month", "term"]


def test_words_are_whole_and_folded() -> None:
    assert words("Café 3.5 O’Brien's 図書") == ["cafe", "3.5", "o", "brien", "図", "書"]
    assert words("") == []


@pytest.mark.parametrize(
    ("forms", "stemmed"),
    [
        (("city", "cities"), "citi"),
        (("deploy", "deployed", "deploying", "deploys"), "deploy"),
        (("run", "running", "runs"), "run"),
        (("hope", "hoping", "hoped"), "hope"),
        (("hop", "hopping", "hopped"), "hop"),
        (("company", "companies"), "compani"),
        (("class", "classes"), "class"),
        (("quick", "quickly"), "quick"),
        (("organisation", "organisations"), "organis"),
        (("box", "boxes"), "box"),
    ],
)
def test_forms_of_a_word_have_one_stem(forms: tuple[str, ...], stemmed: str) -> None:
    assert {stem(form) for form in forms} == {stemmed}


@pytest.mark.parametrize("word", ["1,066", "straße", "公園", "b12", "naïve"])
def test_words_that_are_not_english_letters_stay(word: str) -> None:
    assert stem(word) == word


def test_a_tsvector_quotes_characters_of_its_syntax() -> None:
    assert vector_of("O'Brien\\ runs, runs", tenant_id="o'b\\") == (
        "'o':1 'brien':2 'run':3,4 '\x01o''b\\\\'"
    )


def test_a_long_text_fits_into_a_tsvector() -> None:
    made = vector_of("word " * 40_000 + "z" * 5_000, tenant_id="t")
    lexeme, longest, _ = made.split(" ")
    assert lexeme.count(",") == 255
    assert len(longest) < 2_046
    assert longest.endswith(":16383")


def test_a_query_has_its_words_once_and_its_quoted_phrases() -> None:
    found = terms_of('the "status byte of the driver" byte')
    assert [term.query for term in found] == [
        "'status'", "'byte'", "'driver'", "'status' <1> 'byte' <3> 'driver'",
    ]  # fmt: skip
    assert [term.name for term in found][-1] == '"status byte of the driver"'
    assert terms_of('"one" or "of the"') == terms_of("one")


def test_a_month_is_looked_up_in_both_of_its_forms() -> None:
    assert [term.query for term in terms_of("August sales")] == ["('august' | 'aug')", "'sale'"]


def test_a_part_of_a_document_is_looked_up_as_a_phrase() -> None:
    assert [term.name for term in terms_of("topic of Note 9")] == ["topic", "note", "9", '"Note 9"']


def test_a_word_is_looked_for_together_with_its_equivalents() -> None:
    (term,) = terms_of("opex")
    assert term.query == "('opex' | ('oper' <1> 'expens') | ('oper' <1> 'expenditur'))"
    assert term.forms == 4
    assert [one.forms for one in terms_of("August sales")] == [2, 1]
