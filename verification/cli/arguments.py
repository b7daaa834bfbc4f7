"""Arguments that no command takes, each refused with exit code 2."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product

from verification.cli.answers import MEND
from verification.cli.situations import COMMANDS, Situation
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


def arguments() -> Iterator[Situation]:
    """Values that no option takes, and lines that are no command."""
    for beginnings, values in _OPTIONS:
        for beginning, value in product(beginnings, values):
            *words, option = beginning.split()
            yield wrong(*words, f"{option}={value}")
    for beginning, value in _POSITIONAL:
        yield wrong(*beginning.split(), "--", value)
    yield from _elsewhere()
    for line in _LINES.splitlines():
        yield wrong(*line.split())


def _elsewhere() -> Iterator[Situation]:
    """Each command in a region, an environment and a bucket that do not exist."""
    lines = {Situation("", command.arguments, MEND).command: command.arguments for command in COMMANDS}
    for words in (*lines.values(), ("drill", "--yes", "--json")):
        for place in (("--region", "us east 1"), ("--environment", "Dev"), ("--bucket", "somewhere-else")):
            yield wrong(*words, *place)


def wrong(*words: str) -> Situation:
    """A command line that has to be mended."""
    line = ascii(" ".join(words))
    return Situation(line if len(line) < 300 else f"{line[:160]}…{line[-30:]}", words, MEND)


_UNKNOWN = "20200101T000000Z-000000"
_LINES = f"""\
--json
--bogus
lunch
launch --max-hour 3
launch extra
launch --config
launch --trainer other
launch --trainer probe --config train.yaml
launch --minutes 3
launch --ending oom
launch --trainer probe --ending badly
launch --trainer probe --promote better --json
launch --trainer probe --data sales --json
launch --resume {FAILED} --json
launch --resume {TRAINED} --json
launch --resume {ACTIVE} --json
launch --resume {FAILED} --config train.yaml --json
launch --config train.yaml --model-name x --json
launch --config train.yaml --promote sometimes
launch --config forecast.yaml --promote better --json
launch --config train.yaml --on-demand-after 30m --json
launch --config train.yaml --future sales --json
launch --config train.yaml --spot --wait-for-capacity 1h --on-demand-after 2h --json
launch --config train.yaml --data ./words.csv --timestamp-format % --yes
forecast
forecast --data sales
forecast --horizon 6
forecast --data nothing --horizon 6 --model champion
forecast --data sales/ --horizon 6 --model champion
forecast --data training-data/../x/ --horizon 6 --model champion --json
forecast --data sales --horizon 6 --quantiles x
forecast --data sales --horizon 6 --quantiles 0.1,2
forecast --data sales --horizon 6 --quantiles nan
forecast --data sales --horizon 6 --format xml
forecast --data sales --horizon 6 --future nothing --model champion
forecast --data ./words.csv --horizon 6 --model champion --timestamp-format %
forecast --data ./good.csv --horizon 6 --model champion --to a-file/below --yes
forecast --data sales --horizon 6 --model champion --to a-file --json
forecast --data ./good.csv --horizon 6 --model champion --target nothing
forecast --data ./good.csv --horizon 6 --model champion --item-id ,
forecast --data ./good.csv --horizon 6 --model champion --known price --past price
forecast --config train.yaml --json
evaluate
evaluate --horizon 6
evaluate --config forecast.yaml --json
evaluate --data sales --horizon 6 --windows 0
evaluate --data sales --horizon 6 --season 0
evaluate --data sales --horizon 6 --models ,
evaluate --data ./words.csv --horizon 6 --models champion --timestamp-format % --to x
evaluate --data ./good.csv --horizon 6 --models champion --known price --past price
runs -e
runs sideways
runs show
runs compare
runs --limit 0
runs show {_UNKNOWN} --json
runs compare {FAILED} {_UNKNOWN} --json
runs compare {FAILED} {TRAINED} --html a-file/below --json
runs compare {FAILED} {TRAINED} --html sales --json
monitor a b
monitor {_UNKNOWN}
kill {_UNKNOWN} --json
kill {FAILED}
logs {_UNKNOWN}
logs {FAILED} --log trainer
logs {FAILED} --log ../x
logs --log agent extra more
report {_UNKNOWN} --json
report {FAILED} --to a-file/below --json
report {FAILED} --to sales --json
results {_UNKNOWN} --json
results {FAILED} --to a-file --json
results {TRAINED} --to a-file/below --json
hold {FAILED} --json
hold {_UNKNOWN} --json
release {FAILED} --json
release {_UNKNOWN} --json
verify --json --bogus
verify --bucket somewhere-else --json
verify -e stage --json
verify no-group --json
sweep
sweep grid.yaml --json
sweep grid.yaml --max-cost 9 --lane x --json
sweep nowhere.yaml --max-cost 9 --json
sweep train.yaml --max-cost 9 --json
sweep empty.yaml --max-cost 9 --json
forecast --data sales --horizon 6 --model champion --parallel 2
forecast --data sales --horizon 6 --model champion --name parts
drill --only nothing --yes
drill --only , --yes --json
drill --instance-type , --yes --json
drill --instance-type t3.small,t3.micro --yes --json
drill --output a-file/below --yes --json
drill --output sales --yes --json
data
data sideways
data check
data check good.csv --config none.yaml
data check good.csv --horizon 0
data check good.csv --fix
data check good.csv --item-id ,
data check good.csv --past item_id
data check s3://elsewhere/x/
data check s3:// --bucket none
data check training-data/nothing/ --environment dev --region us-east-1
data show
data show none.csv
data show training-data/nothing/ --environment dev --region us-east-1 --bucket none --json
data show good.csv --config none.yaml
data show good.csv --series 0
data show good.csv --picture a-file/x/y.png
data show words.csv --timestamp-format %
data check good.csv --picture a-file/x/y.png
data check words.csv --timestamp-format %
schedule
schedule create
schedule create nightly
schedule create Nightly --config train.yaml --rate 1d
schedule create nightly --config none.yaml --rate 1d --json
schedule create nightly --config train.yaml
schedule create nightly --config train.yaml --rate 0h --json
schedule create nightly --config train.yaml --cron x --rate 1d
schedule create nightly --config train.yaml --on-data other --rate 1d
schedule create nightly --config train.yaml --rate 1d --max-cost-per-month 5
schedule create nightly --config train.yaml --rate 1d --then none.yaml --then-future sales --json
schedule create nightly --config none.yaml --rate 1d --promote better --model-name x --lane y --max-hours 1 --max-cost 1
schedule create nightly --config none.yaml --rate 1d --price 1 --spot --wait-for-capacity 2h --on-demand-after 1h
schedule create nightly --config none.yaml --rate 1d --instance-type g5.2xlarge --preemptions 1 --crashes 1 --allow-cpu
schedule create nightly --config none.yaml --rate 1d --plan --yes --watch
schedule show other --json
schedule pause other --json
schedule resume other --json
schedule run other --json
schedule delete other --yes --json
schedule delete ../x --yes
models
models show other
models promote
models promote {FAILED} --yes
models promote {TRAINED} --json
models rollback --json
models rollback other --yes
upload
upload nothing
upload data
upload data sales
upload data sales NAME
upload data sales ../x
upload data words.csv x --timestamp-format %
local
local sideways
local invoke
local invoke Sweeper a-file
local invoke Sweep none.json
local invoke Sweep not-json.json
local invoke Sweep none.json --state a-file
local up --state a-file/below
local up --state a-file
local up --state a-file --json
local demo --state a-file/below
local demo --output a-file/below
local demo --output a-file/below --json
"""
