"""The evaluator of policies: what each element means, and which rights nothing uses."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.template.iam import Answer, Request, answer
from tests.template.test_policies import AGENT, DEADLINE, OPERATOR, STARTER, WATCHDOG
from tests.template.used_rights import NOT_BY_OUR_CALLS, granted, superfluous

CONTEXT = {
    "s3:prefix": "dev/x", "tags": ["a", "b"], "n": "1.1", "letters": "Abc", "account": "1",
    "arn": "arn:aws:iam::1:role/a:b",
}  # fmt: skip
PUT = Request("s3:PutObject", "arn:aws:s3:::b/dev/x", CONTEXT)
ALL = {"Effect": "Allow", "Action": "*", "Resource": "*"}


def decided(**elements: Any) -> bool:
    """Whether a statement with these elements allows PUT."""
    return answer(PUT, [ALL | elements], []) is Answer.ALLOWED


@pytest.mark.parametrize(
    ("elements", "allowed"),
    [
        ({}, True),
        ({"Action": "s3:putobject"}, True),
        ({"Action": ["s3:Get*", "s3:Put*"]}, True),
        ({"Action": "s3:Get*"}, False),
        ({"Resource": "arn:aws:s3:::b/dev/?"}, True),
        ({"Resource": "arn:aws:s3:::B/dev/x"}, False),
        ({"Resource": "arn:aws:s3:::b"}, False),
        ({"Resource": "arn:aws:s3:::b/${s3:prefix}"}, True),
        ({"Resource": "arn:aws:s3:::b/${aws:username}"}, False),
        ({"Condition": {"StringEquals": {"S3:Prefix": "dev/x"}}}, True),
        ({"Condition": {"StringEquals": {"s3:prefix": "dev/*"}}}, False),
        ({"Condition": {"StringLike": {"s3:prefix": ["prod/*", "dev/*"]}}}, True),
        ({"Condition": {"StringNotEquals": {"s3:prefix": "dev/x"}}}, False),
        ({"Condition": {"StringNotEquals": {"absent": "dev/x"}}}, True),
        ({"Condition": {"StringEquals": {"absent": "dev/x"}}}, False),
        ({"Condition": {"ForAnyValue:StringNotEquals": {"absent": "dev/x"}}}, False),
        ({"Condition": {"StringEqualsIfExists": {"absent": "dev/x"}}}, True),
        ({"Condition": {"StringEqualsIfExists": {"s3:prefix": "other"}}}, False),
        ({"Condition": {"Null": {"absent": "true"}}}, True),
        ({"Condition": {"Null": {"absent": "true", "s3:prefix": "true"}}}, False),
        ({"Condition": {"Null": {"s3:prefix": "false"}}}, True),
        ({"Condition": {"StringEqualsIgnoreCase": {"letters": "aBC"}}}, True),
        ({"Condition": {"StringEqualsIgnoreCase": {"letters": "ab"}}}, False),
        ({"Condition": {"NumericLessThan": {"n": "1.2"}}}, True),
        ({"Condition": {"NumericLessThan": {"n": "1.1"}}}, False),
        ({"Condition": {"NumericLessThanEquals": {"n": "1.1"}}}, True),
        ({"Condition": {"NumericLessThanEquals": {"n": "1.0"}}}, False),
        ({"Condition": {"ForAnyValue:StringEquals": {"tags": "a"}}}, True),
        ({"Condition": {"ForAllValues:StringEquals": {"tags": "a"}}}, False),
        ({"Condition": {"ForAllValues:StringEquals": {"tags": ["a", "b", "c"]}}}, True),
        ({"Condition": {"ForAllValues:StringEquals": {"absent": "a"}}}, True),
        ({"Condition": {"StringEquals": {"s3:prefix": "dev/x"}, "Bool": {"absent": "true"}}}, False),
        ({"Condition": {"ArnLike": {"arn": "arn:aws:iam::*:role/*"}}}, True),
        ({"Condition": {"ArnLike": {"arn": "arn:*:iam::${account}:role/a:?"}}}, True),
        ({"Condition": {"ArnEquals": {"arn": "arn:aws:iam::1:role/*"}}}, True),
        ({"Condition": {"ArnLike": {"arn": "arn:aws:*:role/*"}}}, False),
        ({"Condition": {"ArnLike": {"arn": "arn:aws:iam::*"}}}, False),
        ({"Condition": {"ArnLike": {"arn": "*"}}}, False),
        ({"Condition": {"ArnNotLike": {"arn": "arn:aws:iam::*"}}}, True),
        ({"Condition": {"StringLike": {"arn": "arn:aws:*b"}}}, True),
    ],
)  # fmt: skip
def test_every_element_has_to_hold(elements: dict[str, Any], allowed: bool) -> None:
    assert decided(**elements) is allowed


def test_not_action_and_not_resource_name_what_is_left() -> None:
    others = {"Effect": "Allow", "NotAction": "s3:Get*", "NotResource": "arn:aws:s3:::b/prod/*"}
    assert answer(PUT, [others], []) is Answer.ALLOWED
    assert answer(PUT, [others | {"NotAction": "s3:Put*"}], []) is Answer.NOT_ALLOWED
    assert answer(PUT, [others | {"NotResource": "arn:aws:s3:::b/*"}], []) is Answer.NOT_ALLOWED


@pytest.mark.parametrize("condition", [{"DateLessThan": {"n": "1"}}, {"DateLessThan": {"absent": "1"}},
                                       {"ForSomeValues:StringEquals": {"n": "1"}},
                                       {"StringEquals": {"tags": "a"}}])  # fmt: skip
def test_what_is_not_modelled_is_not_guessed(condition: dict[str, Any]) -> None:
    with pytest.raises(NotImplementedError):
        decided(Condition=condition)


def test_a_service_that_asks_has_no_identity_policy() -> None:
    request = Request("sns:Publish", "topic", service="cloudwatch.amazonaws.com")
    mine = ALL | {"Principal": {"Service": "cloudwatch.amazonaws.com"}}
    assert answer(request, [ALL], []) is Answer.NOT_ALLOWED
    assert answer(request, [], [mine]) is Answer.ALLOWED
    assert answer(request, [], [ALL | {"Principal": {"Service": "events.amazonaws.com"}}]) is Answer.NOT_ALLOWED


SOME = st.sampled_from(["s3:PutObject", "s3:Get*", "*", "ec2:*"])
STATEMENTS = st.lists(st.fixed_dictionaries({"Effect": st.sampled_from(["Allow", "Deny"]), "Action": SOME,
                                             "Resource": st.sampled_from(["*", "arn:aws:s3:::c/*"])}))  # fmt: skip


@given(STATEMENTS)
def test_without_a_statement_that_allows_nothing_is_allowed(statements: list[dict[str, str]]) -> None:
    refusing = [statement for statement in statements if statement["Effect"] == "Deny"]
    assert answer(PUT, refusing, []) is not Answer.ALLOWED


@given(STATEMENTS)
def test_a_statement_that_denies_wins_wherever_it_stands(statements: list[dict[str, str]]) -> None:
    no = {"Effect": "Deny", "Action": "s3:*", "Resource": "*"}
    assert answer(PUT, [*statements, no], []) is Answer.DENIED
    assert answer(PUT, statements, [no | {"Principal": "*"}]) is Answer.DENIED


@given(STATEMENTS, STATEMENTS)
def test_the_order_of_statements_does_not_matter(some: list[dict[str, str]], others: list[dict[str, str]]) -> None:
    assert answer(PUT, some + others, []) is answer(PUT, others + some, [])


# --- rights that nothing uses: `used_rights` compares at the end of `make test` -------------------------------------


def test_no_right_is_to_a_pattern_of_actions() -> None:
    assert [right for right in granted() if "*" in right.action] == []


def test_everybody_who_may_do_something_is_known() -> None:
    assert {right.who for right in granted()} == {
        AGENT,
        WATCHDOG,
        STARTER,
        DEADLINE,
        OPERATOR,
        "SweepScheduleRole",
        "RunScheduleRole",
    }


def test_a_right_that_nothing_uses_is_named() -> None:
    needless = {right for right in granted() if (right.who, right.action) == (WATCHDOG, "sns:Publish")}
    assert needless
    lines = [line for line in superfluous(granted() - needless) if line.startswith("no call uses: ")]
    assert lines
    assert all(line.startswith(f"no call uses: {WATCHDOG} sns:Publish ") for line in lines)


def test_an_exception_that_excepts_nothing_is_named() -> None:
    assert superfluous(granted()) == [f"the exception excepts nothing: {why}" for why in sorted(NOT_BY_OUR_CALLS)]
