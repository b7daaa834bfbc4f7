"""What the guide to deploying has one type is what the template takes."""

from __future__ import annotations

import re
from typing import Any

from tests.template.conftest import ROOT

Template = dict[str, Any]


def test_an_ami_can_be_pinned_as_the_guide_says(template: Template) -> None:
    guide = (ROOT / "docs" / "deploying.md").read_text()
    parameter = template["Parameters"]["ImageIdParameter"]
    (own,) = set(re.findall(r"ImageIdParameter=(/[\w/-]+)", guide))
    assert re.fullmatch(parameter["AllowedPattern"], own)
    assert f"--name {own} " in guide
    assert f"LATEST={parameter['Default']}\n" in guide
