"""By whom a sentence says that something was done."""

import pytest

from core.answering.agents import agent_fit, find_agent

TEXT = "Though Ek gave a boat, most of the ropes were given by his aunt Elsa Holm in 1912, as was"


@pytest.mark.parametrize(
    ("question", "text", "agent", "fit"),
    [
        ("Who donated the ropes?", TEXT, "his aunt Elsa Holm", 1),
        ("Who sold the ropes?", TEXT, None, 0),
        ("Who has replaced Alvar as mayor?", "Alvar was replaced by Bo Ek, a cook.", "Bo Ek", 1),
        ("Who replaced Alvar as mayor?", "Holm was quickly replaced by Alvar.", None, -1),
        ("Where was Ek replaced?", "Ek was replaced by Bo Alm.", None, 0),
        ("Who is the mayor?", "He was seen by the mayor.", None, 0),
    ],
)
def test_who_did_it(question: str, text: str, agent: str | None, fit: int) -> None:
    assert (find_agent(question, text), agent_fit(question, text)) == (agent, fit)
