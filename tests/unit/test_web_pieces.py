"""Pure pieces of the web layer: the JSON guard, cursors, events, ranges."""

import json
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st
from werkzeug.exceptions import RequestedRangeNotSatisfiable

from core.db.paging import cursor_scope, decode_cursor, encode_cursor
from core.errors import Invalid
from web.http.downloads import parse_range
from web.http.request_checks import MAX_DEPTH, MAX_DIGITS, parse_json
from web.http.streaming import Event, encode

TEXTS = st.text(st.characters(codec="utf-8", exclude_characters="\0"))
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**40), 10**40) | TEXTS
    | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4),
    max_leaves=20,
)  # fmt: skip


@given(VALUES)
def test_sound_json_passes_unchanged(value: Any) -> None:
    assert parse_json(json.dumps(value).encode()) == value
    assert parse_json(json.dumps(value, ensure_ascii=False).encode()) == value


@given(st.binary(max_size=200))
def test_other_bytes_are_invalid_json(data: bytes) -> None:
    with suppress(Invalid):
        json.dumps(parse_json(data), allow_nan=False).encode()


@pytest.mark.parametrize("count", [MAX_DIGITS, MAX_DIGITS + 1])
def test_the_limit_of_digits(count: int) -> None:
    text = b'{"n": ' + b"1" * count + b"}"
    if count <= MAX_DIGITS:
        assert parse_json(text) == {"n": int("1" * count)}
    else:
        with pytest.raises(Invalid):
            parse_json(text)


@pytest.mark.parametrize("depth", [MAX_DEPTH, MAX_DEPTH + 1])
def test_the_limit_of_depth(depth: int) -> None:
    text = b"[" * depth + b"]" * depth
    if depth <= MAX_DEPTH:
        parse_json(text)
    else:
        with pytest.raises(Invalid):
            parse_json(text)


@given(st.datetimes(timezones=st.just(UTC)), st.uuids(), st.integers(0, 2**31 - 1))
def test_a_cursor_is_decoded_to_its_values(moment: datetime, key: UUID, seen: int) -> None:
    name = cursor_scope("x", a=1)
    cursor = encode_cursor(scope=name, keys=[moment, key], rows_before=seen)
    place = decode_cursor(cursor, scope=name, types=[datetime, UUID])
    assert (place.keys, place.rows_before) == ((moment, key), seen)


@given(st.text(max_size=100))
def test_a_forged_cursor_is_invalid(cursor: str) -> None:
    with pytest.raises(Invalid):
        decode_cursor(cursor, scope=cursor_scope("x"), types=[datetime, UUID])


def test_lists_with_other_filters_have_another_scope() -> None:
    key = uuid4()
    assert (
        len(
            {
                cursor_scope("a"),
                cursor_scope("b"),
                cursor_scope("a", x=None),
                cursor_scope("a", x=key),
            }
        )
        == 4
    )


@given(TEXTS)
def test_an_event_is_one_block_whatever_its_text(text: str) -> None:
    block = encode(Event("delta", {"content": text}), number=7).decode()
    head, _, rest = block.partition("\ndata: ")
    assert head == "id: 7\nevent: delta"
    assert rest.endswith("\n\n")
    assert "\n" not in rest[:-2]
    assert "\r" not in rest
    assert json.loads(rest) == {"content": text}


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ("bytes=0-0", (0, 1)),
        ("bytes=2-4", (2, 5)),
        ("Bytes=2-4", (2, 5)),  # units are case-insensitive
        ("bytes=, 2-4 ,", (2, 5)),  # empty elements are passed over
        ("bytes=8-", (8, 10)),
        ("bytes=8-99", (8, 10)),
        ("bytes=8-" + "9" * 30, (8, 10)),
        ("bytes=-3", (7, 10)),
        ("bytes=-10", (0, 10)),
        ("bytes=-99", (0, 10)),  # a suffix longer than the content is all of it
        ("", None),
        ("bytes", None),
        ("bytes=", None),
        ("bytes=-", None),
        ("bytes=4-2", None),
        ("bytes=+2-4", None),
        ("bytes=2-4-5", None),
        ("bytes=\u0662-\u0664", None),
        ("bytes=0-1,3-4", None),
        ("lines=0-1", None),
        ("bytes=0-" + "9" * 5000, None),
    ],
)
def test_ranges_follow_rfc_9110(asked: str, expected: tuple[int, int] | None) -> None:
    assert parse_range(asked, size=10) == expected


@pytest.mark.parametrize("asked", ["bytes=10-", "bytes=10-12", "bytes=-0", "bytes=-00"])
def test_a_range_without_a_byte_is_not_satisfiable(asked: str) -> None:
    with pytest.raises(RequestedRangeNotSatisfiable):
        parse_range(asked, size=10)
