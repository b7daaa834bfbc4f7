"""What was asked of a run, as it lies in S3."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from chronos_ec2.domain.errors import InvalidDocument
from chronos_ec2.domain.limits import Limits
from chronos_ec2.domain.records.capacity import ON_DEMAND, SPOT
from chronos_ec2.domain.records.request import MAX_REQUEST_BYTES, ModelReference, Request
from chronos_ec2.testing.builders import LANE, RUN_ID

PLAIN = Request(RUN_ID, LANE, {}, ("g5.xlarge",), "0" * 64, (), Limits())


def refused(raw: bytes) -> str:
    with pytest.raises(InvalidDocument) as refusal:
        Request.from_json(raw)
    return str(refusal.value)


def read_with(**changes: Any) -> str:
    return refused(json.dumps(json.loads(PLAIN.to_json()) | changes).encode())


def test_a_run_needs_a_gpu_unless_it_is_asked_for_without() -> None:
    assert Request.from_json(PLAIN.to_json()).allow_cpu is False


def test_what_was_not_asked_for_is_not_there() -> None:
    assert (ON_DEMAND, SPOT) == ("on-demand", "spot")
    assert (PLAIN.market, PLAIN.log_group, PLAIN.code_sha256, PLAIN.commit) == (ON_DEMAND, None, None, None)


def test_limits_that_were_overridden_are_those_of_the_run() -> None:
    limits = Limits.from_overrides({"lease": 90})
    asked = Request(RUN_ID, LANE, {}, ("g5.xlarge",), "0" * 64, (), limits)
    assert Request.from_json(asked.to_json()).limits == limits


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"schema_version": 2}, "schema_version 2, this release reads 1"),
        ({"schema_version": 0}, "schema_version 0, this release reads 1"),
        ({"run_id": "mine"}, "run id: 'mine' is not a run id (like 20260131T120000Z-1a2b3c)"),
        (
            {"limits": {"lease": 0}},
            "limits: lease must be a number of seconds above zero, not 0 (at most 31622400, such as lease: 900)",
        ),
        ({"allow_cpu": 1}, "field 'allow_cpu' is missing or of the wrong type"),
        ({"instance_types": "g5.xlarge"}, "field 'instance_types' is missing or of the wrong type"),
        ({"bundle_sha256": "0" * 64 + "  /etc/passwd\n"}, "field 'bundle_sha256' does not have its form"),
        ({"code_sha256": "../0"}, "field 'code_sha256' does not have its form"),
    ],
    ids=["newer", "older", "run id", "limits", "flag", "types", "bundle", "code"],
)  # fmt: skip
def test_a_request_that_is_not_ours_is_unreadable_and_says_why(changes: dict[str, Any], problem: str) -> None:
    assert read_with(**changes) == f"request.json: {problem}"


def test_a_wrong_word_is_quoted_no_further_than_120_characters() -> None:
    assert len(read_with(limits={"x" * 300: 1})) == len("request.json: ") + 120


def test_a_fault_in_the_list_of_files_gives_its_place() -> None:
    assert (
        read_with(dataset=[{"key": "a", "bytes": -1, "etag": "e"}])
        == "request.json.dataset[0]: field 'bytes' is out of range"
    )


def test_a_request_may_have_16_mib() -> None:
    assert MAX_REQUEST_BYTES == 16_777_216
    assert refused(b" " * (MAX_REQUEST_BYTES + 1)) == "request.json: more than 16777216 bytes"
    assert refused(b" " * MAX_REQUEST_BYTES).startswith("request.json: not JSON")


MODEL = {"given": "amazon/chronos-2", "uri": "s3://bucket/cached-datasets/models/0/", "sha256": {"a.json": "0" * 64}}


def test_the_models_of_a_request_are_read_as_they_were_written() -> None:
    model = ModelReference("amazon/chronos-2", "s3://bucket/cached-datasets/models/0/", (("a.json", "0" * 64),))
    written = replace(PLAIN, models=(model,)).to_json()
    assert json.loads(written)["models"] == [MODEL]
    assert Request.from_json(written).models == (model,)


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"uri": "s3://bucket/"}, "request.json.models[0]: field 'uri' does not have its form"),
        ({"uri": "https://example.com/a/"}, "request.json.models[0]: field 'uri' does not have its form"),
        ({"uri": "s3://bucket/models/0"}, "request.json.models[0]: field 'uri' does not have its form"),
        ({"sha256": {"a.json": "0"}}, "request.json.models[0].sha256: field 'a.json' does not have its form"),
        ({"sha256": {"../a": "0" * 64}}, "models: '../a' is not a valid name of a file"),
        ({"sha256": {"/a": "0" * 64}}, "models: '/a' is not a valid name of a file"),
        ({"given": 1}, "request.json.models[0]: field 'given' is missing or of the wrong type"),
    ],
)
def test_a_model_without_exact_files_is_refused(change: dict[str, Any], problem: str) -> None:
    assert read_with(models=[MODEL | change]) == problem
