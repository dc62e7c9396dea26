"""The `Retry-After` header of HTTP."""

from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

# More than any sensible wait, and few enough digits for a float.
_MAX_DIGITS = 9


def parse_retry_after(value: str | None, *, now: datetime) -> float | None:
    """Seconds to wait by a `Retry-After` header; never negative.

    RFC 9110, section 10.2.3: a whole number of seconds or an HTTP date. None if there is none,
    or if it is neither.
    """
    stripped = (value or "").strip(" \t")
    if stripped.isascii() and stripped.isdecimal():
        return float(stripped) if len(stripped) <= _MAX_DIGITS else None
    try:
        date = parsedate_to_datetime(stripped)
        # An HTTP date is in GMT, also where it names no zone (asctime's form).
        wait = (date.replace(tzinfo=date.tzinfo or UTC) - now).total_seconds()
    except (ValueError, OverflowError):
        return None
    return max(wait, 0.0)
