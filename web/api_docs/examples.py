"""Examples of bodies for the OpenAPI document. JSON examples are built from those of the fields."""

from collections.abc import Iterator
from typing import Any

from web.http.streaming import EVENT_STREAM

Document = dict[str, Any]

_EXAMPLES_BY_TYPE = {"boolean": False, "integer": 1, "number": 0.5, "string": "text", "object": {}}


TURN_EVENTS = """\
id: 1
event: message_created
data: {"user_message":{…}}

id: 2
event: retrieval
data: {"passages":[{"index":1,…}]}

id: 3
event: delta
data: {"content":"Revenue grew by 12 % [1]."}

id: 4
event: message_completed
data: {"assistant_message":{…}}

"""
_JOB_EVENTS = """\
id: 1
event: progress
data: {"id":"…","state":"running","progress":{"percent":40,…},…}

"""
_DOCUMENT_EVENTS = """\
id: 1
event: document
data: {"id":"…","status":"processing","job":{"state":"running",…},…}

"""
_METRICS = """\
# HELP rag_http_requests_total HTTP requests answered.
# TYPE rag_http_requests_total counter
rag_http_requests_total{method="GET",route="/api/v1/sessions",status="200"} 12.0
# HELP rag_jobs Jobs by state.
# TYPE rag_jobs gauge
rag_jobs{state="running"} 1.0
"""
_QUESTION: Document = {
    "position": 1,
    "sender": "user",
    "content": "How did revenue develop?",
    "retrieved_context": [],
    "model": None,
    "usage": None,
    "finish_reason": None,
}
# Responses that are not JSON, by operation. All turns share TURN_EVENTS.
BODIES = {
    "stream_answer": (EVENT_STREAM, TURN_EVENTS),
    "watch_documents": (EVENT_STREAM, _DOCUMENT_EVENTS),
    "watch_job": (EVENT_STREAM, _JOB_EVENTS),
    "show_metrics": ("text/plain", _METRICS),
}


def add_examples(document: Document) -> None:
    """Add an example to each JSON request and response body of `document` that has none."""
    for media in _json_bodies(document):
        if "example" not in media and "examples" not in media:
            media["example"] = _example(document, media["schema"])


def _json_bodies(document: Document) -> Iterator[Document]:
    for path in document["paths"].values():
        for operation in path.values():
            parts = [] if isinstance(operation, list) else [operation.get("requestBody", {})]
            parts += operation.get("responses", {}).values() if parts else []
            for part in parts:
                if "application/json" in part.get("content", {}):
                    yield part["content"]["application/json"]


def _example(document: Document, schema: Document) -> Any:
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return _example(document, document["components"]["schemas"][name])
    if "example" in schema:
        return schema["example"]
    if schema.get("nullable") or "type" not in schema:
        return None
    if "enum" in schema:
        return schema["enum"][0]
    if schema.get("type") == "array":
        return [_example(document, schema["items"])]
    if "properties" in schema:
        return _members(document, schema)
    return schema.get("default", _EXAMPLES_BY_TYPE[schema["type"]])


def _members(document: Document, schema: Document) -> Document:
    """Return the required members, and those that have an example."""
    required = schema.get("required", ())
    return {
        name: _example(document, member)
        for name, member in schema["properties"].items()
        if name in required or "example" in member
    }


def show_question_examples(paths: Document) -> None:
    """Show a question as the example where a message is one; the schema's example is an answer."""
    for path in paths.values():
        for operation in path.values():
            example = _json_example(operation, "200") if isinstance(operation, dict) else {}
            if "user_message" in example:
                example["user_message"] |= _QUESTION
    _json_example(paths["/api/v1/sessions/{session_id}/messages"]["post"], "201").update(_QUESTION)
    cancelled = _json_example(paths["/api/v1/messages/{message_id}/cancel"]["post"], "202")
    cancelled.update(status="interrupted", finish_reason="cancelled", content="Revenue grew")


def _json_example(operation: Document, status: str) -> Document:
    content = operation.get("responses", {}).get(status, {}).get("content", {})
    example = content.get("application/json", {}).get("example", {})
    return example if isinstance(example, dict) else {}
