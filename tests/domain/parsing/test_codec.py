"""What comes from outside is parsed strictly: names, lines, times, JSON, fields. A refusal says what was wrong."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest

from chronos_ec2.domain.errors import InvalidDocument, InvalidInput
from chronos_ec2.domain.parsing.codec import MAX_DOCUMENT_BYTES, Fields, dump_json, load_json
from chronos_ec2.domain.parsing.names import check_bucket, check_name, one_line, split_instance_types
from chronos_ec2.domain.parsing.times import format_time, parse_time

# --- names -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["a", "dev", "team-7", "a" + "0" * 30])
def test_a_name_has_lower_case_letters_digits_and_dashes_31_at_most(name: str) -> None:
    assert check_name(name, "environment") == name


@pytest.mark.parametrize("name", ["", "a" + "0" * 31, "Dev", "7dev", "-dev", "de/v", "dev\n", "dév", "cached-datasets"])
def test_any_other_name_is_refused(name: str) -> None:
    with pytest.raises(InvalidInput):
        check_name(name, "environment")


def test_the_refusal_of_a_name_says_where_it_was_and_what_is_allowed() -> None:
    with pytest.raises(InvalidInput) as refusal:
        check_name("De\nv", "--lane")
    assert str(refusal.value) == (
        r"--lane: 'De\nv' is not a valid name (lower-case letters, digits and '-', at most 31)"
    )


@pytest.mark.parametrize("bucket", ["abc", "my-bucket.eu", "0" * 63])
def test_a_bucket_has_a_name_that_s3_allows(bucket: str) -> None:
    assert check_bucket(bucket, "--bucket") == bucket


@pytest.mark.parametrize("bucket", ["", "ab", "0" * 64, "-abc", "abc-", "my_bucket", "My-bucket"])
def test_any_other_bucket_is_refused(bucket: str) -> None:
    with pytest.raises(InvalidInput):
        check_bucket(bucket, "--bucket")


def test_instance_types_are_a_list_without_repetitions() -> None:
    assert split_instance_types("g5.xlarge, u-6tb1.56xlarge,g5.xlarge") == ("g5.xlarge", "u-6tb1.56xlarge")


@pytest.mark.parametrize(
    "given", ["", "g5", "g5.xlarge,", "XXg5.xlarge", "g5.xlargeXX", f"g{'5' * 31}.x", f"g5.{'x' * 31}"]
)
def test_any_other_instance_type_is_refused(given: str) -> None:
    with pytest.raises(InvalidInput) as refusal:
        split_instance_types(given)
    shown = given.rsplit(",", maxsplit=1)[-1]
    assert str(refusal.value) == (
        f"--instance-type: {shown!r} is not an instance type "
        "(one such as g5.2xlarge, or several: g5.2xlarge,g4dn.2xlarge)"
    )


def test_the_refusal_of_an_instance_type_quotes_80_characters_of_it() -> None:
    with pytest.raises(InvalidInput, match=f"'{'x' * 79}…' is not an instance type"):
        split_instance_types("x" * 300)


def test_the_refusal_of_a_bucket_quotes_80_characters_of_it() -> None:
    with pytest.raises(InvalidInput) as refusal:
        check_bucket("A" * 200, "--bucket")
    problem = f"--bucket: '{'A' * 79}…' is not a valid bucket name"
    assert str(refusal.value) == f"{problem} (3 to 63 lower-case letters, digits, '-' and '.')"


# --- lines -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("control", ["\x00", "\n", "\x1b", "\x1f", "\x7f", "\x9f", "\u2028", "\u2029"])
def test_a_control_character_becomes_a_space(control: str) -> None:
    assert one_line(f"a{control}b") == "a b"


@pytest.mark.parametrize(
    "unseen",
    ["\u061c", "\u200e", "\u200f", "\u202a", "\u202b", "\u202c", "\u202d", "\u202e", "\u2066", "\u2067", "\u2068",
     "\u2069", "\u200b", "\u200d", "\u2060", "\ufeff", "\xad", "\U000e0041", "\ud800"],
    ids=ascii,
)  # fmt: skip
def test_a_character_that_turns_the_line_or_does_not_show_becomes_a_space(unseen: str) -> None:
    assert one_line(f"a{unseen}b") == "a b"


def test_a_line_cannot_be_made_to_read_as_another() -> None:
    assert one_line("run failed \u202edetelpmoc\u202c") == "run failed  detelpmoc"


@pytest.mark.parametrize("printable", [" ", "~", "é", "…", "漢", "ש", "🚀", "e\u0301"])
def test_a_printable_character_stays(printable: str) -> None:
    assert one_line(f"a{printable}b") == f"a{printable}b"


def test_space_around_a_line_goes() -> None:
    assert one_line("\n said \r\n") == "said"


@pytest.mark.parametrize(
    ("length", "cut"),
    [(499, "x" * 499), (500, "x" * 500), (501, "x" * 499 + "…")],
    ids=["shorter", "exactly the limit", "one over"],
)
def test_a_line_has_500_characters_at_most(length: int, cut: str) -> None:
    assert one_line("x" * length) == cut


def test_a_line_can_be_asked_to_be_shorter() -> None:
    assert one_line("abcdef", 4) == "abc…"


# --- times -----------------------------------------------------------------------------------------------------


def test_a_time_is_written_in_utc_to_the_millisecond() -> None:
    moment = datetime(2026, 1, 31, 14, 30, 5, 123_999, tzinfo=timezone(timedelta(hours=2)))
    assert format_time(moment) == "2026-01-31T12:30:05.123Z"


@pytest.fixture
def tokyo(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A machine that does not live in UTC."""
    with monkeypatch.context() as patch:
        patch.setenv("TZ", "JST-9")
        time.tzset()
        yield
    time.tzset()


@pytest.mark.usefixtures("tokyo")
def test_a_time_is_written_in_utc_wherever_the_machine_is() -> None:
    # A time of its own: what was written before is remembered.
    assert format_time(datetime(2026, 2, 3, 4, 5, 6, tzinfo=UTC)) == "2026-02-03T04:05:06.000Z"


@pytest.mark.parametrize("text", ["2026-01-31T12:30:05Z", "2026-01-31T14:30:05+02:00", "2026-01-31T12:30:05.000Z"])
def test_a_time_is_read_into_utc(text: str) -> None:
    moment = parse_time(text)
    assert moment == datetime(2026, 1, 31, 12, 30, 5, tzinfo=UTC)
    assert moment.tzinfo is UTC


def test_a_time_without_zone_is_neither_written_nor_read() -> None:
    naive = datetime(2026, 1, 31, 12, 0, tzinfo=UTC).replace(tzinfo=None)
    with pytest.raises(ValueError, match=r"^naive datetime$"):
        format_time(naive)
    with pytest.raises(ValueError, match=r"^timestamp '2026-01-31T12:00:00' has no time zone$"):
        parse_time(naive.isoformat())


def test_a_time_before_the_first_year_is_not_read() -> None:
    with pytest.raises(ValueError, match=r"^timestamp '0001-01-01T00:00:00\+14:00' is out of range$"):
        parse_time("0001-01-01T00:00:00+14:00")


# --- documents -------------------------------------------------------------------------------------------------


def test_a_document_is_written_as_utf8_in_the_given_order() -> None:
    assert load_json(dump_json({"z": "é", "a": [1, None]}), "x.json") == {"z": "é", "a": [1, None]}
    assert dump_json({"z": "é", "a": 1}).startswith(b'{"z": "\xc3\xa9"')


def test_a_document_never_holds_nan() -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        dump_json({"loss": float("nan")})


def test_a_document_may_have_64_kib() -> None:
    assert MAX_DOCUMENT_BYTES == 65536
    full = b'{"a": 1}'.ljust(MAX_DOCUMENT_BYTES)
    assert load_json(full, "x.json") == {"a": 1}
    with pytest.raises(InvalidDocument) as refusal:
        load_json(full + b" ", "x.json")
    assert str(refusal.value) == "x.json: more than 65536 bytes"


@pytest.mark.parametrize(
    ("raw", "problem"),
    [
        (b"\xff", "x.json: not JSON: 'utf-8' codec can't decode byte 0xff"),
        (b"{", "x.json: not JSON: Expecting property name"),
        (b'{"a": NaN}', "x.json: not JSON: NaN is not JSON"),
        (b'{"a": -Infinity}', "x.json: not JSON: -Infinity is not JSON"),
        (b"[" * 60_000, "x.json: not JSON: "),
        (b'{"a": ' + b"[" * 64 + b"]" * 64 + b"}", "x.json: not JSON: nested more than 64 deep"),
        (b'{"a": ' + b"1" * 400 + b".0}", f"x.json: not JSON: {'1' * 40} is too large"),
        (b"[1]", "x.json: a JSON list, not an object"),
        (b"7", "x.json: a JSON int, not an object"),
    ],
)
def test_what_is_no_json_object_is_unreadable(raw: bytes, problem: str) -> None:
    with pytest.raises(InvalidDocument) as refusal:
        load_json(raw, "x.json")
    assert str(refusal.value).startswith(problem)


def test_what_json_says_of_a_bad_document_is_cut_at_120_characters() -> None:
    with pytest.raises(InvalidDocument) as refusal:
        load_json(b'{"a": ' + b"9" * 5000 + b"}", "x.json")
    assert len(str(refusal.value)) == len("x.json: not JSON: ") + 120


# --- fields ----------------------------------------------------------------------------------------------------

Read = Callable[[Fields], Any]
DEFAULT_READS: dict[str, Read] = {
    "text": lambda fields: fields.text("it"),
    "count": lambda fields: fields.count("it"),
    "number": lambda fields: fields.number("it"),
    "flag": lambda fields: fields.flag("it"),
    "time": lambda fields: fields.time("it"),
    "texts": lambda fields: fields.texts("it"),
    "raw": lambda fields: fields.raw("it"),
    "child": lambda fields: fields.child("it"),
    "children": lambda fields: fields.children("it"),
}


def refused(read: Read, value: object) -> str:
    with pytest.raises(InvalidDocument) as refusal:
        read(Fields({"it": value}, "x.json"))
    return str(refusal.value)


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        ("text", "said"),
        ("count", 0),
        ("count", 2**63 - 1),
        ("number", 0),
        ("number", 0.5),
        ("number", 999_999_999_999_999),
        ("flag", False),
        ("flag", True),
        ("texts", []),
        ("texts", ["a", "b"]),
        ("raw", {"a": 1}),
    ],
)
def test_a_field_of_the_right_kind_is_read(kind: str, value: object) -> None:
    assert DEFAULT_READS[kind](Fields({"it": value}, "x.json")) == value


def test_a_number_is_always_a_float() -> None:
    assert isinstance(Fields({"it": 3}, "x.json").number("it"), float)


def test_a_time_field_is_aware() -> None:
    fields = Fields({"it": "2026-01-31T12:00:00Z"}, "x.json")
    assert fields.time("it") == datetime(2026, 1, 31, 12, tzinfo=UTC)


@pytest.mark.parametrize("kind", DEFAULT_READS)
def test_a_missing_field_is_named(kind: str) -> None:
    with pytest.raises(InvalidDocument) as refusal:
        DEFAULT_READS[kind](Fields({}, "x.json"))
    assert str(refusal.value) == "x.json: field 'it' is missing or of the wrong type"


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        ("text", 7),
        ("count", "7"),
        ("count", 7.0),
        ("number", "7"),
        ("flag", 1),
        ("time", 7),
        ("texts", "ab"),
        ("raw", [1]),
        ("child", [1]),
        ("children", {"a": 1}),
    ],
)
def test_a_field_of_the_wrong_type_is_named(kind: str, value: object) -> None:
    assert refused(DEFAULT_READS[kind], value) == "x.json: field 'it' is missing or of the wrong type"


@pytest.mark.parametrize("kind", ["text", "count", "number", "texts", "raw"])
def test_a_boolean_is_no_number_and_nothing_else(kind: str) -> None:
    assert refused(DEFAULT_READS[kind], value=True) == "x.json: field 'it' is a boolean"


@pytest.mark.parametrize(
    ("kind", "value"), [("count", -1), ("count", 2**63), ("number", -0.1), ("number", 1e15), ("number", 10**400)]
)
def test_a_figure_out_of_range_is_named(kind: str, value: object) -> None:
    assert refused(DEFAULT_READS[kind], value) == "x.json: field 'it' is out of range"


def test_a_number_may_be_given_another_minimum() -> None:
    assert Fields({"it": -2}, "x.json").number("it", minimum=-2) == -2
    assert refused(lambda fields: fields.number("it", minimum=-2), -2.1) == "x.json: field 'it' is out of range"
    assert Fields({"it": -2}, "x.json").number_or_none("it", minimum=-2) == -2


def test_text_may_have_invisible_characters_that_control_nothing() -> None:
    assert DEFAULT_READS["text"](Fields({"it": "a\u00a0b\u200bc"}, "x.json")) == "a\u00a0b\u200bc"


def test_text_with_control_characters_is_refused() -> None:
    assert refused(DEFAULT_READS["text"], "a\x1b[2J") == "x.json: field 'it' holds control characters"
    assert refused(DEFAULT_READS["texts"], ["a", "b\n"]) == "x.json: field 'it' is not a list of plain strings"


@pytest.mark.parametrize("text", ["noon", "2026-01-31T12:00:00", "0001-01-01T00:00:00+14:00"])
def test_what_is_no_time_with_a_zone_is_refused(text: str) -> None:
    assert refused(DEFAULT_READS["time"], text) == "x.json: field 'it' is not an RFC 3339 time with a zone"


def test_lists_of_other_things_are_refused() -> None:
    assert refused(DEFAULT_READS["texts"], ["a", 7]) == "x.json: field 'it' is not a list of plain strings"
    assert refused(DEFAULT_READS["children"], [{}, 7]) == "x.json: field 'it' is not a list of objects"


@pytest.mark.parametrize(
    "read",
    [
        lambda fields: fields.text_or_none("it"),
        lambda fields: fields.count_or_none("it"),
        lambda fields: fields.number_or_none("it"),
    ],
    ids=["text", "count", "number"],
)
def test_an_optional_field_may_be_null_or_missing_but_not_wrong(read: Read) -> None:
    assert read(Fields({"it": None}, "x.json")) is None
    assert read(Fields({}, "x.json")) is None
    assert refused(read, []) == "x.json: field 'it' is missing or of the wrong type"


@pytest.mark.parametrize(
    ("value", "read"),
    [
        ("said", lambda fields: fields.text_or_none("it")),
        (7, lambda fields: fields.count_or_none("it")),
        (0.5, lambda fields: fields.number_or_none("it")),
    ],
    ids=["text", "count", "number"],
)
def test_an_optional_field_that_is_there_is_read(value: object, read: Read) -> None:
    assert read(Fields({"it": value}, "x.json")) == value


def test_an_optional_number_is_at_least_zero_unless_said_otherwise() -> None:
    assert refused(lambda fields: fields.number_or_none("it"), -0.1) == "x.json: field 'it' is out of range"


@pytest.mark.parametrize(("value", "there"), [(None, False), (0, True), ("", True), (False, True)])
def test_a_field_is_there_unless_it_is_null(value: object, there: bool) -> None:
    assert Fields({"it": value}, "x.json").has("it") is there
    assert Fields({}, "x.json").has("it") is False


def test_a_refusal_inside_a_nested_object_gives_the_path() -> None:
    fields = Fields({"it": {"n": "x"}, "list": [{"n": 1}, {"n": "x"}]}, "x.json")
    with pytest.raises(InvalidDocument, match=r"^x\.json\.it: field 'n' "):
        fields.child("it").count("n")
    first, second = fields.children("list")
    assert first.count("n") == 1
    with pytest.raises(InvalidDocument, match=r"^x\.json\.list\[1\]: field 'n' "):
        second.count("n")


# --- what only somebody hostile writes -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "value",
    ["NaN", "-Infinity", "1e999", "-1e999", "9" * 5000,
     "[" * 60_000, "[" * 20_000 + "]" * 20_000, "[" * 64 + "]" * 64, '{"a":' * 64 + "1" + "}" * 64],
    ids=range(9),
)  # fmt: skip
def test_a_document_that_python_reads_and_no_other_can_write_is_refused(value: str) -> None:
    with pytest.raises(InvalidDocument):
        load_json(b'{"a": ' + value.encode() + b"}", "x.json")


@pytest.mark.parametrize("value", ["1e308", '"\\ud83d\\ude80"', "[" * 63 + "]" * 63, "[" + "[]," * 1000 + "[]]"])
def test_a_document_at_its_limits_is_read(value: str) -> None:
    assert load_json(b'{"a": ' + value.encode() + b"}", "x.json")


@pytest.mark.parametrize(
    ("value", "read"), [('"x\\ud800"', "x?"), ('{"\\udfff": 1}', {"?": 1}), ('["\\ud83d", "\\u2026"]', ["?", "…"])]
)
def test_a_lone_surrogate_is_read_as_a_question_mark(value: str, read: object) -> None:
    assert load_json(b'{"a": ' + value.encode() + b"}", "x.json") == {"a": read}


def test_a_lone_surrogate_never_prevents_a_write() -> None:
    assert dump_json({"step": "a\ud800b"}) == b'{"step": "a?b"}'


@pytest.mark.parametrize("name", ["text", "text_or_none"])
def test_a_text_has_a_length(name: str) -> None:
    assert getattr(Fields({"a": "x" * 4096}, "x.json"), name)("a") == "x" * 4096
    with pytest.raises(InvalidDocument, match="'a' has more than 4096 characters"):
        getattr(Fields({"a": "x" * 4097}, "x.json"), name)("a")
    assert Fields({"a": ["x" * 4096]}, "x.json").texts("a") == ["x" * 4096]
    with pytest.raises(InvalidDocument):
        Fields({"a": ["x" * 4097]}, "x.json").texts("a")


@pytest.mark.parametrize("text", ["\ud800", "a\udfff"])
def test_a_text_with_a_lone_surrogate_is_refused(text: str) -> None:
    with pytest.raises(InvalidDocument):
        Fields({"a": text}, "x.json").text("a")
