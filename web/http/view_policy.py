"""Declarations of views: scopes, cost, idempotency.

Decorators (`requires`, `idempotent`, `accepts_upload`) write the declarations. The checks
before the views and the OpenAPI document read them.
"""

import inspect
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from typing import Any, Literal

from core.access.keys import Scope

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
