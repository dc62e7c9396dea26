"""Examples of whole bodies for the OpenAPI document, built from those of the fields."""

from collections.abc import Iterator
from typing import Any

Document = dict[str, Any]

_OF_TYPE = {"boolean": False, "integer": 1, "number": 0.5, "string": "text", "object": {}}


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
    return schema.get("default", _OF_TYPE[schema["type"]])


def _members(document: Document, schema: Document) -> Document:
    """The required members, and those that have an example."""
    required = schema.get("required", ())
    return {
        name: _example(document, member)
        for name, member in schema["properties"].items()
        if name in required or "example" in member
    }
