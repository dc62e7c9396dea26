"""The service with a real LLM: SmolLM2-135M behind llama.cpp's server."""

import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from core.bootstrap import Services
from core.pdf import PdfParser
from core.settings import read_settings
from tests.conftest import API_KEY
from tests.fakes.llm_server import LLMServer
from tests.harness import SLOW_MACHINE_SECONDS
from tests.harness.local_llm import MODEL, LocalLLM
from tests.integration.steps import ingest, wait_until
from tests.integration.web.conftest import Caller
from tests.integration.web.turning import begin, message, parse, text_of
from tests.pdfs import make_pdf

OTTERS = "Otters live in the northern river and eat fish."
FILLER = "The harbour master of Norrskar counts every boat, crate and lantern at dawn. " * 25


@pytest.fixture
def ask_real(make_app: Callable[..., Any], real_llm: LocalLLM, llm: LLMServer) -> Any:
    """Make a caller of an app that uses the real LLM, and `llm` for its vectors."""

    def make(**settings: Any) -> Caller:
        app = make_app(
            **{
                "chat_provider": "openai",
                "chat_base_url": real_llm.base_url,
                "chat_model": MODEL,
                "chat_temperature": 0.0,
                "chat_timeout_seconds": 250,
                "embedding_provider": "openai",
                "embedding_base_url": llm.base_url,
                "embedding_model": "e",
            }
            | settings
        )
        return Caller(app, API_KEY, "reader")

    return make


def new_session(caller: Caller) -> str:
    # Without a title the LLM would write one after the first turn.
    session: str = caller.new_session(title="Otters")["id"]
    return session


def test_the_printed_settings_are_sufficient(real_llm: LocalLLM, servers_dir: Path) -> None:
    printed = re.findall(r"^(CHAT_[A-Z_]+)=(.*)$", (servers_dir / "llm.log").read_text(), re.M)
    settings = read_settings(**{name.lower(): value for name, value in printed})
    assert (settings.chat_provider, settings.chat_base_url) == ("openai", real_llm.base_url)
    assert settings.chat_model == MODEL


def test_a_streamed_answer_has_its_usage(ask_real: Any) -> None:
    caller = ask_real(chat_max_tokens=24)
    asked = {"message": "Say hello.", "stream": True, "use_rag": False}
    response = caller.post(f"/sessions/{new_session(caller)}/chat", asked)
    events = parse(response.text)
    names = [name for _, name, _ in events]
    assert names[-1] == "message_completed", events[-1]
    assert names.count("delta") > 1
    answer = events[-1][2]["assistant_message"]
    assert answer["content"] == text_of(events) != ""
    assert (answer["status"], answer["model"]) == ("complete", MODEL)
    assert answer["finish_reason"] in ("stop", "length")
    assert answer["usage"]["prompt_tokens"] > 20
    assert 1 < answer["usage"]["completion_tokens"] <= 24


def test_a_cancel_frees_the_slot(ask_real: Any, real_llm: LocalLLM) -> None:
    caller = ask_real(chat_max_tokens=900)
    session = new_session(caller)
    story = "Tell me a very long story about every animal of the forest, one after the other."
    answer = begin(caller, session, message=story, use_rag=False)
    assert real_llm.busy_slots() == 1
    cancelled_at = time.monotonic()
    assert caller.post(f"/messages/{answer}/cancel").status_code == 202
    wait_until(lambda: real_llm.busy_slots() == 0, what="a free slot")
    # 900 tokens take 20 s on a quick machine, longer on a slow one.
    assert time.monotonic() - cancelled_at < 1 + SLOW_MACHINE_SECONDS
    wait_until(lambda: message(caller, answer)["status"] == "interrupted", what="the end")
    assert message(caller, answer)["finish_reason"] == "cancelled"


def test_a_prompt_longer_than_the_window_is_answered_with_less(
    ask_real: Any, real_llm: LocalLLM, pdf_parser: PdfParser
) -> None:
    caller = ask_real(chat_max_tokens=16)
    services: Services = caller.app.extensions["services"]
    services.__dict__["pdf_parser"] = pdf_parser
    ingest(services, make_pdf([f"{OTTERS} {FILLER}"] * 4), user_id=caller.user_id)
    assert refusal_of(real_llm, prompt=FILLER * 4) == "exceed_context_size_error"

    response = caller.post(
        f"/sessions/{new_session(caller)}/chat", {"message": "Where do otters live?", "top_k": 20}
    )
    assert response.status_code == 200, response.text
    answer = response.get_json()["assistant_message"]
    assert (answer["status"], answer["content"] != "") == ("complete", True)
    assert 200 < answer["usage"]["prompt_tokens"] < 1024
    del services.__dict__["pdf_parser"]  # it serves the next test too


def refusal_of(llm: LocalLLM, *, prompt: str) -> str:
    body = {"messages": [{"role": "user", "content": prompt}], "max_tokens": 1}
    response = httpx.post(
        f"{llm.base_url}/chat/completions", json=body, timeout=250, trust_env=False
    )
    assert response.status_code == 400, response.text
    kind: str = response.json()["error"]["type"]
    return kind
