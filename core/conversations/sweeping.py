"""Closes answers whose web process died: on beat's clock, for sessions nobody looks at."""

from core.bootstrap import Services
from core.conversations.endings import close_expired
from core.telemetry import get_logger

log = get_logger(__name__)


def close_abandoned(services: Services) -> int:
    """End the answers whose lease ran out, with the text that is stored; how many."""
    with services.database.transaction(tenant_id=None) as db:
        closed = close_expired(db)
    if closed:
        log.warning("answers_closed", count=closed)
    return closed
