"""The list of instance types is what EC2 says of them."""

from __future__ import annotations

import tomllib

import pytest

from tools.instance_types import DOCUMENT, as_toml


@pytest.mark.golden
def test_the_list_is_up_to_date() -> None:
    """But for the version of moto: a newer one may have new types."""
    written, made = (tomllib.loads(text)["types"] for text in (DOCUMENT.read_text(), as_toml()))
    assert written.items() <= made.items(), "run `python -m tools.instance_types`"
