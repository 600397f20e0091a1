"""The `despensa` command: its tree, and how an error becomes a message and an exit code."""

from __future__ import annotations

import resource
import sys
from typing import Any

import typer
from typer.core import TyperGroup

from console import (
    certificate,
    config,
    database,
    enrolment,
    fund,
    keys,
    logs,
    report,
    run,
    simulate,
    statement,
    store,
    voucher,
)
from console.dashboard.command import dashboard
from console.demo import demo
from console.doctor import doctor
from console.entry import translated
from console.examples import PANELS, epilog
from console.intake import import_
from console.interrupt import end_when_told
from console.rehearsal.command import rehearse
from console.start import scheduler, worker
from models.errors import Exit


def _exit_with(code: int | None, **_: object) -> None:
    """What a command returns is its exit code; none means done."""
    raise typer.Exit(int(code or Exit.DONE))


class Group(TyperGroup):
    """Lists its commands with all of their first paragraph; Typer's own plain list cuts it where the line ends."""

    def format_commands(self, ctx: Any, formatter: Any) -> None:  # noqa: ARG002  # Typer gives it; its types are private
        """The lists in `--help`."""
        for panel, names in self.panels().items():
            with formatter.section(panel):
                formatter.write_dl([(name, (self.commands[name].help or "").split("\n\n")[0]) for name in names])

    def panels(self) -> dict[str, list[str]]:
        """Its commands by the heading under which they stand."""
        return {"Commands": list(self.commands)}


class Root(Group):
    """`despensa`: gives every command its examples, and lists its own by what they are for."""

    def __init__(self, **named: Any) -> None:
        super().__init__(**named)
        self.epilog = epilog("")
        for name, command in self.commands.items():
            command.epilog = epilog(name)
            for under, each in getattr(command, "commands", {}).items():
                each.epilog = epilog(f"{name} {under}")

    def panels(self) -> dict[str, list[str]]:
        """As design.md groups them; what has no panel yet must not be lost."""
        listed = {name for names in PANELS.values() for name in names}
        panels = {panel: [name for name in names if name in self.commands] for panel, names in PANELS.items()}
        panels["Commands"] = [name for name in self.commands if name not in listed]
        return {panel: names for panel, names in panels.items() if names}


app = typer.Typer(
    cls=Root,
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # with Rich's boxes, `--help` and a wrong option take twice as long
    result_callback=_exit_with,
    help="Credits humanitarian vouchers to families in many cities, every month, exactly once.",
)
app.command("demo")(demo)
app.command("rehearse")(rehearse)
app.command("doctor")(doctor)
app.add_typer(config.app, name="config", cls=Group)
app.add_typer(database.app, name="db", cls=Group)
app.add_typer(keys.app, name="keys", cls=Group)
app.command("import")(import_)
app.add_typer(enrolment.app, name="enrolment", cls=Group)
app.add_typer(run.app, name="run", cls=Group)
app.add_typer(voucher.app, name="voucher", cls=Group)
app.add_typer(fund.app, name="fund", cls=Group)
app.add_typer(statement.app, name="statement", cls=Group)
app.add_typer(report.app, name="report", cls=Group)
app.add_typer(certificate.app, name="certificate", cls=Group)
app.add_typer(store.app, name="store", cls=Group)
app.command("worker")(worker)
app.command("scheduler")(scheduler)
app.add_typer(simulate.app, name="simulate", cls=Group)
app.command("dashboard")(dashboard)
app.add_typer(logs.app, name="logs", cls=Group)


def main() -> None:
    """Run one command. Prints what failed, and what mends it; a traceback only with --debug."""
    debug = "--debug" in sys.argv
    # A core dump would hold keys and families. Worker processes inherit it.
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    # Whoever stops a service, or a timer's command, means what Ctrl-C means: finish what is held, then end.
    end_when_told()
    try:
        app([argument for argument in sys.argv[1:] if argument != "--debug"], prog_name="despensa")
    except Exception as error:  # the last one who can turn it into a message
        if debug:
            raise
        told = translated(error)
        typer.echo(f"error: {told}", err=True)
        if told.hint:
            typer.echo(f"hint: {told.hint}", err=True)
        sys.exit(int(told.exit_code))


if __name__ == "__main__":
    main()
