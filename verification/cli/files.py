"""Files as people give them to a command, good and bad."""

from __future__ import annotations

import os
from itertools import pairwise
from pathlib import Path

from verification.cli.world import TRAINED

_DATA = "data: {path: training-data/sales/}\nprediction_length: 6\n"
_TRAIN = f"{_DATA}model: {{from_scratch: {{}}}}\n"
_CONFIGS: dict[str, str | bytes] = {
    "train.yaml": _TRAIN,
    os.fsdecode(b"caf\xe9.yaml"): _TRAIN,
    "grid.yaml": "base: tuned.yaml\nvalues: {training.steps: [1, 2]}\n",
    "tuned.yaml": _DATA + f"model: {{base: 'run:{TRAINED}'}}\n",
    "not-yaml.yaml": "a: [",
    "a-list.yaml": "- a\n- b\n",
    "empty.yaml": "",
    "nul.yaml": "\0",
    "unknown-key.yaml": _TRAIN + "training: {step: 5}\n",
    "wrong-type.yaml": _TRAIN.replace("6", "six"),
    "no-data.yaml": "prediction_length: 6\n",
    "outside.yaml": _TRAIN.replace("training-data/sales/", "../dev/"),
    "no-such-data.yaml": _TRAIN.replace("sales", "nothing"),
    "own-trainer.yaml": "trainer: 'mine:Mine'\n" + _TRAIN,
    "infinite.yaml": _TRAIN + "training: {learning_rate: .inf}\n",
    "deep.yaml": "[" * 2000,
    "not-json.json": "tick",
    "forecast.yaml": "job: forecast\nmodel: champion\n" + _DATA,
    "evaluate.yaml": "job: evaluate\nmodels: [champion]\n" + _DATA,
    "forecast-many.yaml": "job: forecast\nmodel: [a, b]\n" + _DATA,
    "evaluate-none.yaml": "job: evaluate\nmodels: []\n" + _DATA,
    "no-job.yaml": "job: dance\n" + _DATA,
    "job-list.yaml": "job: [forecast]\n" + _DATA,
    "levels.yaml": "job: forecast\nmodel: champion\nquantile_levels: [0.9, 2, x]\n" + _DATA,
    "keys.yaml": "1: 2\nnull: 3\n[a]: b\n" + _DATA,
    "bomb.yaml": "a: &a [x, x]\n"
    + "".join(f"{b}: &{b} [{', '.join([f'*{a}'] * 9)}]\n" for a, b in pairwise("abcdefghij")),
    "tag.yaml": "data: !!python/object/apply:os.system [true]\n",
    "date.yaml": "prediction_length: 2026-01-01\n" + _TRAIN,
    "latin-1.yaml": "data: {path: größe/}".encode("latin-1"),
}

_HEADER = "item_id,timestamp,target"
_ROWS = [f"{shop},2026-01-{day + 1:02d},{day * 2 + len(shop)}" for shop in ("north", "south") for day in range(28)]
_GOOD = "\n".join([_HEADER, *_ROWS]) + "\n"
_LONG = "n" * 5000
_TABLES: dict[str, str | bytes] = {
    "good.csv": _GOOD,
    "windows.csv": "\ufeff" + _GOOD.replace("\n", "\r\n"),
    "latin-1.csv": _GOOD.replace("north", "nörd").encode("latin-1"),
    "utf-16.csv": _GOOD.encode("utf-16"),
    "nul.csv": _GOOD.replace("north", "no\0rth"),
    "control.csv": _GOOD.replace("north", "no\x1b[31mrth\x07"),
    "long-id.csv": _GOOD.replace("north", _LONG),
    "long-header.csv": _GOOD.replace("target", _LONG),
    "header.csv": _HEADER,
    "empty.csv": "",
    "semicolons.csv": _GOOD.replace(",", ";"),
    "ragged.csv": _GOOD.replace("2026-01-02,", "2026-01-02,,,"),
    "quote.csv": _GOOD.replace("north", '"north'),
    "gaps.csv": "\n".join([_HEADER, *_ROWS[::3]]),
    "words.csv": _GOOD.replace("2026-01-05", "last Monday"),
    "damaged.parquet": "PAR1damagedPAR1",
    "damaged.feather": "ARROW1\0\0damagedARROW1",
}

_SETTINGS: dict[str, str | bytes] = {
    "broken-config": "[profile mine\nregion = us-east-1\n",
    "binary-config": b"[profile mine]\n\xff\xfe\x00region",
    "aws-config": (
        "[profile failing]\ncredential_process = false\n"
        "[profile missing]\ncredential_process = /no/such/program\n"
        "[profile chatty]\ncredential_process = echo hello\n"
        "[profile role]\nrole_arn = arn:aws:iam::123456789012:role/x\nsource_profile = nobody\n"
        "[profile base]\naws_access_key_id = testing\naws_secret_access_key = testing\n"
        "[profile mfa]\nrole_arn = arn:aws:iam::123456789012:role/x\nsource_profile = base\n"
        "mfa_serial = arn:aws:iam::123456789012:mfa/ana\n"
        "[profile sso]\nsso_session = s\nsso_account_id = 123456789012\nsso_role_name = x\n"
        "[sso-session s]\nsso_region = us-east-1\nsso_start_url = https://example.awsapps.com/start\n"
    ),
}
"""AWS's configuration files."""


def write_files(folder: Path) -> None:
    """Write them all into a folder."""
    pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n"
    others = {"a-file": "x", "sales/a.parquet": "PAR1data-PAR1", "empty/a.parquet": ""}
    others |= {f"pointer.{kind}": pointer for kind in ("yaml", "csv", "parquet")}
    for name in ("sales", "empty", "none", os.fsdecode(b"caf\xe9")):
        (folder / name).mkdir()
    for name, body in (_CONFIGS | _TABLES | _SETTINGS | others).items():
        (folder / name).write_bytes(body if isinstance(body, bytes) else body.encode())
    (folder / "loop.yaml").symlink_to("loop.yaml")
    for kind in ("yaml", "csv"):
        os.mkfifo(folder / f"fifo.{kind}")
        (folder / f"zero.{kind}").symlink_to("/dev/zero")
    (folder / "huge.yaml").touch()
    os.truncate(folder / "huge.yaml", 1 << 40)
