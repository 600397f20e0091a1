"""The `despensa` command: its tree, and how an error becomes a message and an exit code."""

from __future__ import annotations

import sys

import typer

from console import config, database, keys, logs, run, simulate, store, voucher
from console.demo import demo
from console.doctor import doctor
from console.intake import import_
from console.start import scheduler, worker
from models.errors import DespensaError, Exit


def _exit_with(code: int | None, **_: object) -> None:
    """What a command returns is its exit code; none means done."""
    raise typer.Exit(int(code or Exit.DONE))


app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    result_callback=_exit_with,
    help="Credits humanitarian vouchers to families in many cities, every month, exactly once.",
)
app.command("demo")(demo)
app.command("doctor")(doctor)
app.add_typer(config.app, name="config")
app.add_typer(database.app, name="db")
app.add_typer(keys.app, name="keys")
app.command("import")(import_)
app.add_typer(run.app, name="run")
app.add_typer(voucher.app, name="voucher")
app.add_typer(store.app, name="store")
app.command("worker")(worker)
app.command("scheduler")(scheduler)
app.add_typer(simulate.app, name="simulate")
app.add_typer(logs.app, name="logs")


def main() -> None:
    """Run one command. Prints what failed, and what mends it; a traceback only with --debug."""
    debug = "--debug" in sys.argv
    try:
        app([argument for argument in sys.argv[1:] if argument != "--debug"], prog_name="despensa")
    except DespensaError as error:
        if debug:
            raise
        typer.echo(f"error: {error}", err=True)
        if error.hint:
            typer.echo(f"hint: {error.hint}", err=True)
        sys.exit(int(error.exit_code))


if __name__ == "__main__":
    main()
