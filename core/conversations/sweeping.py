"""Ends answers whose web process died. A periodic task calls it for sessions nobody reads."""

from core.bootstrap import Services
from core.conversations.endings import close_expired
from core.telemetry import get_logger

log = get_logger(__name__)


def close_abandoned(services: Services) -> int:
    """End the answers whose lease has expired, with their stored text; return their number."""
    with services.database.transaction(tenant_id=None) as db:
        closed = close_expired(db)
    if closed:
        log.warning("answers_closed", count=closed)
    return closed
