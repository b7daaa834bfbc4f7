"""Redacts log lines before they leave the instance: secrets and control characters."""

from __future__ import annotations

import re

_SECRETS = (
    # AWS: access key ids, session tokens and metadata service tokens, by their prefixes.
    re.compile(r"(?<![A-Za-z0-9])(?:AKIA|ASIA)[A-Z0-9]{16}(?![A-Za-z0-9])"),
    re.compile(r"(?<![A-Za-z0-9])(?:IQoJ|FwoG|FQoG)[A-Za-z0-9+/=]{60,}"),
    re.compile(r"(?<![A-Za-z0-9])AQAE[A-Za-z0-9_-]{40,}={0,2}"),
    # Hugging Face, GitHub.
    re.compile(r"(?<![A-Za-z0-9])(?:hf_[A-Za-z0-9]{20,}|gh[opsu]_[A-Za-z0-9]{30,}|github_pat_[A-Za-z0-9_]{30,})"),
    re.compile(r"(?i)(?<=bearer )[A-Za-z0-9._~+/-]{8,}=*"),
    # Values of secret names. A bare `token` is not one: training logs are full of tokens.
    re.compile(
        r"(?i)(?:secret_?access_?key|session_?token|security-token|metadata-token|x-amz-signature"
        r"|api_?key|hf_token|passw(?:or)?d|client_?secret)"
        r"(?P<between>[\"']?\s*[=:]\s*[\"']?)(?P<secret>(?!\[hidden\])[^\s\"',;&}\])]{4,})"
    ),
)
_HINT = re.compile(r"A[KS]IA|IQoJ|F[wQ]oG|AQAE|hf_|gh[opsu]_|github_pat_|(?i:bearer |secret|token|signature|key|passw)")
_HIDDEN = "[hidden]"


def redacted(line: str) -> str:
    """The line with secrets hidden, and unprintable characters except tabs replaced by spaces."""
    if _HINT.search(line):
        for secret in _SECRETS:
            line = secret.sub(_hide, line)
    if line.isprintable():
        return line
    return "".join(character if character.isprintable() or character == "\t" else " " for character in line)


def _hide(found: re.Match[str]) -> str:
    """Hide the secret but keep its name, if it has one."""
    if "secret" not in found.groupdict():
        return _HIDDEN
    return found[0][: found.start("secret") - found.start()] + _HIDDEN
