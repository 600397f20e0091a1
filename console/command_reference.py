"""The reference page of the commands, from the command tree. Regenerate: `python -m console.command_reference`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from console.examples import EXAMPLES

#: Where the page is kept.
PAGE = Path(__file__).parents[1] / "deploy" / "COMMANDS.md"
HEAD = """# Commands

Generated from the command tree; do not edit. Data goes to standard output, everything else to standard error.
`--debug` anywhere shows a traceback where a command fails.

Exit codes: 0 done, or nothing due · 1 failed, or refused by state or fund · 2 misused or misconfigured, refused input ·
3 finished with cases · 10 no database or old schema · 11 broker unreachable · 12 another `db` command is at work ·
13 books do not agree · 14 waiting for approval · 15 paused or cancelled · 130 interrupted, resumable. Unknown codes are
failures. Of several, the first of 13, 10, 11, 1, 15, 14, 3, 0.
"""


def reference() -> str:
    """The page."""
    import typer

    from console.main import app

    return HEAD + "".join(_pages(typer.main.get_command(app), "despensa"))


def _pages(command: Any, path: str) -> Iterator[str]:
    subcommands = getattr(command, "commands", None)
    if subcommands:
        for names in command.panels().values():
            for name in names:
                yield from _pages(subcommands[name], f"{path} {name}")
        return
    arguments = " ".join(_usage(each) for each in command.params if each.param_type_name == "argument")
    yield f"\n## `{' '.join(part for part in (path, arguments) if part)}`\n\n{_one_line(command.help)}\n"
    described = [each for each in command.params if getattr(each, "help", None) and each.name != "help"]
    if described:
        yield "\n" + "".join(f"- `{_name(each)}`: {_one_line(each.help)}\n" for each in described)
    examples = EXAMPLES.get(path.removeprefix("despensa "), ())
    if examples:
        yield "\n```sh\n" + "\n".join(examples) + "\n```\n"


def _usage(argument: Any) -> str:
    name = argument.name.upper() + ("..." if argument.nargs == -1 else "")
    return name if argument.required else f"[{name}]"


def _name(parameter: Any) -> str:
    if parameter.param_type_name == "argument":
        return str(parameter.name).upper()
    return " / ".join([*parameter.opts, *parameter.secondary_opts])


def _one_line(text: str | None) -> str:
    return " ".join((text or "").split())


if __name__ == "__main__":
    PAGE.write_text(reference())
