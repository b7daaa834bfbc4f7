"""Results in S3, plots and logs."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from agent.chronos.batching.held_out import hold_out
from agent.chronos.evaluate.forecast_table import examples
from agent.data.ingest.read import read_panel
from agent.logs.redacted_copy import MAX_BYTES, PART_BYTES, Part, RedactedCopy
from agent.logs.redaction import redacted
from agent.logs.shipper import LogShipper, StreamCopy, log_to
from agent.plots import draw_forecasts, draw_loss
from agent.protocol.metrics_log import losses
from agent.results.upload import Results
from chronos_ec2.domain.errors import ServiceUnavailable
from chronos_ec2.domain.records.s3_keys import log_key, log_parts
from chronos_ec2.job_config.data import Data
from chronos_ec2.worker.progress import Progress
from tests.agent.builders import RUN_ID, FlakyObjects, World, a_workdir, toy_series

PNG = b"\x89PNG\r\n"


def results_of(world: World, slept: list[float] | None = None) -> Results:
    objects = world.objects or world.memory.objects
    sleep = (slept if slept is not None else []).append
    return Results(objects, world.transfer, "dev", RUN_ID, Progress(), sleep=sleep)


def test_a_model_is_uploaded_with_every_file_that_chronos_downloads(tmp_path: Path) -> None:
    world = World()
    for name in ("config.json", "model.safetensors"):
        (tmp_path / name).write_text("{}")
    assert results_of(world).model(tmp_path)
    assert world.names() == {"models/config.json", "models/model.safetensors", "models/LICENSE.txt"}


def test_tensorboard_files_are_uploaded(tmp_path: Path) -> None:
    world, workdir = World(), a_workdir(tmp_path)
    workdir.tensorboard.mkdir()
    (workdir.tensorboard / "events.out.tfevents.1").write_bytes(b"x")
    results_of(world).evaluation(workdir)
    assert world.names() == {"tensorboard/events.out.tfevents.1"}


def test_without_a_model_nothing_is_uploaded(tmp_path: Path) -> None:
    world = World()
    assert not results_of(world).model(tmp_path)
    assert not world.names()


def test_writes_are_retried_for_a_minute() -> None:
    world, slept = World(), list[float]()
    world.objects = FlakyObjects(world.memory.objects)
    world.objects.refused = 2
    results_of(world, slept).document("training.json", {"schema_version": 1})
    assert slept == [2, 5]
    world.objects.refused = 99
    with pytest.raises(ServiceUnavailable):
        results_of(world, slept).document("training.json", {})


def test_a_plot_that_cannot_be_drawn_does_not_fail_the_run(tmp_path: Path) -> None:
    world, workdir = World(), a_workdir(tmp_path)
    workdir.metrics.write_text('{"step": 1, "total_steps": 2, "loss": 3.5}\n')
    results_of(world).plots(workdir, [{"item": "broken"}], 12)
    assert world.names() == {"plots/loss.png"}


def test_the_loss_is_plotted_from_the_lines_that_can_be_parsed(tmp_path: Path) -> None:
    metrics, picture = tmp_path / "metrics.jsonl", tmp_path / "loss.png"
    assert not draw_loss(metrics, picture)
    lines = [json.dumps({"step": step, "total_steps": 60, "loss": 1 / step}) for step in range(1, 60)]
    metrics.write_text("\n".join([*lines, '{"event": "checkpoint", "step": 59}', '{"step": 60, "lo']))
    assert draw_loss(metrics, picture)
    assert picture.read_bytes().startswith(PNG)


@pytest.mark.parametrize("count", [1, 3, 12])
def test_examples_are_representative_and_plotted(tmp_path: Path, count: int) -> None:
    path = tmp_path / "toy.parquet"
    pq.write_table(toy_series(count), path)
    panel = read_panel([path], Data.model_validate({"path": "x"}), 12, tmp_path / "panel")
    quantiles = np.sort(np.random.default_rng(1).normal(10, 1, (1, count, 1, 6, 9)), axis=-1)
    errors = np.linspace(0.1, 2.0, count)
    chosen = examples(panel, hold_out(panel, 6, 1, 6), "chronos-2", quantiles, quantiles, errors)
    assert len({example["item"] for example in chosen}) == min(count, 4)
    assert 0.1 < chosen[-1]["mase"] < 2.0 or count < 4
    draw_forecasts(chosen, tmp_path / "forecast.png", 6)
    assert (tmp_path / "forecast.png").read_bytes().startswith(PNG)


@pytest.mark.parametrize(
    ("kind", "first"),
    [
        (pa.int64(), 1_704_067_200_000),
        (pa.timestamp("ms", "+09:00"), "2024-01-01 09:00:00"),
        (pa.timestamp("ms", "-05:00"), "2023-12-31 19:00:00"),
        (pa.date32(), "2024-01-01"),
    ],
)
def test_times_are_plotted_as_numbers_or_local_times(tmp_path: Path, kind: pa.DataType, first: Any) -> None:
    table = toy_series(1)
    milliseconds = table["timestamp"].cast(pa.timestamp("ms"))
    times = milliseconds.cast(pa.int64()).cast(kind) if not pa.types.is_date(kind) else milliseconds.cast(kind)
    path = tmp_path / "toy.parquet"
    pq.write_table(table.set_column(1, "timestamp", times), path)
    panel = read_panel([path], Data.model_validate({"path": "x"}), 12, tmp_path / "panel")
    quantiles = np.zeros((1, 1, 1, 12, 9))
    (example,) = examples(panel, hold_out(panel, 12, 1, 6), "chronos-2", quantiles, quantiles, np.array([1.0]))
    assert example["times"][0] == first
    draw_forecasts([example], tmp_path / "forecast.png")


def test_missing_values_of_an_example_are_null(tmp_path: Path) -> None:
    table = toy_series(1)
    gap = table.set_column(2, "target", [[1.0, None, *table["target"].to_pylist()[2:]]])
    path = tmp_path / "toy.parquet"
    pq.write_table(gap, path)
    panel = read_panel([path], Data.model_validate({"path": "x"}), 12, tmp_path / "panel")
    quantiles = np.zeros((1, 1, 1, 30, 9))
    (example,) = examples(panel, hold_out(panel, 30, 1, 6), "chronos-2", quantiles, quantiles, np.array([np.nan]))
    assert example["values"][1] is None
    assert example["mase"] is None
    draw_forecasts([example], tmp_path / "forecast.png")


def test_a_log_record_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    undo = log_to(tmp_path / "logs" / "agent.log")
    try:
        logging.getLogger("agent").warning("a\x1b[31m name\nwith %s", "lines")
        logging.getLogger("agent").error("failed", exc_info=ValueError("first\nsecond"))
    finally:
        undo()
    lines = (tmp_path / "logs" / "agent.log").read_text().splitlines()
    assert len(lines) == 2
    assert lines[0].endswith("WARNING MainThread agent: a [31m name | with lines")
    assert "ValueError: first | second" in lines[1]


def test_logs_are_uploaded_when_they_have_grown(tmp_path: Path) -> None:
    shipped: list[str] = []
    path = tmp_path / "agent.log"

    def upload(one: Part) -> None:
        shipped.append(one.path.read_text())
        if len(shipped) == 2:
            raise ServiceUnavailable("no answer")

    shipper = LogShipper([(upload, (path, tmp_path / "missing.log"))], tmp_path / "redacted")
    shipper.ship()
    path.write_text("one")
    shipper.ship()
    shipper.ship()
    path.write_text("one two")
    shipper.ship()
    shipper.ship()
    assert shipped == ["one", "one two", "one two"]


def test_cloudwatch_gets_each_complete_line_once(tmp_path: Path) -> None:
    world, path, copied = World(), tmp_path / "trainer.log", "run/1/trainer.log"
    refused = iter([False, True, False, False])

    def append(stream: str, lines: Sequence[str], at: datetime) -> None:
        if next(refused):
            raise ServiceUnavailable("no answer")
        world.memory.streams.append(stream, lines, at)

    copy = StreamCopy(SimpleNamespace(append=append), "run/1/", world.clock)
    shipper = LogShipper([(copy.send, (path,))], tmp_path / "redacted")
    path.write_bytes(b"step 1\n\n\x1b[31mred\nhal")
    shipper.ship()
    path.write_bytes(path.read_bytes() + b"f\nwhole\n")
    shipper.ship()
    assert [line for _, line in world.memory.streams.lines[copied]] == ["step 1", "[31mred"]
    shipper.ship()
    shipper.ship()
    assert [line for _, line in world.memory.streams.lines[copied]] == ["step 1", "[31mred", "half", "whole"]


def test_a_failed_route_does_not_block_the_others(tmp_path: Path) -> None:
    shipped: list[str] = []
    path = tmp_path / "agent.log"
    path.write_text("one\n")

    def refuse(_part: Part) -> None:
        raise ServiceUnavailable("no answer")

    LogShipper(
        [(refuse, (path,)), (lambda one: shipped.append(one.path.read_text()), (path,))], tmp_path / "redacted"
    ).ship()
    assert shipped == ["one\n"]


def test_uploaded_logs_are_text_without_secrets_however_they_are_written(tmp_path: Path) -> None:
    shipped: list[str] = []
    path = tmp_path / "trainer.log"
    shipper = LogShipper([(lambda one: shipped.append(one.path.read_text()), (path,))], tmp_path / "redacted")
    path.write_bytes(b"a\ttab \x1b[31mred\n 10%\r 20%\rAWS_SECRET_ACCESS_KEY=wJalrXUtn")
    shipper.ship()
    path.write_bytes(path.read_bytes() + b"FEMI/K7MDENG\r\nlast line")
    shipper.ship()
    assert shipped == [
        "a\ttab  [31mred\n 10%\n 20%\nAWS_SECRET_ACCESS_KEY=[hidden]",
        "a\ttab  [31mred\n 10%\n 20%\nAWS_SECRET_ACCESS_KEY=[hidden]\nlast line",
    ]


def test_only_the_latest_part_of_a_log_that_grows_too_fast_is_uploaded(tmp_path: Path) -> None:
    shipped: list[int] = []
    path = tmp_path / "trainer.log"
    shipper = LogShipper([(lambda one: shipped.append(one.path.stat().st_size), (path,))], tmp_path / "redacted")
    with path.open("w") as log:
        log.writelines(f"line {number:08d}\n" for number in range(600_000))
    shipper.ship()
    text = (tmp_path / "redacted" / "trainer.log.1").read_text()
    assert MAX_BYTES <= shipped[0] < MAX_BYTES + 100
    assert text.startswith("[4400000 bytes of this log omitted]\n")
    assert text.endswith("line 00599999\n")


def lines_of(first: int, count: int) -> str:
    return "".join(f"{number:09d}\n" for number in range(first, first + count))


def test_a_log_is_uploaded_in_parts_of_which_only_the_latest_is_uploaded_again(tmp_path: Path) -> None:
    world, log = World(), tmp_path / "trainer.log"
    results, uploads, text = results_of(world), list[Part](), ""

    def upload(part: Part) -> None:
        uploads.append(part)
        results.log(part)

    shipper = LogShipper([(upload, (log,))], tmp_path / "redacted")
    for shipment in range(30):
        # Now and then the last line is being written: what a part ends with is a whole line all the same.
        text += lines_of(30_000 * shipment, 30_000)
        log.write_text(text + "half"[: shipment % 3])
        shipper.ship()
    shipper.ship()
    parts = log_parts((key for key, _ in world.memory.objects.keys("")), log_key("dev", RUN_ID, "trainer.log", 1))
    bodies = [world.memory.objects.body(key) for key in parts]
    assert b"".join(bodies).decode() == log.read_text()
    assert all(body.endswith(b"\n") for body in bodies[:-1])
    assert all(PART_BYTES <= len(body) < PART_BYTES + 300_000 for body in bodies[:-1])
    assert [part.number for part in uploads] == sorted(part.number for part in uploads)
    # Uploaded whole each time, the log would have left 30 versions of 4.5 MB on average.
    assert len(uploads) <= 30 + len(parts)
    # A part that is in the bucket and changes no more needs no place on the disk.
    assert [path.name for path in (tmp_path / "redacted").glob("trainer.log.[0-9]*")] == [f"trainer.log.{len(parts)}"]


def test_a_part_is_kept_until_every_route_has_sent_it(tmp_path: Path) -> None:
    log, sent, answers = tmp_path / "trainer.log", list[int](), iter([False, False, True, True])

    def late(part: Part) -> None:
        if not next(answers):
            raise ServiceUnavailable("no answer")
        sent.append(part.path.stat().st_size)

    shipper = LogShipper([(lambda _part: None, (log,)), (late, (log,))], tmp_path / "redacted")
    for shipment in (1, 2):
        log.write_text(lines_of(0, 110_000 * shipment))
        shipper.ship()
    shipper.ship()
    assert sum(sent) == log.stat().st_size


def test_a_part_that_could_not_be_uploaded_is_uploaded_before_the_next_one(tmp_path: Path) -> None:
    world, log = World(), tmp_path / "trainer.log"
    results, answers = results_of(world), iter([True, False, False, True, True, True])

    def upload(part: Part) -> None:
        if not next(answers):
            raise ServiceUnavailable("no answer")
        results.log(part)

    shipper = LogShipper([(upload, (log,))], tmp_path / "redacted")
    for shipment in range(1, 4):
        log.write_text(lines_of(0, 110_000 * shipment))
        shipper.ship()
    shipper.ship()
    parts = log_parts((key for key, _ in world.memory.objects.keys("")), log_key("dev", RUN_ID, "trainer.log", 1))
    assert b"".join(map(world.memory.objects.body, parts)).decode() == log.read_text()
    assert len(parts) == 3


def test_of_a_log_without_end_the_beginning_and_the_end_are_kept(tmp_path: Path) -> None:
    log, bucket = tmp_path / "trainer.log", dict[int, str]()
    copy = RedactedCopy(log, tmp_path / "redacted", part_bytes=100, max_parts=3)
    for shipment in range(1, 21):
        log.write_text(lines_of(0, 10 * shipment))
        copy.refresh()
        bucket |= {part.number: part.path.read_text() for part in copy.versions}
    assert bucket.keys() == {1, 2, 3}
    assert bucket[1] + bucket[2] == lines_of(0, 20)
    assert bucket[3] == "[a part of this log was omitted]\n" + lines_of(190, 10)


def test_cloudwatch_gets_the_lines_of_all_parts_in_one_stream(tmp_path: Path) -> None:
    world, log = World(), tmp_path / "trainer.log"
    copy = StreamCopy(world.memory.streams, "run/1/", world.clock)
    shipper = LogShipper([(copy.send, (log,))], tmp_path / "redacted")
    for shipment in range(1, 4):
        log.write_text(lines_of(0, 110_000 * shipment) + "half")
        shipper.ship()
    assert [line for _, line in world.memory.streams.lines["run/1/trainer.log"]] == lines_of(0, 330_000).splitlines()


def test_what_is_uploaded_of_a_log_is_noted_for_whoever_uploads_the_rest(tmp_path: Path) -> None:
    log, answers = tmp_path / "trainer.log", iter([True, False, True, True])

    def upload(_part: Part) -> None:
        if not next(answers):
            raise ServiceUnavailable("no answer")

    shipper, note = LogShipper([(upload, (log,))], tmp_path / "redacted"), tmp_path / "redacted" / "trainer.log.shipped"
    log.write_text(lines_of(0, 110_000) + "half")
    shipper.ship()
    assert note.read_text() == "1100000 1\n"
    log.write_text(lines_of(0, 120_000))
    shipper.ship()
    assert note.read_text() == "1100000 1\n"
    shipper.ship()
    assert note.read_text() == "1200000 2\n"


SECRETS = (
    "AKIAIOSFODNN7EXAMPLE", "ASIAIOSFODNN7EXAMPLE", "IQoJb3JpZ2luX2Vj" + "aB1/" * 30, "AQAEAB" + "c1-_" * 12 + "==",
    "hf_" + "aB1" * 12, "ghp_" + "aB1" * 12,
)  # fmt: skip


@pytest.mark.parametrize("secret", SECRETS)
def test_secrets_are_recognised_by_their_format(secret: str) -> None:
    assert redacted(f"got {secret}, continuing") == "got [hidden], continuing"
    assert redacted(f'"{secret}"') == '"[hidden]"'


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("aws_secret_access_key = wJalrXUtnFEMI/K7MDENG", "aws_secret_access_key = [hidden]"),
        ('{"SecretAccessKey": "wJalrXUtnFEMI/K7", "Type": "x"}', '{"SecretAccessKey": "[hidden]", "Type": "x"}'),
        ("AWS_SESSION_TOKEN='abcdefgh'", "AWS_SESSION_TOKEN='[hidden]'"),
        ("X-aws-ec2-metadata-token: abcdefgh", "X-aws-ec2-metadata-token: [hidden]"),
        ("Authorization: Bearer abcdefgh.ijk", "Authorization: Bearer [hidden]"),
        ("GET /a?X-Amz-Signature=0123abcd&x=1", "GET /a?X-Amz-Signature=[hidden]&x=1"),
        ("WANDB_API_KEY=0123456789abcdef", "WANDB_API_KEY=[hidden]"),
        # Typical output of training.
        ("tokens per second: 1234, pad_token=<pad>, key=value", "tokens per second: 1234, pad_token=<pad>, key=value"),
        ("s3://b/dev/20260131T120000Z-1a2b3c/logs", "s3://b/dev/20260131T120000Z-1a2b3c/logs"),
    ],
)
def test_secrets_are_recognised_by_their_names(line: str, expected: str) -> None:
    assert redacted(line) == expected


def test_log_records_of_the_agent_are_redacted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    undo = log_to(tmp_path / "agent.log")
    try:
        logging.getLogger("agent").warning("refused: %s", "AKIAIOSFODNN7EXAMPLE")
    finally:
        undo()
    assert (tmp_path / "agent.log").read_text().endswith("refused: [hidden]\n")
    assert "AKIA" not in capsys.readouterr().err


def test_later_attempts_do_not_overwrite_logs(tmp_path: Path) -> None:
    world, log = World(), tmp_path / "trainer.log"
    for attempt in (1, 2):
        log.write_text(f"attempt {attempt}\n")
        Results(world.memory.objects, world.transfer, "dev", RUN_ID, Progress(), attempt=attempt).log(
            Part(log.name, 1, log)
        )
    assert world.names() == {"logs/trainer.log", "logs/trainer-2.log"}
    assert world.memory.objects.body(f"dev/{RUN_ID}/logs/trainer.log") == b"attempt 1\n"


def test_losses_after_the_checkpoint_of_a_lost_attempt_are_dropped(tmp_path: Path) -> None:
    metrics = tmp_path / "metrics.jsonl"
    lines: list[dict[str, Any]] = [{"step": step, "total_steps": 9, "loss": 1.0} for step in (1, 2, 3)]
    lines += [{"event": "attempt", "attempt": 2, "step": 1}, {"step": 2, "total_steps": 9, "loss": 2.0}]
    metrics.write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert losses(metrics) == [(1.0, 1.0), (2.0, 2.0)]


def test_uploading_a_log_is_no_progress(tmp_path: Path) -> None:
    world, progress = World(), Progress()
    results = Results(world.objects, world.transfer, "dev", RUN_ID, progress)
    log = tmp_path / "trainer.log"
    log.write_text("still waiting for the other ranks\n")
    results.log(Part(log.name, 1, log))
    assert progress.snapshot().counter == 0


def test_objects_missing_or_changed_in_s3_are_named(tmp_path: Path) -> None:
    world = World()
    (tmp_path / "config.json").write_text("{}")
    results = results_of(world)
    results.model(tmp_path)
    assert results.missing() == []
    world.memory.objects.write(results.key_of("models/config.json"), b"{")
    world.memory.objects.remove(results.key_of("models/LICENSE.txt"))
    assert results.missing() == ["models/LICENSE.txt", "models/config.json"]


def test_a_training_json_that_violates_its_schema_is_written_and_logged(caplog: pytest.LogCaptureFixture) -> None:
    world = World()
    results_of(world).summary({"schema_version": 1})
    assert world.names() == {"training.json"}
    assert "training.json: run_id: Field required" in caplog.text
