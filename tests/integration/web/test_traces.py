"""Traces over HTTP, and citations: from the upload to the page image with the quote."""

import io
from collections.abc import Callable
from typing import Any

import pytest
from PIL import Image

from core.documents import ingestion
from tests.fakes.llm_server import LLMServer, Reply
from tests.integration.web.conftest import Caller
from tests.pdfs import make_pdf
from web.api.traces import Trace

TEXT = "The lighthouse of Norrskar was built in 1847 by Albin Lind. It is 31 metres high."


@pytest.fixture
def llm(llm: LLMServer) -> LLMServer:
    llm.default = Reply(deltas=["It was built in 1847 [1]."])
    return llm


def ask(caller: Caller, **body: Any) -> dict[str, Any]:
    session = caller.new_session()["id"]
    response = caller.post(f"/sessions/{session}/chat", {"message": "When was it built?", **body})
    assert response.status_code == 200, response.text
    answer: dict[str, Any] = response.get_json()
    return answer


def upload(caller: Caller) -> str:
    form = {"file": (io.BytesIO(make_pdf([TEXT])), "a.pdf"), "user_id": caller.user_id}
    response = caller.post("/documents", data=form, content_type="multipart/form-data")
    while ingestion.process_next_range(caller.app.extensions["services"]):
        pass
    made: str = response.get_json()["document"]["id"]
    return made


def test_an_answer_leads_to_its_trace_and_to_the_quote_on_its_page(asker: Caller) -> None:
    document = upload(asker)
    answer = ask(asker, document_ids=[document])["assistant_message"]
    passage = answer["retrieved_context"][0]
    assert passage["quote"] == "The lighthouse of Norrskar was built in 1847 by Albin Lind."
    trace = asker.get(f"/messages/{answer['id']}/trace").get_json()
    assert Trace().validate(trace) == {}
    assert trace["query"] == "When was it built?"
    assert [one["in_prompt"] for one in trace["candidates"]] == [True]
    assert trace["candidates"][0]["chunk_id"] == passage["chunk_id"]
    assert trace["candidates"][0]["filename"] == "a.pdf"
    assert (trace["model"], trace["usage"]) == (answer["model"], answer["usage"])
    assert answer["context_metadata"] == {"support": 1.0}
    assert trace["support"]["share"] == 1.0
    path = f"/documents/{document}/pages/{passage['page_start']}/image"
    plain = asker.get(path)
    marked = asker.get(path, query_string={"highlight": passage["quote"]})
    assert plain.headers["Content-Type"] == marked.headers["Content-Type"] == "image/png"
    assert yellow(marked.data) > 200 > yellow(plain.data) == 0
    assert asker.get(path, query_string={"highlight": passage["quote"]}).data == marked.data


def test_a_statement_that_no_passage_supports_is_marked(asker: Caller, llm: LLMServer) -> None:
    document = upload(asker)
    llm.default = Reply(deltas=["It was built in 1848 by Albin Lind [1]."])
    answer = ask(asker, document_ids=[document])["assistant_message"]
    assert answer["content"] == "It was built in 1848 by Albin Lind [1]."
    assert answer["context_metadata"] == {"support": 0.5}
    (statement,) = asker.get(f"/messages/{answer['id']}/trace").get_json()["support"]["statements"]
    assert statement["supported"] is False
    assert [(one["text"], one["supported"]) for one in statement["claims"]] == [
        ("1848", False),
        ("Albin Lind", True),
    ]


def test_a_cached_image_is_not_sent_again(
    asker: Caller, make_caller: Callable[..., Caller]
) -> None:
    document = upload(asker)
    path = f"/documents/{document}/pages/1/image"
    plain = asker.get(path)
    marked = asker.get(path, query_string={"highlight": "Albin Lind"})
    assert plain.headers["Cache-Control"] == "private, no-cache"
    etag = plain.headers["ETag"]
    assert etag != marked.headers["ETag"]
    for condition in (etag, f"W/{etag}", f'"other", {etag}', "*"):
        known = asker.get(path, headers={"If-None-Match": condition})
        assert (known.status_code, known.data) == (304, b""), condition
        assert known.headers["ETag"] == etag
        assert "Content-Type" not in known.headers
    for condition in ('"other"', marked.headers["ETag"]):
        changed = asker.get(path, headers={"If-None-Match": condition})
        assert (changed.status_code, changed.data) == (200, plain.data), condition
    stranger = Caller(asker.app, make_caller("charlie", tenant="elsewhere").key, "charlie")
    assert stranger.get(path, headers={"If-None-Match": etag}).status_code == 404
    assert asker.delete(f"/documents/{document}").status_code == 204
    assert asker.get(path, headers={"If-None-Match": etag}).status_code == 404


def yellow(image: bytes) -> int:
    pixels = Image.open(io.BytesIO(image)).convert("RGB").get_flattened_data()
    return sum(red > 200 and green > 180 and blue < 160 for red, green, blue in pixels)


def test_a_streamed_answer_has_a_trace_too(asker: Caller) -> None:
    session = asker.new_session()["id"]
    asker.post(f"/sessions/{session}/chat", {"message": "Hello?", "stream": True})
    answer = asker.get(f"/sessions/{session}/messages").get_json()["items"][-1]
    trace = asker.get(f"/messages/{answer['id']}/trace").get_json()
    assert Trace().validate(trace) == {}


def test_an_imported_or_appended_answer_has_no_trace(
    asker: Caller, make_caller: Callable[..., Caller], unknown_id: str
) -> None:
    answered = ask(asker, use_rag=False)
    appended = asker.say(asker.new_session()["id"], sender="assistant")
    stranger = make_caller("charlie", tenant="elsewhere")
    assert asker.get(f"/messages/{answered['assistant_message']['id']}/trace").status_code == 200
    for caller, id_ in (
        (asker, answered["user_message"]["id"]),
        (asker, appended["id"]),
        (asker, unknown_id),
        (stranger, answered["assistant_message"]["id"]),
    ):
        response = caller.get(f"/messages/{id_}/trace")
        assert (response.status_code, response.get_json()["code"]) == (404, "trace_not_found")
