from datetime import UTC, datetime

import pytest

from core.providers.retry_after import parse_retry_after


@pytest.mark.parametrize(
    ("value", "wait"),
    [
        ("0", 0.0),
        ("120", 120.0),
        (" 7\t", 7.0),
        # The three forms of section 5.6.7.
        ("Sun, 06 Nov 1994 08:49:37 GMT", 37.0),
        ("Sunday, 06-Nov-94 08:49:37 GMT", 37.0),
        ("Sun Nov  6 08:49:37 1994", 37.0),
        ("Sun, 06 Nov 1994 08:48:00 GMT", 0.0),
        (None, None),
        ("", None),
        (" ", None),
        ("1.5", None),
        ("-5", None),
        ("+5", None),
        ("1e3", None),
        ("1_000", None),
        ("٣", None),
        ("5, 6", None),
        ("5;", None),
        ("soon", None),
        ("nan", None),
        ("inf", None),
        ("9" * 400, None),
        ("Sun, 99 Nov", None),
        ("Sun, 99 Nov 1994 08:49:37 GMT", None),
        ("Sun, 06 Nov 99999 08:49:37 GMT", None),
        ("\0", None),
    ],
)
def test_either_form_of_rfc_9110_or_none(value: str | None, wait: float | None) -> None:
    now = datetime(1994, 11, 6, 8, 49, 0, tzinfo=UTC)
    assert parse_retry_after(value, now=now) == wait
