"""Rules for schemathesis that the OpenAPI document cannot express. Its process loads them."""

from typing import Any
from uuid import uuid4

import schemathesis
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from schemathesis import Case, GenerationMode, HookContext

from tests.pdfs import make_pdf

_PDF = make_pdf(["A page."])

schemathesis.openapi.format("binary", st.binary(max_size=8).map(lambda tail: _PDF + b"%" + tail))


@schemathesis.hook
def before_call(context: HookContext, case: Case, kwargs: Any) -> None:
    """Apply two rules: only the service makes cursors, and each key is new."""
    mode = case.meta.generation.mode if case.meta else GenerationMode.POSITIVE
    if mode is not GenerationMode.POSITIVE:
        return
    (case.query or {}).pop("cursor", None)
    if "Idempotency-Key" in (case.headers or {}):
        case.headers["Idempotency-Key"] = str(uuid4())


@schemathesis.hook
def filter_body(context: HookContext, body: Any) -> bool:
    """Skip invalid forms that become valid as text, because every field of a form is text."""
    operation = context.operation
    if operation is None or operation.label != "POST /api/v1/documents":
        return True
    if not isinstance(body, dict) or "file" not in body:
        return True
    schema = operation.body[0].raw_schema
    written = {name: _as_text(value) for name, value in body.items()}
    return body == written or not Draft202012Validator(schema).is_valid(written)


def _as_text(value: Any) -> Any:
    return str(value) if isinstance(value, bool | int | float) else value
