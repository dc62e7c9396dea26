"""Scores of candidates: words, sentences, names, periods, neighbours, repeats."""

from dataclasses import dataclass

import pytest

from core.search import ranking, repeats


@dataclass(frozen=True)
class Passage:
    text: str
    filename: str = "report.pdf"
    vector_score: float | None = 0.5
    ordinal: int = 0
    document_id: str = "d"
    title: str | None = None
    context: str = ""


def best(question: str, *candidates: Passage, weights: dict[str, float] | None = None) -> str:
    scores = ranking.score(question, candidates, weights=weights)
    assert scores.count(max(scores)) == 1, "nothing tells the best apart"
    return candidates[scores.index(max(scores))].text


def apart(*texts: str) -> list[Passage]:
    """Passages of different documents, so that none are neighbours."""
    return [Passage(text, ordinal=10 * place) for place, text in enumerate(texts)]


def test_nothing_to_order() -> None:
    assert ranking.score("What is it?", []) == []


@pytest.mark.parametrize("question", ["", "?", "what is it", "…", "( [ * \\"])
def test_a_question_without_words_leaves_the_cosine(question: str) -> None:
    candidates = [Passage("One.", vector_score=0.2), Passage("Two.", vector_score=0.7, ordinal=9)]
    assert best(question, *candidates) == "Two."


def test_a_rare_word_counts_for_more_than_a_common_one() -> None:
    rare, common = "The gearbox is of steel.", "The report is of steel and of the report."
    weights = {"gearbox": 6.0, "report": 0.5}
    assert best("gearbox report", *apart(common, rare), weights=weights) == rare


def test_words_are_compared_by_stem_and_whole() -> None:
    held = "Two cities were besieged in 1,066 days."
    for question in ("city", "besieging", "1,066"):
        assert best(question, *apart("Something else was said.", held)) == held
    beside = "The capacity of 066 litres was not besieg'd."
    scores = ranking.score("city 066 1,066", apart(held, "Nothing."), weights=None)
    assert scores[0] > scores[1]
    assert ranking.score("city", apart(beside)) == ranking.score("city", apart("Nothing at all."))


def test_words_of_scripts_without_spaces_and_with_marks() -> None:
    assert best("図書館", *apart("公園は広い。", "図書館は広い。")) == "図書館は広い。"
    assert best("ÉCOLE", *apart("Le parc est grand.", "L'école est grande.")).startswith("L'école")


def test_words_in_one_sentence_count_for_more_than_words_apart() -> None:
    together = "The bridge was opened by the king. It is made of stone and of a lot of iron."
    spread = "The bridge is made of stone. A lot of iron was opened. It was by the king, too."
    assert best("Which king opened the bridge?", *apart(spread, together)) == together


def test_neighbours_in_the_question_are_looked_for_as_neighbours() -> None:
    phrase = "A net income of two and sales of three were reported by the company in a year."
    parted = "Income was reported of two, and three of a net of sales were by the company in it."
    assert best("net income", *apart(parted, phrase)) == phrase


def test_the_lexemes_weights_are_found_for_the_questions_words() -> None:
    one, other = "All the companies were named.", "All the universities were named."
    low, high = {"compani": 0.1, "univers": 5.0}, {"compani": 5.0, "univers": 0.1}
    assert best("companies universities", *apart(one, other), weights=low) == other
    assert best("companies universities", *apart(one, other), weights=high) == one


def test_words_without_a_lexeme_count_too() -> None:
    held = "Vitamin B12 is found in liver."
    other = "Vitamin C is found in lemons."
    assert best("vitamin b12", *apart(other, held), weights={"vitamin": 1.0, "b12": 4.0}) == held


def test_a_name_with_the_question_s_period_ranks_higher() -> None:
    text = "Net sales rose."
    candidates = [
        Passage(f"{name}: {text}", filename=f"{name}.pdf", document_id=name)
        for name in ("2022_Q3_ACME", "2023_Q1_ACME", "2023_Q3_ACME")
    ]
    for question, name in {
        "What were the net sales in the third quarter of 2022?": "2022_Q3_ACME",
        "net sales Q1 2023": "2023_Q1_ACME",
        "What are the latest net sales?": "2023_Q3_ACME",
        "net sales in the most recent quarter": "2023_Q3_ACME",
    }.items():
        assert best(question, *candidates).startswith(name)


def test_the_latest_is_the_newest_of_each_series() -> None:
    names = ("acme-2021.pdf", "acme-2022.pdf", "other-2024.pdf")
    candidates = [Passage("Sales rose.", filename=name, document_id=name) for name in names]
    scores = ranking.score("latest sales", candidates)
    assert scores[1] > scores[0] == scores[2]


def test_a_word_in_the_name_does_not_distinguish_its_passages() -> None:
    named, silent = "Acme is a company. Acme is old.", "Sales rose, and so did the costs."
    candidates = [
        Passage(text, filename="acme.pdf", ordinal=place * 10)
        for place, text in enumerate((named, silent))
    ]
    scores = ranking.score("Acme sales", candidates, weights={"acm": 3.0, "sale": 1.0})
    assert scores[1] > scores[0]


def test_a_good_neighbour_lifts_a_passage() -> None:
    candidates = [
        Passage("Sales rose in the north.", ordinal=1, vector_score=0.9),
        Passage("It was so.", ordinal=2),
        Passage("It was so.", ordinal=5),
        Passage("It was so.", ordinal=2, document_id="other"),
    ]
    scores = ranking.score("sales north", candidates)
    assert scores[1] > scores[2] == scores[3]


def test_repeats_are_left_out_and_the_rest_moves_up() -> None:
    text = "The quick brown fox jumps over the lazy dog, and then it sleeps for a long time."
    texts = [text, f"{text} Quite long.", text.upper(), "Something else is told here.", "Third."]
    assert repeats.without_repeats(texts, limit=3) == [0, 3, 4]
    assert repeats.without_repeats(texts, limit=1) == [0]
    assert repeats.without_repeats([], limit=3) == []


def test_tables_with_other_numbers_are_no_repeats() -> None:
    rows = [" ".join(f"Sales {year} {year * 7 + n}" for year in range(40)) for n in range(2)]
    assert repeats.without_repeats(rows, limit=5) == [0, 1]


def test_a_word_s_share_is_bm25_s() -> None:
    """Robertson and Zaragoza (2009) with k1 0.6 and b 0.4, divided by its limit."""
    once, twice = "gearbox fillerz fillerz", "gearbox gearbox fillerz"
    scores = ranking.score("gearbox", apart(once, twice), weights={"gearbox": 2.0})
    assert scores[1] - scores[0] == pytest.approx(0.7 * (2 / 2.6 - 1 / 1.6))
    short, long = "gearbox", f"gearbox{' fillerz' * 9}"
    lengths = [len(f"\n\n{text}") for text in (short, long)]
    damping = [0.6 * (0.6 + 0.4 * length / (sum(lengths) / 2)) for length in lengths]
    scores = ranking.score("gearbox", apart(short, long), weights={"gearbox": 2.0})
    expected = 0.7 * (1 / (1 + damping[0]) - 1 / (1 + damping[1]))
    assert scores[0] - scores[1] == pytest.approx(expected)


def test_a_code_in_few_chunks_outweighs_any_cosine() -> None:
    near, exact = "Clear the fault.", "Fault ERR-4187."
    candidates = [Passage(near, vector_score=1.0), Passage(exact, vector_score=0.1, ordinal=9)]
    assert best("clear fault 4187", *candidates) == exact
    weights, common = {"4187": 1.0, "clear": 1.0, "fault": 1.0}, {"4187": 500.0}
    scores = ranking.score("clear fault 4187", candidates, weights=weights, frequency=common)
    assert scores[0] > scores[1]


def chunk_of_table(caption: str, *labels: str) -> str:
    rows = "\n".join(
        f"{label} | 2022: 1,{place}00 | 2021: 900" for place, label in enumerate(labels)
    )
    return f"{caption}\n{rows}"


def test_words_in_one_row_count_for_more_than_words_in_several() -> None:
    together = chunk_of_table("Output", "Africa, turbines", "Asia, pumps")
    spread = chunk_of_table("Output", "Africa, pumps", "Asia, turbines")
    assert best("turbines Africa", *apart(spread, together)) == together


def test_a_table_s_caption_belongs_to_each_of_its_rows() -> None:
    table = chunk_of_table("Sales", "Africa", "Europe")
    filler = "The plants were built by others, who left. " * 6
    captioned = f"Signs of it were good. {filler}\n{table}"
    mentioned = f"Sales of it were good. {filler}\n{table.replace('Sales', 'Staff')}"
    assert best("Europe sales", *apart(mentioned, captioned)) == captioned


def test_a_part_of_a_document_is_found_where_it_begins() -> None:
    heading, mention = "Note 9 - Goodwill\nIt fell.", "Goodwill, see Note 9 and Note 19."
    longer = "Note 90 - Goodwill\nNote 9.1 Goodwill"
    assert best("What is Note 9 about?", *apart(mention, longer, heading)) == heading


@pytest.mark.parametrize(
    ("question", "other", "held"),
    [
        ("opex of the mill", "Expenses of operating a mill", "Operating expenses of the mill"),
        ("chief technology officer", "The chief of the office", "Elsa Holm (CTO) is in the"),
        ("licence of the mill", "A list of the mill", "The license of the mill"),
    ],
)
def test_an_equivalent_of_a_word_counts_as_the_word(question: str, other: str, held: str) -> None:
    assert best(question, *apart(f"{other} are long.", f"{held} are long.")).startswith(held)


def test_a_word_with_an_equivalent_in_the_text_is_not_missing() -> None:
    assert ranking.missing_words({"opex", "mill"}, [Passage("Operating expenses.")]) == {"mill"}
