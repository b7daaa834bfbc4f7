"""A client of the EC2 instance metadata service, version 2 only."""

from __future__ import annotations

import urllib.error
import urllib.request
from collections.abc import Mapping
from http.client import HTTPException

_ENDPOINT = "http://169.254.169.254"
_TOKEN_SECONDS = 21_600
_TIMEOUT = 2.0
_LIMIT = 16 * 1024


class MetadataUnavailable(Exception):
    """The metadata service does not answer, or answers with an error."""


class Metadata:
    """Reads instance metadata. Renews an expired token, and uses no proxy."""

    def __init__(self, endpoint: str = _ENDPOINT) -> None:
        self._endpoint = endpoint.rstrip("/")
        self._open = urllib.request.build_opener(urllib.request.ProxyHandler({})).open
        self._token: str | None = None

    @classmethod
    def of_environment(cls, variables: Mapping[str, str]) -> Metadata | None:
        """The client for the variables that AWS's own clients read; None if they disable the service."""
        if variables.get("AWS_EC2_METADATA_DISABLED", "").lower() == "true":
            return None
        return cls(variables.get("AWS_EC2_METADATA_SERVICE_ENDPOINT") or _ENDPOINT)

    def get(self, path: str) -> str | None:
        """The value below `/latest/meta-data/`, None if it does not exist. Raises MetadataUnavailable."""
        for _ in range(2):
            token = self._token or self._new_token()
            try:
                return self._request("GET", f"meta-data/{path}", {"X-aws-ec2-metadata-token": token})
            except urllib.error.HTTPError as error:
                if error.code == 404:
                    return None
                if error.code != 401:
                    raise MetadataUnavailable(f"{path}: HTTP {error.code}") from error
                self._token = None
            except (OSError, ValueError, HTTPException) as error:
                raise MetadataUnavailable(str(error)) from error
        raise MetadataUnavailable(f"{path}: every token is rejected")

    def _new_token(self) -> str:
        ttl = {"X-aws-ec2-metadata-token-ttl-seconds": str(_TOKEN_SECONDS)}
        try:
            self._token = self._request("PUT", "api/token", ttl)
        except (OSError, ValueError, HTTPException) as error:
            raise MetadataUnavailable(f"no token: {error}") from error
        return self._token

    def _request(self, method: str, path: str, headers: dict[str, str]) -> str:
        request = urllib.request.Request(f"{self._endpoint}/latest/{path}", headers=headers, method=method)  # noqa: S310 - the endpoint is the operator's
        with self._open(request, timeout=_TIMEOUT) as response:
            return str(response.read(_LIMIT).decode())
