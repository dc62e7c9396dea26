"""An id has one spelling everywhere: the canonical one, with digits in either case."""

from typing import Any

import pytest

from tests.integration.web.conftest import Caller
from tests.integration.web.test_documents import upload

SPELLINGS = {
    "urn": "urn:uuid:{0}",
    "braces": "{{{0}}}",
    "no hyphens": "{1}",
    "no hyphens, braces": "{{{1}}}",
    "hyphens elsewhere": "{2}",
    "blank before": " {0}",
    "newline after": "{0}\n",
}


@pytest.fixture(params=SPELLINGS.values(), ids=SPELLINGS.keys())
def spell(request: pytest.FixtureRequest) -> Any:
    """Writes an id in a form that Python's UUID accepts, or almost."""

    def write(canonical: str) -> str:
        digits = canonical.replace("-", "")
        pairs = "-".join(digits[start : start + 4] for start in range(0, 32, 4))
        written: str = request.param.format(canonical, digits, pairs)
        return written

    return write


def test_other_spellings_are_404_in_paths(alice: Caller, spell: Any) -> None:
    session = alice.new_session()["id"]
    for path in ("/sessions/{}", "/sessions/{}/messages", "/messages/{}", "/jobs/{}"):
        response = alice.get(path.format(spell(session)).replace("\n", "%0A"))
        assert (response.status_code, response.get_json()["code"]) == (404, "not_found"), path


def test_other_spellings_are_invalid_in_bodies_and_queries(alice: Caller, spell: Any) -> None:
    session = alice.new_session()["id"]
    accepted = upload(alice, user_id="alice").get_json()
    document = accepted["document"]["id"]
    asked = {"message": "x", "document_ids": [document, spell(document)]}
    calls = {
        "session_id": [
            alice.get("/documents", query_string={"session_id": spell(session)}),
            alice.post("/search", {"query": "x", "session_id": spell(session)}),
            upload(alice, session_id=spell(session)),
        ],
        "document_id": [alice.get("/jobs", query_string={"document_id": spell(document)})],
        "document_ids.0": [
            alice.post("/search", {"query": "x", "document_ids": [spell(document)]})
        ],
        "document_ids.1": [alice.post(f"/sessions/{session}/chat", asked)],
    }
    for field, responses in calls.items():
        for response in responses:
            assert response.status_code == 400, response.text
            assert list(response.get_json()["errors"]) == [field]


def test_the_case_of_the_digits_does_not_matter(alice: Caller) -> None:
    session = alice.new_session()["id"].upper()
    assert alice.get(f"/sessions/{session}").status_code == 200
    made = upload(alice, session_id=session).get_json()["document"]
    listed = alice.get("/documents", query_string={"session_id": session}).get_json()
    assert [item["id"] for item in listed["items"]] == [made["id"]]
    jobs = alice.get("/jobs", query_string={"document_id": made["id"].upper()}).get_json()
    assert jobs["total"] == 1


@pytest.mark.parametrize(
    "value", [5, True, {}, [], "x" * 32, "٠" * 8 + "-0000-0000-0000-" + "0" * 12]
)
def test_a_value_that_is_not_an_id_is_invalid(alice: Caller, value: Any) -> None:
    response = alice.post("/search", {"query": "x", "session_id": value})
    assert response.status_code == 400
    assert list(response.get_json()["errors"]) == ["session_id"]
