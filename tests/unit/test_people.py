"""Who has a role, which documents a question names, and questions that compare documents."""

import pytest

from core.answering.comparing import find_sides
from core.answering.naming import lacks_name, passages_about
from core.answering.passages import Passage
from core.answering.people import find_person


def passage(index: int, text: str, filename: str = "file.pdf") -> Passage:
    return Passage(index, filename, filename, 1, 1, f"chunk-{index}", text, "", 1.0)


@pytest.mark.parametrize(
    ("question", "text", "said"),
    [
        (
            "Who is the principal investigator of the walking study?",
            "Title: Walking\nPrincipal investigator: Dr. Elsa Holm\nFaculty sponsor: Dr. Bo Ek",
            "Principal investigator: Dr. Elsa Holm",
        ),
        (
            "Who is the sponsor of the study?",
            "Sponsor number: 12\nSponsor:\nNorrland University Hospital",
            "Sponsor: Norrland University Hospital",
        ),
        (
            "Who is the CEO of Acme?",
            "“A good year,” said Elsa Holm, chief executive officer. Bo Ek left.",
            "Elsa Holm, chief executive officer",
        ),
        (
            "Who is Acme's chief financial officer?",
            "“It has Bo Ek’s vote,” said Elsa Holm, Chief Financial Officer of Acme, on May 3.",
            "Elsa Holm, Chief Financial Officer of Acme",
        ),
        (
            "Who is chairman and managing director of Acme?",
            "Letter to the owners\nShri Bo T. Ek ` 2,54\nChairman & Managing Director\nCosts",
            "Shri Bo T. Ek, Chairman & Managing Director",
        ),
        (
            "who runs acme europe",
            "Elsa Holm | Age: 51 | Title: Chief Executive Officer, Asia\n"
            "Bo Ek | Age: 55 | Title: Chief Executive Officer, Europe",
            "Bo Ek: Chief Executive Officer, Europe",
        ),
        (
            "Who handles media enquiries at Acme?",
            "Investor Contacts:\nElsa Holm\nMedia Contact:\nBo Ek\nVice President",
            "Media Contact: Bo Ek",
        ),
        (
            "acme chief risk officer",
            "Elsa Holm, Chief Executive Officer, and Bo Ek, Chief Risk Officer, signed it.",
            "Bo Ek, Chief Risk Officer",
        ),
        (
            "Who was the last keeper of the lighthouse?",
            "The last keeper, Elsa Holm, left the island in 1962.",
            "Elsa Holm, the last keeper",
        ),
        (
            "harbour commissioner may 2019",
            "Harbour Commissioner: Elsa Holm\nMayor: Bo Ek",
            "Harbour Commissioner: Elsa Holm",
        ),
        (
            "Who is the headmaster of Vinga School?",
            "Guests: Mayor Bo Ek and\nHeadmaster Elsa Holm",
            "Elsa Holm, Headmaster",
        ),
        (
            "Who is the CFO of Acme?",
            "Elsa Holm, Executive Vice President and Chief Financial and Strategy Officer",
            "Elsa Holm, Executive Vice President and Chief Financial and Strategy Officer",
        ),
        (
            "Who leads internal audit at Acme?",
            "Bo Ek 51 Chief Marketing Officer since 2019.\n"
            "Elsa Holm 48 Chief Internal Audit Officer since 2020.",
            "Elsa Holm, Chief Internal Audit Officer since 2020",
        ),
        (
            "Who is in charge of Acme's Ropes & Sails business?",
            "Elsa Holm | 51 | Group President, Tools | 2020 | Vice President, Ropes & Sails, "
            "2015-2020\nBo Ek | 55 | Group President, Ropes & Sails | 2021 | Director, 2012-2021",
            "Bo Ek: Group President, Ropes & Sails",
        ),
        (
            "Who runs the ferry business in South America?",
            "Elsa Holm was appointed President, Ferries Europe, effective 2019. Bo Ek has served "
            "as President, Ferries South America since 2020.",
            "Bo Ek, President, Ferries South America since 2020",
        ),
        (
            "Who is the president of Acme International?",
            "Elsa Holm 51 President, Tools since 2020.\n"
            "Bo Ek 48 Senior Vice President and President, Acme International since 2021.",
            "Bo Ek, Senior Vice President and President, Acme International since 2021",
        ),
        (
            "Who manages the northern harbour office?",
            "For more details, write to the people below or call them on any working day.\n"
            "CONTACT : Bo\nEk, Manager, Northern Harbour Office, 2 Quay Street, Visby.",
            "Bo Ek, Manager, Northern Harbour Office",
        ),
        (
            "Who do I contact about the data set of ferry routes?",
            "A guide to the data set of ferry routes.\n\nContact Person:\n\nBo Ek, Analyst",
            "Contact Person: Bo Ek, Analyst",
        ),
        (
            "visby harbour master 2017 fire commissioner",
            "City of Visby\nElsa Holm\nBo de Ek\nHarbour Master\nFire Commissioner\nReport",
            "Bo de Ek, Fire Commissioner",
        ),
        (
            "Who audited Acme in 2021?",
            "Holm & Ek LLP has served as the Company’s auditor since 2005.",
            "Holm & Ek LLP, Company’s auditor since 2005",
        ),
        (
            "Who are Acme's auditors?",
            "The statements were audited by Holm & Ek LLP, an independent registered public"
            " accounting firm.",
            "Holm & Ek LLP, independent registered public accounting firm",
        ),
        (
            "Which firm audits Acme?",
            "Report of Independent Registered Public Accounting Firm\nWe audited it.\n"
            "/s/ Holm & Ek LLP\nVisby",
            "Holm & Ek LLP",
        ),
        (
            "Who is the chief engineer?",
            "The ship has a chief engineer, Elsa Holm, and a cook.",
            "Elsa Holm, a chief engineer",
        ),
    ],
)
def test_who_has_a_role(question: str, text: str, said: str) -> None:
    found = find_person(question, [passage(1, "Nothing."), passage(2, text)])
    assert found is not None
    assert (found.text, found.passage.index) == (said, 2)


@pytest.mark.parametrize(
    ("question", "text"),
    [
        ("Who is the president of Acme?", "Elsa Holm, Vice President of Acme, spoke."),
        ("Who is the CEO of Acme?", "Elsa Holm, the former chief executive officer, spoke."),
        ("Who is the sponsor?", "Sponsor R&D No: 12"),
        ("Who leads the internal audit?", "Holm & Ek LLP is our auditor."),
        ("Who runs Acme Sails?", "Elsa Holm | 51 | Director, Acme Sails, 2012-2016"),
        ("Who bought the Vinga lighthouse?", "Elsa Holm, the keeper, bought the lighthouse."),
        ("Where is the president?", "Elsa Holm, president of Acme, spoke."),
        ("pay of the finance director", "Elsa Holm, the finance manager, spoke."),
        ("number of vice presidents", "Elsa Holm, vice president, spoke."),
    ],
)
def test_nobody_has_another_role(question: str, text: str) -> None:
    assert find_person(question, [passage(1, text)]) is None


BOTH = (
    passage(1, "Norrskar Ltd employs 12 people.", "norrskar.pdf"),
    passage(2, "Vinga Ltd employs 40 people.", "report.pdf"),
    passage(3, "Our people work hard.", "report.pdf"),
)


@pytest.mark.parametrize(
    ("question", "kept"),
    [
        ("how many people work at norrskar", [1]),
        ("How many people does Vinga employ?", [2, 3]),
        ("How many people work at Norrskar and Vinga?", [1, 2, 3]),
        ("How many people are there in May?", [1, 2, 3]),
        ("How many people work at Kullen?", [1, 2, 3]),
    ],
)
def test_passages_of_other_documents_are_left_out(question: str, kept: list[int]) -> None:
    assert [one.index for one in passages_about(question, BOTH)] == kept


@pytest.mark.parametrize(
    ("question", "lacks"),
    [
        ("How many people work at Vinga?", False),  # the document is about it
        ("How many people work at Kullen?", True),
        ("How many people work at the Vingga?", False),  # misspelt
        ("How many Swedish people work there?", False),
        ("How Many People Work At Kullen", False),  # a title's capitals tell nothing
        ("how many people work at kullen", False),
    ],
)
def test_a_name_that_a_document_does_not_have(question: str, lacks: bool) -> None:
    assert lacks_name(question, BOTH[2], BOTH) is lacks


@pytest.mark.parametrize(
    ("question", "sides"),
    [
        (
            "How many people work at Norrskar and Vinga?",
            {
                "How many people work at Norrskar and ?": [1],
                "How many people work at and Vinga?": [2, 3],
            },
        ),
        ("compare people norrskar report", {"people norrskar": [1], "people report": [2, 3]}),
        ("How many people work at Norrskar?", {}),
        ("Does Norrskar deliver to Vinga?", {}),
        ("How many people work at Norrskar or Vinga?", {}),
    ],
)
def test_the_documents_that_a_question_compares(question: str, sides: dict[str, list[int]]) -> None:
    found = find_sides(question, BOTH)
    assert {one.question: [item.index for item in one.passages] for one in found} == sides
