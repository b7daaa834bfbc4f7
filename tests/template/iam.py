"""What IAM would answer, for the policies of one stack in one account: the one place of IAM semantics.

moto ignores conditions and resources, so it cannot answer this. Sources: the IAM guide's chapters "Policy evaluation
logic" and "IAM JSON policy elements: Condition operators". What is not modelled raises: other operators, NotPrincipal,
boundaries, session policies, organisations.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from functools import cache
from typing import Any

Statement = Mapping[str, Any]
ATTACHED_WITH = {"OperatorPolicy": ("LaunchPolicy", "SchedulePolicy")}
"""An operator has all managed policies, and acts under the name of the first."""
_STANDING = ("AWS::SNS::TopicPolicy", "AWS::SQS::QueuePolicy")
_VARIABLE = re.compile(r"\$\{([^}*?$]+)\}")


class Answer(Enum):
    """What becomes of a request."""

    ALLOWED = "allow"
    NOT_ALLOWED = "implicit deny"
    """No statement speaks for it."""
    DENIED = "explicit deny"
    """A statement speaks against it, whatever others say."""


@dataclass(frozen=True)
class Request:
    """One action on one resource. Context keys are compared without regard to case; a value may be a list.

    `service` is the AWS service that asks by itself, None when the owner of the identity policies asks.
    """

    action: str
    resource: str
    context: Mapping[str, str | list[str]] = field(default_factory=dict)
    service: str | None = None

    def values(self, key: str) -> list[str] | None:
        """The context's values of a key, None when it is absent."""
        found = {name.lower(): value for name, value in self.context.items()}.get(key.lower())
        return None if found is None else [found] if isinstance(found, str) else found


def answer(request: Request, identity: Iterable[Statement], resource: Iterable[Statement]) -> Answer:
    """The answer to a request of somebody in the account who has the `identity` statements, to the owner of `resource`.

    Within one account either kind of policy may allow, and either may deny.
    """
    speaking = [statement for statement in identity if request.service is None and _speaks(statement, request)]
    speaking += [statement for statement in resource if _is_meant(statement, request) and _speaks(statement, request)]
    if any(statement["Effect"] == "Deny" for statement in speaking):
        return Answer.DENIED
    return Answer.ALLOWED if speaking else Answer.NOT_ALLOWED


def _speaks(statement: Statement, request: Request) -> bool:
    return (
        _names(statement, "Action", request.action, request, str.lower)
        and (("Resource" not in statement and "NotResource" not in statement)  # of a trust policy: itself
             or _names(statement, "Resource", request.resource, request, str))
        and all(
            _holds(operator, key, _listed(wanted), request)
            for operator, pairs in statement.get("Condition", {}).items()
            for key, wanted in pairs.items()
        )
    )  # fmt: skip


def _is_meant(statement: Statement, request: Request) -> bool:
    """Whether a resource policy's statement is about who asks. A role's own ARN is never named in ours."""
    principal = statement["Principal"]
    if principal == "*":
        return True
    if set(principal) - {"Service"}:
        raise NotImplementedError(f"principal {principal}")
    return request.service in _listed(principal["Service"])


def _names(statement: Statement, element: str, value: str, request: Request, fold: Callable[[str], str]) -> bool:
    if f"Not{element}" in statement:
        return not any(_like(fold(pattern), fold(value), request) for pattern in _listed(statement[f"Not{element}"]))
    return any(_like(fold(pattern), fold(value), request) for pattern in _listed(statement[element]))


def _like(pattern: str, value: str, request: Request) -> bool:
    """Whether a pattern with * and ? and policy variables describes a value."""
    return _matches(_substitute(pattern, request), value)


def _matches(pattern: str, value: str) -> bool:
    return _regex(pattern).fullmatch(value) is not None


@cache
def _regex(pattern: str) -> re.Pattern[str]:
    parts = re.split(r"([*?])", pattern)
    return re.compile("".join({"*": ".*", "?": "."}.get(part, re.escape(part)) for part in parts), re.DOTALL)


def _substitute(pattern: str, request: Request) -> str:
    def value(match: re.Match[str]) -> str:
        found = request.values(match[1])
        # A variable without a value describes nothing.
        return found[0] if found and len(found) == 1 else "\0"

    return _VARIABLE.sub(value, pattern)


# --- conditions ------------------------------------------------------------------------------------------------


def _same(pattern: str, value: str, request: Request) -> bool:
    return _substitute(pattern, request) == value


def _same_letters(pattern: str, value: str, request: Request) -> bool:
    return _substitute(pattern, request).lower() == value.lower()


def _like_arn(pattern: str, value: str, request: Request) -> bool:
    """Each of an ARN's six parts for itself: a * of one does not reach into the next, but in the last it is free."""
    patterns, parts = _substitute(pattern, request).split(":", 5), value.split(":", 5)
    return len(patterns) == len(parts) == 6 and all(map(_matches, patterns, parts))


def _below(wanted: str, value: str, _request: Request) -> bool:
    return float(value) < float(wanted)


def _at_most(wanted: str, value: str, _request: Request) -> bool:
    return float(value) <= float(wanted)


def _bool(wanted: str, value: str, _request: Request) -> bool:
    return wanted.lower() == value.lower()


_OPERATORS: dict[str, Callable[[str, str, Request], bool]] = {
    "StringEquals": _same,
    "StringEqualsIgnoreCase": _same_letters,
    "StringLike": _like,
    "ArnEquals": _like_arn,
    "ArnLike": _like_arn,
    "Bool": _bool,
    "NumericLessThan": _below,
    "NumericLessThanEquals": _at_most,
}
_NEGATED = {"StringNotEquals": "StringEquals", "StringNotLike": "StringLike", "ArnNotEquals": "ArnEquals",
            "ArnNotLike": "ArnLike"}  # fmt: skip


def _holds(operator: str, key: str, wanted: list[str], request: Request) -> bool:
    found = request.values(key)
    if operator == "Null":
        return [str(found is None).lower()] == [value.lower() for value in wanted]
    quantifier, _, operator = operator.rpartition(":")
    name = operator.removesuffix("IfExists")
    test = _OPERATORS.get(_NEGATED.get(name, name))
    if test is None or quantifier not in ("", "ForAnyValue", "ForAllValues"):
        raise NotImplementedError(f"condition operator {quantifier} {operator}")
    if found is None:
        # An absent key meets what asks only if it exists, what must hold for all of none, and what is negated, unless
        # that must hold for any.
        negated = name in _NEGATED and quantifier != "ForAnyValue"
        return negated or operator.endswith("IfExists") or quantifier == "ForAllValues"
    if not quantifier and len(found) != 1:
        raise NotImplementedError(f"{operator} on several values of {key}")
    met = [any(test(pattern, value, request) for pattern in wanted) != (name in _NEGATED) for value in found]
    return all(met) if quantifier == "ForAllValues" else any(met)


def _listed(value: Any) -> list[str]:
    return [str(item) for item in value] if isinstance(value, list) else [str(value)]


@dataclass(frozen=True)
class Right:
    """One action on one resource that a role or managed policy allows, by the places where it stands."""

    who: str
    statement: int
    action: str
    resource: int


# --- the stack's policies --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Policies:
    """All policies of a synthesised stack: {logical id: resource}."""

    resources: Mapping[str, Any]

    def of(self, principal: str) -> list[Statement]:
        """The identity statements of a role or a managed policy, by its logical id."""
        documents = []
        for name in (principal, *ATTACHED_WITH.get(principal, ())):
            properties = self.resources[name]["Properties"]
            documents += [policy["PolicyDocument"] for policy in properties.get("Policies", ())]
            documents += [properties["PolicyDocument"]] if "PolicyDocument" in properties else []
        return [statement for document in documents for statement in document["Statement"]]

    def on(self, resource: str) -> list[Statement]:
        """The statements of the policy that stands on a resource of its own, by the policy's logical id."""
        statements: list[Statement] = self.resources[resource]["Properties"]["PolicyDocument"]["Statement"]
        return statements

    def trust(self, role: str) -> list[Statement]:
        """Who may take a role."""
        statements: list[Statement] = self.resources[role]["Properties"]["AssumeRolePolicyDocument"]["Statement"]
        return statements

    def rights(self, principal: str, request: Request | None = None) -> set[Right]:
        """What the policies of a role allow, piece by piece; of a request, the pieces that allow it."""
        return {
            Right(principal, number, action, place)
            for number, statement in enumerate(self.of(principal))
            if statement["Effect"] == "Allow"
            for action in _listed(statement["Action"])
            for place, resource in enumerate(_listed(statement["Resource"]))
            if request is None or _speaks({**statement, "Action": action, "Resource": resource}, request)
        }

    def ask(self, principal: str, request: Request) -> Answer:
        """The answer to a request of a role, or of an operator, in which the policy on the resource has its say."""
        asked = answer(request, self.of(principal), self._about(request))
        if asked is Answer.ALLOWED and principal == "InstanceRole" and request.action.lower().startswith("s3:"):
            # An instance has no other way to S3: what its role may, the endpoint has to let through.
            return answer(request, [], self.on("S3Endpoint"))
        return asked

    def _about(self, request: Request) -> list[Statement]:
        service = request.action.lower().partition(":")[0]
        if service == "s3":
            return self.on("BucketPolicy")
        if service not in ("sns", "sqs"):
            return []
        found = [name for name, body in self.resources.items() if body["Type"] in _STANDING]
        # They name their resource in full, so that of all of them just its own speaks.
        return [statement for name in found for statement in self.on(name)]
