"""Which lines of the trainer's metrics are read, and which of them are progress."""

from __future__ import annotations

import json
from pathlib import Path

from agent.supervise.metrics_tail import MetricsTail
from chronos_ec2.worker.progress import Progress


def test_only_complete_lines_of_metrics_are_read(tmp_path: Path) -> None:
    path, progress, checkpoints = tmp_path / "metrics.jsonl", Progress(), list[tuple[int, bool]]()
    tail = MetricsTail(path, progress, lambda step, best: checkpoints.append((step, best)))
    tail.read()
    path.write_text('{"step": 1, "total_steps": 9}\n{"step": 2, "tot')
    tail.read()
    assert progress.snapshot().step == 1
    with path.open("a") as stream:
        stream.write('al_steps": 9}\nnot json\n[]\n{"event": "checkpoint", "step": 2}\n')
        stream.write('{"event": "checkpoint", "step": 3, "best": true}\n')
    tail.read()
    assert progress.snapshot().step == 2
    assert checkpoints == [(2, False), (3, True)]


def test_work_that_is_no_step_is_progress(tmp_path: Path) -> None:
    path, progress = tmp_path / "metrics.jsonl", Progress()
    path.write_text("")
    tail = MetricsTail(path, progress, lambda _step, _best: None)
    path.write_text('{"event": "loading", "done": 1, "total": 9}\n{"event": "evaluating", "done": 1, "total": 9}\n')
    tail.read()
    assert progress.snapshot().counter == 2


def test_steps_are_progress_again_after_training_started_over(tmp_path: Path) -> None:
    """After a batch that did not fit into memory: for so many steps a watchdog would see a hang."""
    path, progress = tmp_path / "metrics.jsonl", Progress()
    path.write_text("")
    tail = MetricsTail(path, progress, lambda _step, _best: None)
    counters = []
    for line in ("began", 7, 8, 8, "began", 7, 8, 8):
        entry = {"event": line, "step": 6} if line == "began" else {"step": line, "total_steps": 9}
        with path.open("a") as stream:
            stream.write(json.dumps(entry) + "\n")
        tail.read()
        counters.append(progress.snapshot().counter)
    assert counters == [1, 2, 3, 3, 4, 5, 6, 6]
    assert progress.snapshot().step == 8


def test_lines_of_an_earlier_attempt_do_not_hide_the_progress_of_this_one(tmp_path: Path) -> None:
    path, progress, checkpoints = tmp_path / "metrics.jsonl", Progress(), list[int]()
    path.write_text('{"step": 900, "total_steps": 999}\n{"event": "checkpoint", "step": 900}\n')
    tail = MetricsTail(path, progress, lambda step, _best: checkpoints.append(step))
    tail.read()
    assert (tail.started, progress.snapshot().counter, checkpoints) == (False, 0, [])
    with path.open("a") as stream:
        stream.write('{"step": 801, "total_steps": 999}\n')
    tail.read()
    assert (tail.started, progress.snapshot().counter, progress.snapshot().step) == (True, 1, 801)
