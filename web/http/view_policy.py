"""What a view declares of itself: scopes, cost, idempotency.

Decorators write the declarations (`requires`, `idempotent`, `accepts_upload`). The checks
in front of the views and the OpenAPI document read them.
"""

import inspect
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from typing import Any, Literal

from core.access.keys import Scope

# What a call counts for in the rate limit: one request, CHAT_COST or UPLOAD_COST.
Cost = Literal["request", "chat", "upload"]


@dataclass(frozen=True, slots=True)
class ViewPolicy:
    """`scopes`: any one of them opens the view; empty if the view needs no key."""

    scopes: tuple[Scope, ...] = ()
    cost: Cost = "request"
    is_idempotent: bool = False


# By the innermost function, which all decorators of a view have in common.
_policies: dict[Callable[..., Any], ViewPolicy] = {}


def declare(view: Callable[..., Any], **declared: Any) -> None:
    """Add fields of ViewPolicy to what `view` declares. For decorators, at import."""
    function = inspect.unwrap(view)
    _policies[function] = replace(_policies.get(function, ViewPolicy()), **declared)


@cache
def policy_of(view: Callable[..., Any]) -> ViewPolicy:
    """What `view` declares, by its function as Flask has registered it."""
    return _policies.get(inspect.unwrap(view), ViewPolicy())
