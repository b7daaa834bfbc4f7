"""Arguments that no command takes, each refused with exit code 2."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product

from verification.cli.situations import COMMANDS, Situation, wrong
from verification.cli.world import ACTIVE, BEST, FAILED, TRAINED

_NO_NUMBERS = ("nan", "inf", "-inf", "-1", "1e99", "", "x", "0x10", "1_", "1e400")
_NO_COUNTS = ("-1", "1.5", "nan", "", "x", "1" + "0" * 20, "1" * 5000)
_NO_NAMES = ("", "Upper", "a b", "../x", "a/b", "x" * 40, "é", "cached-datasets", "-x", "a\nb", "\x1b[2J")
_NO_RUNS = (
    "latest", "", "2026", "20260131T110000Z", "../20260131T110000Z-00000b", "20260131T110000Z-00000B", "é", "\n",
)  # fmt: skip
_NO_TYPES = (
    ",", "a,,b", "g5", "g5.", ".xlarge", "g5 xlarge", "G5.XLARGE", "g5.2xlarge,", "g5.2xlarge;g4dn.xlarge", "é.é",
)  # fmt: skip
_NO_SPANS = ("", "x", "0", "-1h", "1", "1y", "nan", "inf", "1e99h", "h", "9" * 400 + "h", "\n", "٣h")
_NO_MODELS = (
    "", " ", "./empty", "./nowhere", "./a-file", "run:", "run:latest", f"run:{FAILED}", "run:20200101T000000Z-000000",
    "s3://", "s3://elsewhere/x/", "s3:/x", "champion@nothing", "/", "..", "a/b/c", "\x1b[2J", "é/é", "x" * 500,
)  # fmt: skip
_NO_INTERVALS = ("nan", "inf", "0", "-1", "1e9", "x")

_LAUNCH = "launch --trainer probe --json"
_FORECAST = "forecast --data sales --horizon 6 --model champion --json"
_EVALUATE = "evaluate --data sales --horizon 6 --models champion --json"
_OPTIONS: tuple[tuple[tuple[str, ...], tuple[str, ...]], ...] = (
    ((f"{_LAUNCH} --max-hours", f"{_LAUNCH} --max-cost"), (*_NO_NUMBERS, "0")),
    ((f"{_LAUNCH} --price", f"{_LAUNCH} --minutes"), (*_NO_NUMBERS, "0")),
    ((f"{_LAUNCH} --max-hours",), ("8785", "9000", "1e9", "0.1")),
    ((f"{_LAUNCH} --preemptions", f"{_LAUNCH} --crashes"), _NO_COUNTS),
    ((f"{_LAUNCH} --instance-type",), _NO_TYPES),
    ((f"{_LAUNCH} --lane", f"{_LAUNCH} --environment"), _NO_NAMES),
    ((f"{_FORECAST} --max-hours", f"{_EVALUATE} --max-cost", f"{_FORECAST} --price"), _NO_NUMBERS),
    ((f"{_FORECAST} --crashes", f"{_EVALUATE} --preemptions"), _NO_COUNTS),
    ((f"{_FORECAST} --horizon", f"{_EVALUATE} --context", f"{_EVALUATE} --windows"), (*_NO_COUNTS, "0")),
    ((f"{_FORECAST} --lane", f"{_EVALUATE} --environment"), _NO_NAMES),
    ((f"{_FORECAST} --shards", f"{_FORECAST} --shards 2 --parallel"), (*_NO_COUNTS, "0", "101")),
    ((f"{_FORECAST} --shards 2 --name",), _NO_NAMES),
    ((f"{_EVALUATE} --instance-type",), _NO_TYPES),
    ((f"{_FORECAST} --wait-for-capacity", f"{_EVALUATE} --spot --on-demand-after"), _NO_SPANS),
    (("forecast --data sales --horizon 6 --model", "evaluate --data sales --horizon 6 --json --models"), _NO_MODELS),
    (("launch --json --resume",), _NO_RUNS),
    ((f"models promote {BEST} --yes --model", "launch --config train.yaml --promote better --model-name"), _NO_NAMES),
    ((f"hold {ACTIVE} --json --for",), _NO_SPANS),
    (("drill --yes --json --at-once", "runs --json --limit"), _NO_COUNTS),
    ((f"monitor {FAILED} --json --interval", f"logs {FAILED} --interval", "drill --yes --interval"), _NO_INTERVALS),
    (("cleanup --json --wait",), ("nan", "inf", "1e6", "-1", "1e9", "x")),
)  # fmt: skip
"""The beginnings of lines whose last option has the values."""
_POSITIONAL = (
    *product(
        ("monitor --json", "kill --json", "logs", "results --json", "report --json", "hold --json", "release --json",
         "runs show --json", "runs compare --json", "models promote --yes --json"),
        _NO_RUNS,
    ),
    *product(("models show --json", "models rollback --yes --json"), _NO_NAMES),
)  # fmt: skip
_UNKNOWN = "20200101T000000Z-000000"
_LINES: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("", ("--json", "--bogus", "lunch")),
    ("launch", ("--max-hour 3", "extra", "--config", "--trainer other", "--trainer probe --config train.yaml",
        "--minutes 3", "--ending oom", "--trainer probe --ending badly", "--trainer probe --promote better --json",
        "--trainer probe --data sales --json", f"--resume {FAILED} --json", f"--resume {TRAINED} --json",
        f"--resume {ACTIVE} --json", f"--resume {FAILED} --config train.yaml --json",
        "--config train.yaml --model-name x --json", "--config train.yaml --promote sometimes",
        "--config forecast.yaml --promote better --json", "--config train.yaml --on-demand-after 30m --json",
        "--config train.yaml --future sales --json",
        "--config train.yaml --spot --wait-for-capacity 1h --on-demand-after 2h --json",
        "--config train.yaml --data ./words.csv --timestamp-format % --yes")),
    ("forecast", ("", "--data sales", "--horizon 6", "--data nothing --horizon 6 --model champion",
        "--data sales/ --horizon 6 --model champion", "--data training-data/../x/ --horizon 6 --model champion --json",
        "--data sales --horizon 6 --quantiles x", "--data sales --horizon 6 --quantiles 0.1,2",
        "--data sales --horizon 6 --quantiles nan", "--data sales --horizon 6 --format xml",
        "--data sales --horizon 6 --future nothing --model champion",
        "--data ./words.csv --horizon 6 --model champion --timestamp-format %",
        "--data ./good.csv --horizon 6 --model champion --to a-file/below --yes",
        "--data sales --horizon 6 --model champion --to a-file --json",
        "--data ./good.csv --horizon 6 --model champion --target nothing",
        "--data ./good.csv --horizon 6 --model champion --item-id ,",
        "--data ./good.csv --horizon 6 --model champion --known price --past price", "--config train.yaml --json")),
    ("evaluate", ("", "--horizon 6", "--config forecast.yaml --json", "--data sales --horizon 6 --windows 0",
        "--data sales --horizon 6 --season 0", "--data sales --horizon 6 --models ,",
        "--data ./words.csv --horizon 6 --models champion --timestamp-format % --to x",
        "--data ./good.csv --horizon 6 --models champion --known price --past price")),
    ("runs", ("-e", "sideways", "show", "compare", "--limit 0", f"show {_UNKNOWN} --json",
        f"compare {FAILED} {_UNKNOWN} --json", f"compare {FAILED} {TRAINED} --html a-file/below --json",
        f"compare {FAILED} {TRAINED} --html sales --json")),
    ("monitor", ("a b", _UNKNOWN)),
    ("kill", (f"{_UNKNOWN} --json", FAILED)),
    ("logs", (_UNKNOWN, f"{FAILED} --log trainer", f"{FAILED} --log ../x", "--log agent extra more")),
    ("report", (f"{_UNKNOWN} --json", f"{FAILED} --to a-file/below --json", f"{FAILED} --to sales --json")),
    ("results", (f"{_UNKNOWN} --json", f"{FAILED} --to a-file --json", f"{TRAINED} --to a-file/below --json")),
    ("hold", (f"{FAILED} --json", f"{_UNKNOWN} --json")),
    ("release", (f"{FAILED} --json", f"{_UNKNOWN} --json")),
    ("verify", ("--json --bogus", "--bucket somewhere-else --json", "-e stage --json", "no-group --json")),
    ("sweep", ("", "grid.yaml --json", "grid.yaml --max-cost 9 --lane x --json", "nowhere.yaml --max-cost 9 --json",
        "train.yaml --max-cost 9 --json", "empty.yaml --max-cost 9 --json")),
    ("forecast", ("--data sales --horizon 6 --model champion --parallel 2",
        "--data sales --horizon 6 --model champion --name parts")),
    ("drill", ("--only nothing --yes", "--only , --yes --json", "--instance-type , --yes --json",
        "--instance-type t3.small,t3.micro --yes --json", "--output a-file/below --yes --json",
        "--output sales --yes --json")),
    ("data", ("", "sideways", "check", "check good.csv --config none.yaml", "check good.csv --horizon 0",
        "check good.csv --fix", "check good.csv --item-id ,", "check good.csv --past item_id",
        "check s3://elsewhere/x/", "check s3:// --bucket none",
        "check training-data/nothing/ --environment dev --region us-east-1", "show", "show none.csv",
        "show training-data/nothing/ --environment dev --region us-east-1 --bucket none --json",
        "show good.csv --config none.yaml", "show good.csv --series 0", "show good.csv --picture a-file/x/y.png",
        "show words.csv --timestamp-format %", "check good.csv --picture a-file/x/y.png",
        "check words.csv --timestamp-format %")),
    ("schedule", ("", "create", "create nightly", "create Nightly --config train.yaml --rate 1d",
        "create nightly --config none.yaml --rate 1d --json")),
    ("schedule create nightly --config train.yaml", ("", "--rate 0h --json", "--cron x --rate 1d",
        "--on-data other --rate 1d", "--rate 1d --max-cost-per-month 5",
        "--rate 1d --then none.yaml --then-future sales --json")),
    ("schedule create nightly --config none.yaml --rate 1d", (
        "--promote better --model-name x --lane y --max-hours 1 --max-cost 1",
        "--price 1 --spot --wait-for-capacity 2h --on-demand-after 1h",
        "--instance-type g5.2xlarge --preemptions 1 --crashes 1 --allow-cpu", "--plan --yes --watch")),
    ("schedule", ("show other --json", "pause other --json", "resume other --json", "run other --json",
        "delete other --yes --json", "delete ../x --yes")),
    ("models", ("", "show other", "promote", f"promote {FAILED} --yes", f"promote {TRAINED} --json", "rollback --json",
        "rollback other --yes")),
    ("upload", ("", "nothing", "data", "data sales", "data sales NAME", "data sales ../x",
        "data words.csv x --timestamp-format %")),
    ("local", ("", "sideways", "invoke", "invoke Sweeper a-file", "invoke Sweep none.json",
        "invoke Sweep not-json.json", "invoke Sweep none.json --state a-file", "up --state a-file/below",
        "up --state a-file", "up --state a-file --json", "demo --state a-file/below", "demo --output a-file/below",
        "demo --output a-file/below --json")),
)  # fmt: skip
"""The beginnings of lines, and their ends."""


def arguments() -> Iterator[Situation]:
    """Values that no option takes, and lines that are no command."""
    for beginnings, values in _OPTIONS:
        for beginning, value in product(beginnings, values):
            *words, option = beginning.split()
            yield wrong(*words, f"{option}={value}")
    for beginning, value in _POSITIONAL:
        yield wrong(*beginning.split(), "--", value)
    yield from _elsewhere()
    for beginning, endings in _LINES:
        for ending in endings:
            yield wrong(*beginning.split(), *ending.split())


def _elsewhere() -> Iterator[Situation]:
    """Each command in a region, an environment and a bucket that do not exist."""
    good = [command.situation("nothing is wrong") for command in COMMANDS]
    lines = {situation.command: situation.arguments for situation in good}
    places = (("--region", "us east 1"), ("--environment", "Dev"), ("--bucket", "somewhere-else"))
    for words, place in product((*lines.values(), ("drill", "--yes", "--json")), places):
        yield wrong(*words, *place)
