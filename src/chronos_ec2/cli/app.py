"""The commands, and what they have in common."""

from __future__ import annotations

import typer

from chronos_ec2.cli.commands.cleanup import cleanup
from chronos_ec2.cli.commands.kill import kill
from chronos_ec2.cli.commands.launch import launch
from chronos_ec2.cli.commands.local import local
from chronos_ec2.cli.commands.logs import logs
from chronos_ec2.cli.commands.monitor import monitor
from chronos_ec2.cli.commands.runs import runs
from chronos_ec2.cli.commands.teardown import teardown
from chronos_ec2.cli.commands.upload import upload
from chronos_ec2.cli.commands.verify import verify

app = typer.Typer(
    help="Train Amazon Chronos on EC2 GPUs: one command starts a run, and the GPU is gone when it is over.",
    epilog="Exit codes: 0 good, 1 bad (a run failed, something is left), 2 wrong request, 3 AWS trouble.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command()(launch)
app.command()(monitor)
app.command()(logs)
app.command()(kill)
app.command()(cleanup)
app.command()(verify)
app.command()(runs)
app.command()(teardown)
app.add_typer(upload)
app.add_typer(local)
