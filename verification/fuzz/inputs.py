"""Hostile values, and golden documents changed in some bytes or fields."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import strategies as st

_HOSTILE = st.sampled_from(
    ["\ud800", "a\udfff", "\x00\x1b[2J", "\u202e", "x" * 5000, "x" * 70_000, 10**400, -(10**400), float("nan"),
     float("inf"), float("-inf"), 1e308]
)  # fmt: skip
"""What Python writes and reads as JSON, and others do not, or what is longer than any field."""
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20) | _HOSTILE,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=10), inner, max_size=3),
    max_leaves=8,
)
_FRAGMENTS = st.sampled_from(
    [b"", b"NaN", b"-Infinity", b"1e999", b"\xef\xbb\xbf", b"}", b"[" * 9, b"\\ud800", b'"\\udfff"', b"9" * 5000,
     b"x" * 5000, b"[" * 60_000, b"[" * 100 + b"]" * 100, b'{"a":' * 20_000 + b"1" + b"}" * 20_000]
)  # fmt: skip
_LEFT_OUT = object()


def changed_bytes(golden: bytes) -> st.SearchStrategy[bytes]:
    """Cut out, put in, cut off: at any place, so much of anything."""
    at = st.integers(0, len(golden))
    return st.builds(
        lambda start, length, new: golden[:start] + new + golden[start + length :],
        at,
        st.integers(0, 40) | at,
        st.binary(max_size=12) | _FRAGMENTS,
    )  # fmt: skip


def changed_json(golden: Any) -> st.SearchStrategy[Any]:
    """Another value at any place, however deep, or one that is left out."""
    return st.builds(
        lambda place, value: _with(golden, place, value), st.sampled_from(_places(golden)), JSON | st.just(_LEFT_OUT)
    )


def _places(golden: Any, place: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    inner = golden.items() if isinstance(golden, dict) else enumerate(golden) if isinstance(golden, list) else ()
    return [place, *(found for key, value in inner for found in _places(value, (*place, key)))]


def _with(golden: Any, place: tuple[Any, ...], value: Any) -> Any:
    if not place:
        return None if value is _LEFT_OUT else value
    key, *rest = place
    changed = golden.copy()
    if not rest and value is _LEFT_OUT:
        del changed[key]
    else:
        changed[key] = _with(golden[key], tuple(rest), value)
    return changed


def documents_like(*golden: bytes) -> st.SearchStrategy[bytes]:
    """Anything, or one of these documents, changed as bytes or as JSON."""
    values = [JSON, *(changed_json(json.loads(one)) for one in golden)]
    written = (one.map(lambda value: json.dumps(value).encode()) for one in values)
    return st.one_of(st.binary(max_size=300), *map(changed_bytes, golden), *written)
