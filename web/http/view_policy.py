"""Declarations of views: scopes, cost, idempotency.

Decorators (`requires`, `idempotent`, `accepts_upload`) write the declarations. The checks
before the views, the OpenAPI document and the worker read them.
"""

import inspect
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from typing import Any, Literal

from flask import Flask

from core.access.keys import Scope

_PARAMETER = re.compile(r"<[^>]+>")  # in a URL rule

# What a call counts in the rate limit: 1, CHAT_COST or UPLOAD_COST.
Cost = Literal["request", "chat", "upload"]


@dataclass(frozen=True, slots=True)
class ViewPolicy:
    """A view's declarations. A key needs one of `scopes`; without scopes, no key is needed."""

    scopes: tuple[Scope, ...] = ()
    cost: Cost = "request"
    is_idempotent: bool = False


# The key is the innermost function, which all decorators of a view share.
_policies: dict[Callable[..., Any], ViewPolicy] = {}


def declare(view: Callable[..., Any], **declared: Any) -> None:
    """Set fields of a view's ViewPolicy. For decorators, at import."""
    function = inspect.unwrap(view)
    _policies[function] = replace(_policies.get(function, ViewPolicy()), **declared)


@cache
def policy_of(view: Callable[..., Any]) -> ViewPolicy:
    """Return the ViewPolicy of a view function that Flask has registered."""
    return _policies.get(inspect.unwrap(view), ViewPolicy())


def turn_requests(app: Flask) -> re.Pattern[bytes]:
    """Return a pattern of the request lines that begin a chat turn, by the views' costs."""
    lines = [
        rf"{method} {'[^/ ]+'.join(map(re.escape, _PARAMETER.split(rule.rule)))}[ ?]"
        for rule in app.url_map.iter_rules()
        if policy_of(app.view_functions[rule.endpoint]).cost == "chat"
        for method in sorted((rule.methods or set()) & {"POST", "PUT"})
    ]
    return re.compile("|".join(lines).encode() or rb"(?!)")
