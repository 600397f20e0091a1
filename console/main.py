"""The `despensa` command: its tree, and how an error becomes a message and an exit code."""

from __future__ import annotations

import os
import sys

import typer

from models.errors import DespensaError, Exit

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Credits humanitarian vouchers to families in many cities, every month, exactly once.",
)


def main() -> None:
    """Run one command. Prints what failed, and what mends it; a traceback only with --debug."""
    arguments = [argument for argument in sys.argv[1:] if argument != "--debug"]
    debug = len(arguments) < len(sys.argv) - 1
    try:
        code = app(arguments, standalone_mode=False)
    except DespensaError as error:
        if debug:
            raise
        typer.echo(f"error: {error}", err=True)
        if error.hint:
            typer.echo(f"hint: {error.hint}", err=True)
        code = error.exit_code
    except KeyboardInterrupt:
        typer.echo("interrupted: nothing is lost; repeat the command to go on", err=True)
        code = Exit.INTERRUPTED
    except typer.Abort:
        code = Exit.INTERRUPTED
    sys.stdout.flush()
    os._exit(int(code or 0)) if code == Exit.INTERRUPTED else sys.exit(int(code or 0))
