"""What a person may name a model by, and what each name means."""

from __future__ import annotations

import pytest

from chronos_ec2.domain.errors import InvalidInput
from chronos_ec2.domain.records.model_source import HubModel, LocalModel, RunModel, StoredModel, parse_reference

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.mark.parametrize(
    ("text", "source"),
    [
        ("amazon/chronos-2", HubModel("amazon/chronos-2")),
        ("amazon/chronos-t5-tiny@main", HubModel("amazon/chronos-t5-tiny", "main")),
        (f"amazon/chronos-2@{COMMIT}", HubModel("amazon/chronos-2", COMMIT)),
        ("s3://a-bucket/dev/x/models", StoredModel("a-bucket", "dev/x/models/")),
        ("s3://a-bucket/dev/x/models/", StoredModel("a-bucket", "dev/x/models/")),
        ("run:20260131T120000Z-1a2b3c", RunModel("20260131T120000Z-1a2b3c")),
        ("./model", LocalModel("./model")),
        ("../model", LocalModel("../model")),
        (".", LocalModel(".")),
        ("~/models/mine", LocalModel("~/models/mine")),
        ("/srv/models/mine", LocalModel("/srv/models/mine")),
        ("C:\\models\\mine", LocalModel("C:\\models\\mine")),
    ],
)
def test_a_name_says_which_kind_of_model_it_is(text: str, source: object) -> None:
    assert parse_reference(text) == source


@pytest.mark.parametrize(
    "text",
    ["", "chronos-2", "amazon/", "a/b/c", "amazon/chronos-2@", "amazon/../x", "amazon/chronos-2\n", "amazon/chronos 2",
     "run:", "run:latest", "run:20260131T120000Z-1a2b3c/x", "s3://", "s3://b/", "s3://bucket",
     "s3://bucket//x", "s3://bucket/a b", ".hidden", "-/-",
     "https://huggingface.co/amazon/chronos-2"],
)  # fmt: skip
def test_what_names_no_model_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        parse_reference(text)
    assert caught.value.hint


def test_only_a_whole_commit_is_one() -> None:
    assert HubModel("a/b", COMMIT).commit == COMMIT
    assert HubModel("a/b", COMMIT[:7]).commit is None
    assert HubModel("a/b", "main").commit is None
    assert HubModel("a/b").commit is None
