"""What the document cannot say of its formats, for schemathesis; loaded by its process."""

from typing import Any
from uuid import uuid4

import schemathesis
from hypothesis import strategies as st
from schemathesis import Case, GenerationMode, HookContext

from tests.pdfs import make_pdf

_PDF = make_pdf(["A page."])

schemathesis.openapi.format("binary", st.binary(max_size=8).map(lambda tail: _PDF + b"%" + tail))


@schemathesis.hook
def before_call(context: HookContext, case: Case, kwargs: Any) -> None:
    """Of two rules the document cannot state: only the service makes cursors, and a key is new."""
    mode = case.meta.generation.mode if case.meta else GenerationMode.POSITIVE
    if mode is not GenerationMode.POSITIVE:
        return
    (case.query or {}).pop("cursor", None)
    if "Idempotency-Key" in (case.headers or {}):
        case.headers["Idempotency-Key"] = str(uuid4())
