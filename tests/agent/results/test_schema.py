"""training.json matches its schema, and docs/ has the current schema."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from agent.lifecycle import run_agent
from agent.results.schema import problems, schema
from chronos_ec2.worker.control import Control
from tests.agent.builders import World, a_config, a_workdir, an_identity, launch, put_toy_series

PUBLISHED = Path(__file__).parents[3] / "docs" / "training.schema.json"


@pytest.fixture
def written(tmp_path: Path) -> dict[str, Any]:
    """The training.json of a run of the probe."""
    world = World()
    put_toy_series(world, tmp_path)
    launch(world, a_config())
    run_agent(world, "bucket", an_identity(), a_workdir(tmp_path), Control())
    return world.document("training.json")


@pytest.mark.golden
def test_the_published_schema_is_current() -> None:
    """Regenerate it with `python -m agent.results.schema > docs/training.schema.json`."""
    assert json.loads(PUBLISHED.read_text()) == schema()


def test_the_training_json_of_a_run_matches_the_published_schema(written: dict[str, Any]) -> None:
    jsonschema.validate(written, json.loads(PUBLISHED.read_text()), cls=jsonschema.Draft202012Validator)
    assert problems(written) == []


def test_violations_are_named(written: dict[str, Any]) -> None:
    assert problems(written | {"atempt": 2}) == ["atempt: Extra inputs are not permitted"]
    del written["outcome"]
    assert problems(written | {"attempt": 0}) == [
        "attempt: Input should be greater than or equal to 1",
        "outcome: Field required",
    ]
