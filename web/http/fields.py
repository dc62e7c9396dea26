"""Strict schema fields: each accepts only the form of a value that the OpenAPI document shows."""

import re
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from marshmallow import ValidationError, fields, validate

MAX_NAME = 255
MAX_TITLE = 1000
MAX_QUERY = 500  # 500 characters of 4 bytes, percent-encoded, fit a request line of 8,190 bytes

_NO_NUL = r"^[^\u0000]*$"
_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE | re.ASCII)
_DIGITS = re.compile(r"-?[0-9]{1,18}", re.ASCII)


class StrictInteger(fields.Integer):
    """An integer: 5, but not 5.0, "5" or true."""

    def _deserialize(self, value: Any, attr: Any, data: Any, **kwargs: Any) -> int:
        if type(value) is not int:
            raise self.make_error("invalid")
        return value


class StrictBoolean(fields.Boolean):
    """true or false, but not "yes", "on" or 1."""

    def _deserialize(self, value: Any, attr: Any, data: Any, **kwargs: Any) -> bool:
        if not isinstance(value, bool):
            raise self.make_error("invalid", input=value)
        return value


class QueryInteger(fields.Integer):
    """An integer in a query string: digits only."""

    def _deserialize(self, value: Any, attr: Any, data: Any, **kwargs: Any) -> int:
        if not isinstance(value, str) or not _DIGITS.fullmatch(value):
            raise self.make_error("invalid")
        return int(value)


class QueryBoolean(fields.Boolean):
    """`true` or `false` in a query string."""

    def _deserialize(self, value: Any, attr: Any, data: Any, **kwargs: Any) -> bool:
        if value not in ("true", "false"):
            raise self.make_error("invalid", input=value)
        return bool(value == "true")


class Text(fields.String):
    """A string of `least` to `most` characters. It is not changed."""

    def __init__(self, *, least: int = 1, most: int | None = None, **kwargs: Any) -> None:
        given = kwargs.pop("validate", None)
        rules = [validate.Length(min=least, max=most)] + ([given] if given else [])
        # Only for the OpenAPI document, because `web.http.request_checks` enforces it.
        kwargs["metadata"] = {"pattern": _NO_NUL} | kwargs.get("metadata", {})
        super().__init__(validate=rules, **kwargs)

    def _deserialize(self, value: Any, attr: Any, data: Any, **kwargs: Any) -> str:
        if not isinstance(value, str):
            raise self.make_error("invalid")
        return value


class StrictUUID(fields.UUID):
    """A UUID with hyphens (RFC 9562, 4), in upper or lower case, as in a URL's path.

    Python's UUID would also accept other forms: without hyphens, in braces, or `urn:uuid:…`.
    """

    def _deserialize(self, value: Any, attr: Any, data: Any, **kwargs: Any) -> UUID:
        if not isinstance(value, str) or not _UUID.fullmatch(value):
            raise self.make_error("invalid_uuid")
        return UUID(value)


class UtcDateTime(fields.AwareDateTime):
    """A time with an offset, converted to UTC, because PostgreSQL accepts only offsets to 15:59."""

    def _deserialize(self, value: Any, attr: Any, data: Any, **kwargs: Any) -> datetime:
        given = super()._deserialize(value, attr, data, **kwargs)
        try:
            return given.astimezone(UTC)
        except OverflowError:
            raise self.make_error("invalid", input=value, obj_type=self.OBJ_TYPE) from None


class JsonObject(fields.Dict):
    """Any JSON object. It is not changed."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(keys=fields.String(), **kwargs)

    def _deserialize(self, value: Any, attr: Any, data: Any, **kwargs: Any) -> dict[str, Any]:
        if not isinstance(value, dict):
            raise ValidationError("Must be an object.")
        return value
