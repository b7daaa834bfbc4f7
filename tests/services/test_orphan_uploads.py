"""Uploads that nobody is left to end are aborted, those of runs that go on are not."""

from __future__ import annotations

import pytest

from chronos_ec2.domain.instance import InstanceState
from chronos_ec2.domain.records.lane import Lane
from chronos_ec2.domain.records.s3_keys import run_key
from chronos_ec2.services.watchdog.orphan_uploads import abort_orphan_uploads
from tests.services.scenario import Scenario

OVER = "20200101T000000Z-000000"


def key(run_id: str) -> str:
    return run_key("dev", run_id, "checkpoints/100/model.safetensors")


def begin(scene: Scenario, *run_ids: str) -> None:
    for run_id in run_ids:
        scene.world.objects.begin(key(run_id))


def abort(scene: Scenario) -> tuple[str, ...]:
    return abort_orphan_uploads("dev", scene.store, scene.world.fleet)


def begun(scene: Scenario) -> list[str]:
    return [upload.key for upload in scene.world.objects.begun]


def test_the_upload_of_a_run_that_is_over_is_aborted_and_that_of_one_that_goes_on_is_not(scene: Scenario) -> None:
    launched = scene.launch()
    begin(scene, OVER, launched.run_id)
    scene.world.objects.begin(run_key("prod", OVER, "models/model.safetensors"))
    assert abort(scene) == (key(OVER),)
    assert begun(scene) == [key(launched.run_id), run_key("prod", OVER, "models/model.safetensors")]


@pytest.mark.parametrize("alive", [True, False])
def test_the_upload_of_a_run_that_lost_its_lock_stays_while_its_instance_lives(scene: Scenario, alive: bool) -> None:
    launched = scene.launch()
    begin(scene, launched.run_id)
    scene.world.objects.remove(Lane("dev").state_key)
    if not alive:
        scene.world.fleet.move(launched.instance_id, InstanceState.TERMINATED)
    assert abort(scene) == (() if alive else (key(launched.run_id),))


def test_beside_an_unreadable_lock_no_upload_is_aborted(scene: Scenario) -> None:
    begin(scene, OVER)
    scene.world.objects.write(Lane("dev", "second").state_key, b"not a record")
    assert abort(scene) == ()
    assert begun(scene) == [key(OVER)]


def test_without_uploads_nothing_else_is_asked(scene: Scenario) -> None:
    scene.world.fleet.instances = None  # type: ignore[method-assign,assignment]
    assert abort(scene) == ()
