"""`chronos-ec2 local`."""

from __future__ import annotations

import typer

local = typer.Typer(name="local", help="The whole system on an embedded AWS on this machine.", no_args_is_help=True)
