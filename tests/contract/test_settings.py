"""Wrong settings of AWS on the user's machine: whatever is wrong, making a client or its first call says so."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path

import boto3
import pytest

from chronos_ec2.aws import clients
from chronos_ec2.aws.clients import client
from chronos_ec2.aws.setup_checks import StackSetupChecks
from chronos_ec2.domain.errors import InvalidInput, NoCredentials, ServiceUnavailable, UserError

KEYS = {"AWS_ACCESS_KEY_ID": "x", "AWS_SECRET_ACCESS_KEY": "y"}
ROLE = "role_arn = arn:aws:iam::123456789012:role/x"
PROCESS = f"{sys.executable} -c"
SSO = "sso_account_id = 123456789012\nsso_role_name = r"
NOBODY = "http://127.0.0.1:9"


@pytest.fixture(autouse=True)
def _alone(monkeypatch: pytest.MonkeyPatch, asked_once: None) -> None:
    """Nothing of the machine's settings, and a session of its own."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_ENDPOINT_URL", NOBODY)
    monkeypatch.setattr(boto3, "DEFAULT_SESSION", None)
    clients.client.cache_clear()


def ask(monkeypatch: pytest.MonkeyPatch, variables: Mapping[str, str]) -> UserError | ServiceUnavailable:
    """What the first call raises."""
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with pytest.raises((UserError, ServiceUnavailable)) as caught:
        StackSetupChecks(client, "a-bucket").bucket_region()
    return caught.value


@pytest.mark.parametrize(
    ("variables", "expected", "words"),
    [
        ({}, NoCredentials, "Unable to locate credentials"),
        ({"AWS_ACCESS_KEY_ID": "x"}, NoCredentials, "AWS_SECRET_ACCESS_KEY"),
        (KEYS | {"AWS_ENDPOINT_URL": "localhost:4566"}, InvalidInput, "AWS_ENDPOINT_URL.*localhost:4566"),
        (KEYS | {"AWS_ENDPOINT_URL": "http://[::1"}, InvalidInput, "AWS_ENDPOINT_URL.*Invalid IPv6 URL"),
        (KEYS | {"AWS_ENDPOINT_URL": "ftp://x"}, InvalidInput, "AWS settings.*ftp"),
        (KEYS | {"AWS_DEFAULT_REGION": "us east 1"}, InvalidInput, "AWS_REGION.*us east 1"),
        (KEYS | {"AWS_DEFAULT_REGION": "us-east-1\n"}, NoCredentials, "line break"),
        (KEYS | {"AWS_ACCESS_KEY_ID": "x\n"}, NoCredentials, "line break"),
        (KEYS | {"AWS_SESSION_TOKEN": "HIDDEN\nx"}, NoCredentials, "line break"),
        (KEYS | {"AWS_PROFILE": "nope"}, InvalidInput, "AWS_PROFILE.*nope"),
        (KEYS | {"AWS_DEFAULTS_MODE": "junk"}, InvalidInput, "AWS settings.*junk"),
        (KEYS | {"AWS_REQUEST_CHECKSUM_CALCULATION": "junk"}, InvalidInput, "AWS settings.*junk"),
        (KEYS | {"AWS_ACCOUNT_ID_ENDPOINT_MODE": "junk"}, InvalidInput, "AWS settings.*junk"),
        (
            {"AWS_EC2_METADATA_DISABLED": "false", "AWS_EC2_METADATA_SERVICE_ENDPOINT": "junk"},
            InvalidInput,
            "AWS settings.*junk",
        ),
        ({"AWS_CONTAINER_CREDENTIALS_FULL_URI": "http://example.com/x"}, NoCredentials, "Unsupported host"),
        (
            {"AWS_ROLE_ARN": "arn:aws:iam::123456789012:role/x", "AWS_WEB_IDENTITY_TOKEN_FILE": "/nope"},
            NoCredentials,
            "/nope",
        ),
        (KEYS | {"http_proxy": NOBODY, "AWS_ENDPOINT_URL": "http://a.invalid"}, ServiceUnavailable, "HTTPS_PROXY"),
        (
            KEYS | {"http_proxy": "http://127.0.0.1:x", "AWS_ENDPOINT_URL": "http://a.invalid"},
            InvalidInput,
            "valid host or port",
        ),
        (KEYS, ServiceUnavailable, "check the network"),
    ],
)
def test_a_variable(
    monkeypatch: pytest.MonkeyPatch, variables: Mapping[str, str], expected: type[Exception], words: str
) -> None:
    found = ask(monkeypatch, variables)
    assert isinstance(found, expected), repr(found)
    assert found.hint
    monkeypatch.undo()
    with pytest.raises(expected, match=words):
        raise found
    assert "HIDDEN" not in str(found)


@pytest.mark.parametrize(
    ("config", "expected", "words"),
    [
        ("[profile p\nfoo", InvalidInput, "Unable to parse config file"),
        ("[profile p]\ns3 =\n  foo\n", InvalidInput, "Unable to parse config file"),
        ("[profile p]\ns3 =\n  addressing_style = junk\n", InvalidInput, "junk"),
        (f"[profile p]\n{ROLE}\nsource_profile = q\n", InvalidInput, 'source_profile "q"'),
        (f"[profile p]\n{ROLE}\ncredential_source = Foo\n", InvalidInput, "Foo"),
        (f"[profile p]\n{ROLE}\nsource_profile = q\n[profile q]\n{ROLE}\nsource_profile = p\n", InvalidInput, "loop"),
        ("[profile p]\ncredential_process = /bin/false\n", NoCredentials, "custom-process"),
        ("[profile p]\ncredential_process = /nope/x\n", NoCredentials, "/nope/x"),
        ("[profile p]\ncredential_process = /bin/echo hi\n", NoCredentials, "Expecting value"),
        ("[profile p]\ncredential_process = 'abc\n", NoCredentials, "No closing quotation"),
        ("[profile p]\ncredential_process = /bin/echo '{\"Version\": 1}'\n", NoCredentials, "AccessKeyId"),
        (
            '[profile p]\ncredential_process = /bin/echo \'{"Version": 1, "AccessKeyId": "a", "SecretAccessKey": "b", '
            '"SessionToken": "c", "Expiration": "2020-01-01T00:00:00Z"}\'\n',
            NoCredentials,
            "still expired",
        ),
        (f"[profile p]\nsso_session = s\n{SSO}\n", InvalidInput, "sso-session"),
        (
            f"[profile p]\nsso_start_url = https://x.awsapps.com/start\nsso_region = us-east-1\n{SSO}\n",
            NoCredentials,
            "aws sso login",
        ),
        ("[profile p]\nlogin_session = arn:aws:iam::123456789012:user/x\n", NoCredentials, "export-credentials"),
        (
            f"[profile p]\n{ROLE}\nsource_profile = q\nmfa_serial = arn:aws:iam::123456789012:mfa/x\n"
            "[profile q]\naws_access_key_id = a\naws_secret_access_key = b\n",
            NoCredentials,
            "MFA",
        ),
    ],
)
def test_a_configuration_file(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, config: str, expected: type[Exception], words: str
) -> None:
    path = tmp_path / "config"
    path.write_text(config)
    with Path(os.devnull).open() as nothing:
        monkeypatch.setattr(sys, "stdin", nothing)
        found = ask(monkeypatch, {"AWS_CONFIG_FILE": str(path), "AWS_PROFILE": "p"})
    assert isinstance(found, expected), repr(found)
    assert found.hint
    with pytest.raises(expected, match=words):
        raise found


def test_a_configuration_file_that_is_no_text(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    path = tmp_path / "config"
    path.write_bytes(b"\xff\xfe\x00[default]\n")
    found = ask(monkeypatch, {"AWS_CONFIG_FILE": str(path)})
    assert isinstance(found, InvalidInput)


def test_no_region(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_DEFAULT_REGION")
    with pytest.raises(InvalidInput, match=r"AWS_REGION.*--region"):
        client("ec2")


def test_a_service_that_this_boto3_does_not_know() -> None:
    with pytest.raises(InvalidInput, match=r"AWS settings.*ec3"):
        client("ec3")


def test_an_endpoint_on_this_machine_is_not_reached_through_a_proxy(
    monkeypatch: pytest.MonkeyPatch, moto_endpoint: str
) -> None:
    for name, value in KEYS.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("AWS_ENDPOINT_URL", moto_endpoint)
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.setenv(name, NOBODY)
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    assert client("ec2").describe_regions()["Regions"]
    small, large = clients.instance_s3()
    assert "Buckets" in small.list_buckets()
    assert "Buckets" in large.list_buckets()
