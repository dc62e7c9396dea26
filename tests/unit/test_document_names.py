"""Words, periods and series read from file names and titles."""

import pytest

from core.search.document_names import (
    asks_for_latest,
    document_label,
    named,
    question_words,
    read_label,
    read_period,
    separate,
)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("2022_Q3_ACME", "2022 Q3 ACME"),
        ("AnnualReport2022", "Annual Report 2022"),
        ("ACME_2022Q4_EARNINGS", "ACME 2022 Q4 EARNINGS"),
        ("café-menu (final)", "café menu final"),
        ("年次報告", "年次報告"),
        ("___", ""),
    ],
)
def test_names_are_split_into_words(name: str, words: str) -> None:
    assert separate(name) == words


@pytest.mark.parametrize(
    ("text", "years", "parts"),
    [
        ("2022_Q3_ACME", {2022}, {"q3"}),
        ("ACME_2022Q4_EARNINGS", {2022}, {"q4"}),
        ("1Q22 results", {2022}, {"q1"}),
        ("FY23-H1", {2023}, {"h1"}),
        ("minutes-2023-06-30", {2023}, {"m06"}),
        ("report_202206", {2022}, {"m06"}),
        ("minutes_March_2023", {2023}, {"m03"}),
        ("on May 5, 2020", {2020}, {"m05"}),
        ("in the third quarter of 2022", {2022}, {"q3"}),
        ("in the 2nd fiscal quarter", set(), {"q2"}),
        ("FY2022 and FY2021", {2022, 2021}, set()),
        ("the Q3 2022 10-Q and the 2022 10-K", {2022}, {"q3"}),
        ("ACME_2022_10K", {2022}, set()),
        ("2,022 or 2022.5 or 20239999 may march", set(), set()),
        ("in 1066", set(), set()),
    ],
)
def test_periods(text: str, years: set[int], parts: set[str]) -> None:
    period = read_period(text)
    assert (period.years, period.parts) == (years, parts)
    assert bool(period) == bool(years or parts)


def test_periods_are_ordered_by_their_end() -> None:
    texts = ["undated", "2021", "2022", "Q1 2022", "2022-05", "H1 2022", "Q3 2022", "FY23"]
    ends = [read_period(text).end() for text in texts]
    assert ends == sorted(ends)
    assert len(set(ends)) == len(ends)


def test_a_period_is_covered_by_year_and_part() -> None:
    asked = read_period("Q3 2022")
    shares = [asked.covered_by(read_period(name)) for name in ("2022_Q3", "2022_Q1", "2021_Q1")]
    assert shares == [1.0, 0.5, 0.0]
    assert read_period("2022 and 2023").covered_by(read_period("2022")) == 0.25


def test_editions_share_their_series() -> None:
    assert read_label("2022_Q3_ACME.pdf").series == read_label("2023_Q1_ACME.pdf").series
    assert read_label("2022_Q3_ACME.pdf").series != read_label("2022_Q3_OTHER.pdf").series
    dated = read_label("scan1.pdf", "Annual Report 2021")
    assert dated.series == read_label("scan2.pdf", "Annual Report 2022").series
    assert dated.period.years == {2021}


def test_the_name_s_period_has_precedence() -> None:
    assert read_label("ACME_2022_10K.pdf", "Form 10-K filed February 2023").period.years == {2022}


@pytest.mark.parametrize(
    ("question", "filename", "found"),
    [
        ("What is American Express's debt?", "AMERICANEXPRESS_2022_10K.pdf", "american express"),
        ("What did Ulta earn?", "ULTABEAUTY_2023Q4_EARNINGS.pdf", "earn ulta"),
        ("3M's latest 10-K", "3M_2022_10K.pdf", "10k 3m"),
        ("What did the Normans do?", "Normans.pdf", "normans"),
        ("the art of war", "artificial-warfare.pdf", ""),
        ("what did ulta sell", "ulta-2023.pdf", "ulta"),
        ("Is it of any use?", "it-is.pdf", ""),
    ],
)
def test_words_of_the_question_in_a_name(question: str, filename: str, found: str) -> None:
    assert named(question_words(question), read_label(filename)) == set(found.split())


@pytest.mark.parametrize(
    ("question", "latest"),
    [
        ("in the most recent 10-Q", True),
        ("the latest quarter", True),
        ("the latest figures of 2021", False),
        ("recently", False),
    ],
)
def test_asking_for_the_latest(question: str, latest: bool) -> None:
    assert asks_for_latest(question) == latest


@pytest.mark.parametrize(
    ("filename", "title", "label"),
    [
        ("2022_Q3-report.pdf", None, "2022 Q3 report"),
        ("2022_Q3_ACME.pdf", "0001045810-22-000166", "2022 Q3 ACME"),
        ("Fresno_California.pdf", "Fresno, California", "Fresno California"),
        ("acme.pdf", "Annual Report of Acme", "Annual Report of Acme"),
        ("scan1.pdf", "Microsoft Word - Annual  Report", "scan1: Annual Report"),
        ("a" * 300 + ".pdf", None, "a" * 100),
        ("___.pdf", "Annual Report", "Annual Report"),
    ],
)
def test_a_document_s_label(filename: str, title: str | None, label: str) -> None:
    assert document_label(filename, title) == label
