"""S3 as ObjectStore and ObjectTransfer."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from datetime import UTC
from pathlib import Path
from typing import Any
from urllib.parse import unquote_plus

from boto3.exceptions import Boto3Error
from botocore.exceptions import ClientError

from chronos_ec2.aws.errors import Translation, code_of, refusal, status_of, text_of, translated
from chronos_ec2.domain.errors import LostRace, ServiceUnavailable
from chronos_ec2.domain.parsing.codec import MAX_DOCUMENT_BYTES
from chronos_ec2.ports import ListedObject, Source, StoredObject, Upload

EXPIRES = "Expires=soon"
"""The tag that a lifecycle rule in template.yaml selects."""
_OF_A_KEY = "Server Side Encryption"
"""In what S3 says of an object that only the key of its writer decrypts. The code is one of many other errors."""
_SHA256 = "chronos-ec2-sha256"
"""Metadata of an object. S3 returns it with each piece."""
_CHUNK = 256 * 1024
"""Larger buffers come from the kernel each time, which costs twice as much as the read itself."""
_MISSING = frozenset({"NoSuchKey", "404", "NotFound"})


class S3Objects:
    """One bucket. ports.ObjectStore documents the methods.

    Bodies are closed with `closing`: as a context manager, a body yields the raw stream, which checks neither length
    nor checksum and does not raise botocore's errors.
    """

    def __init__(self, client: Any, bucket: str, translation: Translation = translated) -> None:
        self._s3 = client
        self.bucket = bucket
        self._translated = translation

    def read(self, key: str, limit: int = MAX_DOCUMENT_BYTES) -> StoredObject | None:
        """A document, or None if the key does not exist. A larger one is cut one byte above the limit."""
        with self._translated(f"read s3://{self.bucket}/{key}"):
            try:
                response = self._s3.get_object(Bucket=self.bucket, Key=key)
            except ClientError as error:
                if code_of(error) in _MISSING:
                    return None
                if _is_withheld(error):
                    return self._without_body(key)
                raise
            with closing(response["Body"]) as stream:
                body = stream.read(limit + 1)
            return StoredObject(body, response["ETag"], response["LastModified"].astimezone(UTC))

    def _without_body(self, key: str) -> StoredObject | None:
        """An object as a list shows it: S3 tells no more about one that was encrypted with a key of its writer."""
        page = _of_s3(self._s3.list_objects_v2(Bucket=self.bucket, Prefix=key, MaxKeys=1), "IsTruncated")
        for entry in page.get("Contents", ()):
            if entry["Key"] == key:
                return StoredObject(b"", entry["ETag"], entry["LastModified"].astimezone(UTC))
        return None

    def tail(self, key: str, limit: int) -> bytes | None:
        """The last `limit` bytes of an object, or None if the key does not exist."""
        return self._range(key, f"bytes=-{limit}")

    def piece(self, key: str, start: int, limit: int) -> bytes | None:
        """At most `limit` bytes of an object from `start` on, none past its end; None if the key does not exist."""
        return self._range(key, f"bytes={start}-{start + limit - 1}")

    def _range(self, key: str, byte_range: str) -> bytes | None:
        with self._translated(f"read s3://{self.bucket}/{key}"):
            try:
                response = self._s3.get_object(Bucket=self.bucket, Key=key, Range=byte_range)
            except ClientError as error:
                if code_of(error) in _MISSING:
                    return None
                if code_of(error) == "InvalidRange":  # the object is empty, or ends before
                    return b""
                raise
            with closing(response["Body"]) as stream:
                return bytes(stream.read())

    def write(self, key: str, body: bytes, content_type: str = "application/json") -> None:
        """Put an object unconditionally."""
        with self._translated(f"write s3://{self.bucket}/{key}"):
            _of_s3(self._s3.put_object(Bucket=self.bucket, Key=key, Body=body, ContentType=content_type), "ETag")

    def create(self, key: str, body: bytes) -> str:
        """Put an object where none exists, and return its ETag."""
        return self._put_if(key, body, IfNoneMatch="*")

    def replace(self, key: str, body: bytes, etag: str) -> str:
        """Replace the object that has this ETag, and return the new ETag."""
        return self._put_if(key, body, IfMatch=etag)

    def _put_if(self, key: str, body: bytes, **condition: str) -> str:
        with self._translated(f"write s3://{self.bucket}/{key}"), _conditional(key):
            response = self._s3.put_object(
                Bucket=self.bucket, Key=key, Body=body, ContentType="application/json", **condition
            )
            return str(response["ETag"])

    def remove(self, key: str, etag: str | None = None) -> None:
        """Delete an object, if an ETag is given only that version. A missing key is no error."""
        condition = {} if etag is None else {"IfMatch": etag}
        with self._translated(f"delete s3://{self.bucket}/{key}"):
            try:
                with _conditional(key):
                    self._s3.delete_object(Bucket=self.bucket, Key=key, **condition)
            except LostRace:
                # After a retry by botocore, or another release of the same lock, the key is gone.
                if self.read(key) is not None:
                    raise

    def keys(self, prefix: str) -> Iterator[tuple[str, int]]:
        """(key, size in bytes) of every object below a prefix, in key order."""
        return ((one.key, one.size) for one in self.listed(prefix))

    def listed(self, prefix: str) -> Iterator[ListedObject]:
        """Every object below a prefix, in key order, with its ETag."""
        with self._translated(f"list s3://{self.bucket}/{prefix}"):
            for page in self._s3.get_paginator("list_objects_v2").paginate(Bucket=self.bucket, Prefix=prefix):
                for entry in _of_s3(page, "IsTruncated").get("Contents", ()):
                    yield ListedObject(entry["Key"], entry["Size"], entry["ETag"])

    def children(self, prefix: str, after: str = "", limit: int | None = None) -> tuple[str, ...]:
        """The names of the non-empty prefixes one level below a prefix, in key order and without slashes.

        All of them, or at most `limit` after the one named `after`.
        """
        names: list[str] = []
        pages = self._s3.get_paginator("list_objects_v2")
        # The first key that may follow all keys of that name: "0" comes after "/".
        start = {"StartAfter": f"{prefix}{after}0"} if after else {}
        with self._translated(f"list s3://{self.bucket}/{prefix}"):
            for page in pages.paginate(Bucket=self.bucket, Prefix=prefix, Delimiter="/", **start):
                found = _of_s3(page, "IsTruncated").get("CommonPrefixes", ())
                names += [part["Prefix"][len(prefix) : -1] for part in found]
                if limit is not None and len(names) >= limit:
                    break
        return tuple(names[:limit])

    def uploads(self, prefix: str) -> Iterator[Upload]:
        """Every unfinished upload below a prefix.

        Its key may have characters that no XML has, so S3 is asked to encode keys; boto3 does so for objects only.
        """
        at: dict[str, str] = {}
        with self._translated(f"list unfinished uploads to s3://{self.bucket}/{prefix}"):
            while True:
                page = _of_s3(
                    self._s3.list_multipart_uploads(Bucket=self.bucket, Prefix=prefix, EncodingType="url", **at),
                    "IsTruncated",
                )
                decoded = unquote_plus if page.get("EncodingType") == "url" else str
                for entry in page.get("Uploads", ()):
                    yield Upload(decoded(entry["Key"]), entry["UploadId"])
                if not page["IsTruncated"]:
                    return
                at = {"KeyMarker": decoded(page["NextKeyMarker"]), "UploadIdMarker": page["NextUploadIdMarker"]}

    def abort(self, upload: Upload) -> None:
        """Discard the parts of an upload. A missing upload is no error."""
        with self._translated(f"abort the upload to s3://{self.bucket}/{upload.key}"):
            try:
                self._s3.abort_multipart_upload(Bucket=self.bucket, Key=upload.key, UploadId=upload.upload_id)
            except ClientError as error:
                if code_of(error) != "NoSuchUpload":
                    raise


def _is_withheld(error: ClientError) -> bool:
    """Whether S3 has the object and gives it to nobody: it is archived, or encrypted with a key of its writer."""
    return code_of(error) == "InvalidObjectState" or _OF_A_KEY in str(error)


def _of_s3(answer: Any, field: str) -> Any:
    """The answer, if it is S3's: an empty one, or a portal's page, is read as a list of nothing."""
    if field not in answer:
        raise KeyError(field)  # translated
    return answer


@contextmanager
def _conditional(key: str) -> Iterator[None]:
    """Raise LostRace if S3 says that the condition does not hold."""
    try:
        yield
    except ClientError as error:
        if code_of(error) in _MISSING or status_of(error) == 412:
            raise LostRace(f"{key} has changed") from error
        raise


class S3Transfer:
    """Large objects, by boto3's transfer manager: parallel parts, retried one by one."""

    def __init__(self, client: Any, bucket: str, translation: Translation = translated) -> None:
        self._s3 = client
        self._bucket = bucket
        self._translated = translation

    def download(self, key: str, path: Path, on_bytes: Callable[[int], None]) -> None:
        """Write an object to a file. Raises ServiceUnavailable."""
        with self._transferring(f"download s3://{self._bucket}/{key}"):
            try:
                self._s3.download_file(self._bucket, key, str(path), Callback=on_bytes)
            except FileNotFoundError as error:
                if not (path.parent.is_dir() and str(error.filename).startswith(str(path))):
                    raise
                # s3transfer has written nothing of an object that was emptied meanwhile.
                raise ServiceUnavailable(
                    f"s3://{self._bucket}/{key} has changed during its download", "try again"
                ) from error

    def download_piece(self, key: str, path: Path, piece: range | None, on_bytes: Callable[[int], None]) -> Source:
        """Write a range of bytes of an object, or all of it, to the same place in a file. Raises ServiceUnavailable."""
        byte_range = {} if piece is None else {"Range": f"bytes={piece.start}-{piece.stop - 1}"}
        with self._transferring(f"download s3://{self._bucket}/{key}"):
            response = self._s3.get_object(Bucket=self._bucket, Key=key, **byte_range)
            size = response["ContentLength"] if piece is None else int(response["ContentRange"].rpartition("/")[2])
            with closing(response["Body"]) as stream:
                _write_at(path, 0 if piece is None else piece.start, stream, on_bytes)
            return Source(response["ETag"], size, response.get("Metadata", {}).get(_SHA256))

    def upload(
        self, path: Path, key: str, on_bytes: Callable[[int], None], *, expires: bool = False, sha256: str | None = None
    ) -> None:
        """Write a file to an object; with `expires` the bucket deletes it later. Raises ServiceUnavailable."""
        extra: dict[str, Any] = {"Tagging": EXPIRES} if expires else {}
        if sha256 is not None:
            extra["Metadata"] = {_SHA256: sha256}
        with self._transferring(f"upload s3://{self._bucket}/{key}"):
            self._s3.upload_file(str(path), self._bucket, key, Callback=on_bytes, ExtraArgs=extra)

    @contextmanager
    def _transferring(self, action: str) -> Iterator[None]:
        """Translate errors. A refusal that `refusal` does not know is about one part, such as of a changed object."""
        with self._translated(action):
            try:
                yield
            except (ClientError, Boto3Error) as error:
                # boto3 hides AWS's error of an upload behind one of its own.
                cause = error if isinstance(error, ClientError) else error.__context__
                if isinstance(cause, ClientError) and refusal(cause, action):
                    raise cause from error
                raise ServiceUnavailable(f"could not {action}: {text_of(error)}") from error


def _write_at(path: Path, offset: int, stream: Any, on_bytes: Callable[[int], None]) -> None:
    file = os.open(path, os.O_WRONLY | os.O_CREAT, 0o644)
    try:
        while chunk := stream.read(_CHUNK):
            offset += os.pwrite(file, chunk, offset)
            on_bytes(len(chunk))
    finally:
        os.close(file)
