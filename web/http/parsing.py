"""Parses requests into a view's arguments: webargs with strict JSON and errors by field path."""

from collections.abc import Callable, Mapping
from functools import wraps
from typing import Any, NoReturn, TypeVar, cast

import flask_smorest
import marshmallow
from flask import Request, request
from webargs.core import missing
from webargs.flaskparser import FlaskParser

from core.db.paging import PageRequest
from core.errors import Invalid, Unsupported
from web.http.request_checks import invalid, parse_json

View = TypeVar("View", bound=Callable[..., Any])

_JSON = "application/json"


class GuardedParser(FlaskParser):
    """webargs' parser, but unknown fields are errors, and invalid input gives 400."""

    DEFAULT_VALIDATION_STATUS = 400
    DEFAULT_UNKNOWN_BY_LOCATION = {  # noqa: RUF012  # as the base class has it
        "json": marshmallow.RAISE,
        "query": marshmallow.RAISE,
    }

    def use_args(
        self, argmap: Any, req: Any = None, *, location: str | None = None, **options: Any
    ) -> Callable[[View], View]:
        """Like webargs, but faster for a plain schema of the JSON body or the query string."""
        load = {"json": self.load_json, "query": self.load_querystring}.get(location or "json")
        if load is None or req is not None or options:
            decorate = super().use_args(argmap, req, location=location, **options)
            return cast("Callable[[View], View]", decorate)
        return self._use_schema(argmap, load, location or "json")

    def _use_schema(
        self, schema: marshmallow.Schema, load: Callable[..., Any], location: str
    ) -> Callable[[View], View]:
        def decorate(view: View) -> View:
            @wraps(view)
            def wrapper(*args: Any, **kwargs: Any) -> Any:
                given = load(request, schema)
                try:
                    data = {} if given is missing else given
                    taken = schema.load(data, unknown=marshmallow.RAISE)
                except marshmallow.ValidationError as error:
                    raise _invalid({location: error.messages}) from None
                return view(*args, taken, **kwargs)

            return cast(View, wrapper)

        return decorate

    def load_json(self, req: Request, schema: Any) -> Any:
        data = req.get_data()
        if not data:
            if getattr(schema, "body_required", False):
                raise invalid("body", "A body is required.")
            return missing
        if (
            req.content_type != _JSON
            and req.mimetype != _JSON
            and not req.mimetype.endswith("+json")
        ):
            raise Unsupported(f"The body must be {_JSON}.")
        return parse_json(data)

    def load_querystring(self, req: Request, schema: Any) -> Any:
        values = {}
        for name, given in req.args.lists():
            if len(given) > 1:
                raise invalid(name, "Must not be given twice.")
            values[name] = given[0]
        return values

    def handle_error(
        self, error: Any, req: Any, schema: Any, *, error_status_code: Any, error_headers: Any
    ) -> NoReturn:
        raise _invalid(error.messages)


def _flatten(path: str, messages: Any, found: dict[str, list[str]]) -> None:
    if isinstance(messages, Mapping):
        for name, inner in messages.items():
            deeper = path if name == "_schema" else f"{path}.{name}".strip(".")
            _flatten(deeper, inner, found)
    else:
        listed = messages if isinstance(messages, list) else [messages]
        found.setdefault(path or "body", []).extend(str(message) for message in listed)


class Blueprint(flask_smorest.Blueprint):  # type: ignore[misc]
    """flask-smorest's blueprint with `GuardedParser` and typed decorators."""

    ARGUMENTS_PARSER = GuardedParser()

    def route(self, rule: str, **options: Any) -> Callable[[View], View]:
        return cast("Callable[[View], View]", super().route(rule, **options))

    def arguments(self, schema: type[marshmallow.Schema], **options: Any) -> Callable[[View], View]:
        # Pass an instance. For a class, webargs creates an instance per request, which copies
        # every field and costs more than the rest of parsing.
        return cast("Callable[[View], View]", super().arguments(schema(), **options))

    def response(
        self, status_code: int, schema: Any = None, **options: Any
    ) -> Callable[[View], View]:
        return cast("Callable[[View], View]", super().response(status_code, schema, **options))

    def alt_response(self, status_code: int, **options: Any) -> Callable[[View], View]:
        return cast("Callable[[View], View]", super().alt_response(status_code, **options))


def load(schema: marshmallow.Schema, data: dict[str, Any]) -> dict[str, Any]:
    """Validate `data` from a form or a command line with `schema`. Raises Invalid."""
    try:
        loaded: dict[str, Any] = schema.load(data, unknown=marshmallow.RAISE)
    except marshmallow.ValidationError as error:
        raise _invalid({"form": error.messages}) from None
    return loaded


def take_page(query: dict[str, Any]) -> PageRequest:
    """Remove the paging parameters (schema `Paging`) from `query` and return them."""
    return PageRequest(
        limit=query.pop("limit"), skip=query.pop("skip"), cursor=query.pop("cursor", None)
    )


def _invalid(messages_by_location: Mapping[str, Any]) -> Invalid:
    fields: dict[str, list[str]] = {}
    for messages in messages_by_location.values():  # a field path does not name the location
        _flatten("", messages, fields)
    return Invalid("The request is not valid; see errors.", errors=fields)


def refuse_query() -> None:
    """Refuse query parameters in a view without any. Raises Invalid."""
    for name in request.args:
        raise invalid(name, "Unknown field.")
