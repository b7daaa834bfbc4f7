"""Reads and writes JSON documents, strictly."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from datetime import datetime
from typing import Any, NoReturn

from chronos_ec2.domain.errors import InvalidDocument
from chronos_ec2.domain.parsing.names import _CONTROL, one_line
from chronos_ec2.domain.parsing.times import parse_time

MAX_DOCUMENT_BYTES = 64 * 1024
"""A lock or heartbeat has about a thousand bytes; nothing of ours comes near this size."""
MAX_DEPTH = 64
"""Nested objects and lists in a document: far fewer than Python's recursion allows anywhere."""
MAX_TEXT = 4096
"""Characters of a text."""


def dump_json(document: Mapping[str, Any]) -> bytes:
    """A document as JSON: UTF-8, keys in the given order, no NaN. Lone surrogates become question marks."""
    return _ENCODER.encode(document).encode(errors="replace")


def load_json(raw: bytes, what: str, limit: int = MAX_DOCUMENT_BYTES) -> dict[str, Any]:
    """The JSON object in `raw`; lone surrogates in it become question marks.

    Raises:
        InvalidDocument: it is too large or too deep, not UTF-8, not JSON or not an object, or a number is not finite.
    """
    if len(raw) > limit:
        raise InvalidDocument(f"{what}: more than {limit} bytes")
    try:
        text = raw.decode()
        document = _DECODER.decode(text)
        # Only a document with so many brackets can be too deep, and only one with escapes can have lone surrogates.
        if text.count("[") + text.count("{") > MAX_DEPTH:
            _check_depth(document)
        if "\\u" in text:
            document = _DECODER.decode(_ENCODER.encode(document).encode(errors="replace").decode())
    except (ValueError, RecursionError) as error:
        raise InvalidDocument(f"{what}: not JSON: {one_line(str(error), 120)}") from error
    if not isinstance(document, dict):
        raise InvalidDocument(f"{what}: a JSON {type(document).__name__}, not an object")
    return document


def _check_depth(document: object) -> None:
    """Raise ValueError for a document that is nested too deep."""
    level: list[Any] = [document]
    for _ in range(MAX_DEPTH):
        inner = [value.values() if isinstance(value, dict) else value for value in level]
        level = [value for values in inner for value in values if isinstance(value, dict | list)]
        if not level:
            return
    raise ValueError(f"nested more than {MAX_DEPTH} deep")


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def _finite(text: str) -> float:
    if math.isinf(number := float(text)):
        raise ValueError(f"{text[:40]} is too large")
    return number


# Created once: for documents of this size, creating them takes as long as using them.
_ENCODER = json.JSONEncoder(allow_nan=False, ensure_ascii=False, check_circular=False)
_DECODER = json.JSONDecoder(parse_constant=_refuse_constant, parse_float=_finite)


class Fields:
    """Typed access to the fields of a document. Every error is an InvalidDocument that names document and field."""

    def __init__(self, document: Mapping[str, Any], what: str) -> None:
        self._document = document
        self._what = what

    def _get(self, name: str, kinds: type | tuple[type, ...]) -> Any:
        value = self._document.get(name)
        if value.__class__ is bool and kinds is not bool:
            raise InvalidDocument(f"{self._what}: field {name!r} is a boolean")
        if not isinstance(value, kinds):
            raise InvalidDocument(f"{self._what}: field {name!r} is missing or of the wrong type")
        return value

    def has(self, name: str) -> bool:
        """Whether the field exists and is not null."""
        return self._document.get(name) is not None

    def text(self, name: str, limit: int = MAX_TEXT) -> str:
        """A string of at most `limit` characters without control characters."""
        value: str = self._get(name, str)
        if len(value) > limit:
            raise InvalidDocument(f"{self._what}: field {name!r} has more than {limit} characters")
        if not value.isprintable() and _CONTROL.search(value):
            raise InvalidDocument(f"{self._what}: field {name!r} holds control characters")
        return value

    def matching(self, name: str, pattern: re.Pattern[str]) -> str:
        """A string that matches a pattern as a whole."""
        value: str = self._get(name, str)
        if not pattern.fullmatch(value):
            raise InvalidDocument(f"{self._what}: field {name!r} does not have its form")
        return value

    def line(self, name: str, limit: int) -> str:
        """Any string, on one line of at most `limit` characters."""
        value: str = self._get(name, str)
        return one_line(value, limit)

    def text_or_none(self, name: str) -> str | None:
        """A string, or None if absent."""
        return self.text(name) if self.has(name) else None

    def count(self, name: str) -> int:
        """An integer from 0 to 2**63 - 1."""
        value: int = self._get(name, int)
        if not 0 <= value < 2**63:
            raise InvalidDocument(f"{self._what}: field {name!r} is out of range")
        return value

    def count_or_none(self, name: str) -> int | None:
        """A count, or None if absent."""
        return self.count(name) if self.has(name) else None

    def number(self, name: str, minimum: float = 0) -> float:
        """A finite number of at least `minimum`."""
        value = self._get(name, (int, float))
        # Compared before the conversion: an integer may be too large for a float.
        if not minimum <= value < 1e15:
            raise InvalidDocument(f"{self._what}: field {name!r} is out of range")
        return float(value)

    def number_or_none(self, name: str, minimum: float = 0) -> float | None:
        """A number, or None if absent."""
        return self.number(name, minimum) if self.has(name) else None

    def time(self, name: str) -> datetime:
        """An aware UTC datetime."""
        try:
            return parse_time(self.text(name))
        except ValueError as error:
            raise InvalidDocument(f"{self._what}: field {name!r} is not an RFC 3339 time with a zone") from error

    def flag(self, name: str) -> bool:
        """A boolean."""
        value: bool = self._get(name, bool)
        return value

    def texts(self, name: str) -> list[str]:
        """A list of strings."""
        values: list[Any] = self._get(name, list)
        if not all(
            isinstance(value, str) and len(value) <= MAX_TEXT and not _CONTROL.search(value) for value in values
        ):
            raise InvalidDocument(f"{self._what}: field {name!r} is not a list of plain strings")
        return values

    def children(self, name: str) -> list[Fields]:
        """A list of nested objects."""
        values: list[Any] = self._get(name, list)
        if not all(isinstance(value, dict) for value in values):
            raise InvalidDocument(f"{self._what}: field {name!r} is not a list of objects")
        return [Fields(value, f"{self._what}.{name}[{index}]") for index, value in enumerate(values)]

    def child(self, name: str) -> Fields:
        """A nested object."""
        return Fields(self._get(name, dict), f"{self._what}.{name}")

    def raw(self, name: str) -> dict[str, Any]:
        """A nested object, unparsed."""
        value: dict[str, Any] = self._get(name, dict)
        return value
