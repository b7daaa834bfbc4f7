"""Lists of a bucket that need several pages are whole."""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qs, quote_plus, urlsplit

import pytest
from botocore.awsrequest import AWSResponse
from botocore.compat import HTTPHeaders
from moto.core.botocore_stubber import MockRawResponse

from chronos_ec2.aws.clients import client
from chronos_ec2.aws.s3_objects import S3Objects
from chronos_ec2.domain.records.lane import Lane
from chronos_ec2.run_store import RunStore
from chronos_ec2.testing.aws_answers import heard

BUCKET = "pages"


@pytest.fixture
def objects(aws: str, monkeypatch: pytest.MonkeyPatch) -> S3Objects:
    """A bucket whose lists have two entries on a page."""
    monkeypatch.setenv("MOTO_S3_DEFAULT_MAX_KEYS", "2")
    client("s3").create_bucket(Bucket=BUCKET)
    return S3Objects(client("s3"), BUCKET)


def test_every_object_is_listed(objects: S3Objects) -> None:
    for number in range(5):
        objects.write(f"dev/{number}", b"x" * number)
    assert len(client("s3").list_objects_v2(Bucket=BUCKET)["Contents"]) == 2, "one page is not all"
    assert list(objects.keys("dev/")) == [(f"dev/{number}", number) for number in range(5)]


def test_every_lane_is_listed(objects: S3Objects) -> None:
    lanes = [Lane("dev"), *(Lane("dev", f"lane-{number}") for number in range(5))]
    for lane in lanes:
        objects.write(lane.state_key, b"{}")
    assert RunStore(objects).lanes("dev") == tuple(lanes)


PAGE = """\
<ListMultipartUploadsResult><Bucket>pages</Bucket><IsTruncated>{more}</IsTruncated>
<NextKeyMarker>dev/{number}</NextKeyMarker><NextUploadIdMarker>id-{number}</NextUploadIdMarker>
<Upload><Key>dev/{number}</Key><UploadId>id-{number}</UploadId></Upload></ListMultipartUploadsResult>"""


def test_every_unfinished_upload_is_listed(objects: S3Objects) -> None:
    """moto has no pages of uploads: the answers are the documented ones."""

    def answer(request: Any, **_: Any) -> AWSResponse:
        query = parse_qs(urlsplit(request.url).query)
        number = int(query["key-marker"][0].removeprefix("dev/")) + 1 if "key-marker" in query else 0
        body = PAGE.format(number=number, more="true" if number < 4 else "false")
        return AWSResponse(request.url, 200, HTTPHeaders(), MockRawResponse(body))

    with heard("before-send.s3.ListMultipartUploads", answer):
        found = S3Objects(client("s3"), BUCKET).uploads("dev/")
        assert [(upload.key, upload.upload_id) for upload in found] == [
            (f"dev/{number}", f"id-{number}") for number in range(5)
        ]


@pytest.mark.usefixtures("objects")
def test_the_keys_of_uploads_are_encoded_by_s3_and_decoded_once() -> None:
    """Raw, the first has no place in XML, so no upload of the whole bucket could be listed."""
    names = ["a\x01b", "a\nb", "a b", "a+b", "a%20b", "gr\u00fc\u00dfe", "\x1b[2J"]
    asked = []

    def answer(request: Any, **_: Any) -> AWSResponse:
        query = parse_qs(urlsplit(request.url).query)
        asked.append((query["encoding-type"], query.get("key-marker")))
        name = quote_plus(names[len(asked) - 1])
        body = PAGE.format(number=name, more="true" if len(asked) < len(names) else "false")
        body = body.replace("<Bucket>", "<EncodingType>url</EncodingType><Bucket>")
        return AWSResponse(request.url, 200, HTTPHeaders(), MockRawResponse(body))

    with heard("before-send.s3.ListMultipartUploads", answer):
        found = S3Objects(client("s3"), BUCKET).uploads("dev/")
        assert [upload.key for upload in found] == [f"dev/{name}" for name in names]
    assert asked == [(["url"], None), *((["url"], [f"dev/{name}"]) for name in names[:-1])]
