"""`run cases`, `run retry` and `run resolve`: lines that need another try or a person."""

from __future__ import annotations

from dataclasses import asdict
from datetime import datetime
from itertools import islice
from typing import TYPE_CHECKING, Any

import typer

from console.entry import confirm, echo, echo_json, entry, note
from models.errors import Exit, Misconfigured, RefusedInput
from models.states import CaseReason

if TYPE_CHECKING:
    from sqlalchemy import Row

    from models.case_groups import CaseChoice, CaseGroup
    from models.storage import Tx
    from scheduler.retry_forecast import Forecast

#: More cases than anybody reads in a table; `--json` gives all.
CASES_SHOWN = 1_000
RUN = typer.Argument("", help="Only this run, such as 2026-12/02004, with .2 for part 2.")
LOCATION = typer.Option("", help="Only this location: its code, or an unambiguous name.")
CYCLE = typer.Option("", help="Only this cycle, YYYY-MM.")
REASON = typer.Option(None, help="Only cases of this reason.")
YES = typer.Option(False, "--yes", help="Do not ask.")
JSON = typer.Option(False, "--json", help="One JSON object on standard output.")


def cases(
    run: str = RUN,
    location: str = LOCATION,
    cycle: str = CYCLE,
    reason: CaseReason | None = REASON,
    waiting: bool = typer.Option(False, "--waiting", help="Only those that wait for a person."),
    each: bool = typer.Option(False, "--each", help="Single cases instead of groups."),
    all_: bool = typer.Option(False, "--all", help="Closed ones, too."),
    as_json: bool = JSON,
) -> None:
    """Lines that need another try or a person, by run, reason and error, each group with the command that mends it.

    --json has both the groups and the single cases.
    """
    from models.case_groups import list_groups
    from models.cases import LIST_CASES

    with entry(while_held=True) as desk, desk.database.reading() as tx:
        choice = find_choice(tx, run=run, location=location, cycle=cycle, reason=reason, waiting=waiting)
        groups = list_groups(tx, choice, closed_too=all_) if as_json or not each else []
        rows: list[dict[str, object]] = []
        more = 0
        if as_json or each:
            stream = tx.stream(LIST_CASES, size=10_000, closed_too=int(all_), **choice.parameters())
            found = (_case_row(row) for row in stream)
            rows = list(found) if as_json else list(islice(found, CASES_SHOWN))
            more = sum(1 for _ in found)
        now = tx.now
    if as_json:
        echo_json({"groups": [group.as_json(now=now) for group in groups], "cases": rows})
    elif each:
        _echo_cases(rows, more=more)
    else:
        _echo_groups(groups, now=now)


def find_choice(
    tx: Tx, *, run: str, location: str, cycle: str, reason: CaseReason | None, error: str | None = None,
    waiting: bool = False, case: int = 0,
) -> CaseChoice:  # fmt: skip
    """What the options of a command mean. Raises RefusedInput, and NotFound."""
    from models.case_groups import CaseChoice
    from models.runs import find_location, find_run, parse_cycle

    if run and (location or cycle):
        raise RefusedInput("a run has its location and cycle in its name", hint="leave out --location and --cycle")
    return CaseChoice(
        run_id=find_run(tx, run).id if run else 0,
        location_code=find_location(tx, location).code if location else "",
        cycle=str(parse_cycle(cycle)) if cycle else "",
        case_id=case,
        reason=str(reason) if reason else "",
        error=error,
        waiting=waiting,
    )


def retry(
    run: str = RUN,
    location: str = LOCATION,
    cycle: str = CYCLE,
    reason: CaseReason | None = REASON,
    error: str | None = typer.Option(None, help="Only cases with exactly this error."),
    waiting: bool = typer.Option(False, "--waiting", help="Only those that wait for a person."),
    case: int = typer.Option(0, help="Only this case.", show_default=False),
    dry_run: bool = typer.Option(False, "--dry-run", help="Show what would be tried again, and change nothing."),
    yes: bool = YES,
    as_json: bool = JSON,
) -> int:
    """Try open cases again: of a run, a location, a cycle, or one case. Each line once, with its reserve.

    Each run is a transaction of its own: all of its chosen cases are tried again, or none. What cannot be is told with
    its reason, and the exit code is 1, with --dry-run too.
    """
    from console.each_run import exit_of_refusals, for_each_run
    from scheduler.follow import first_of
    from scheduler.retry import retry as retry_cases
    from scheduler.retry_forecast import choice_within_a_run, forecast_retries

    if not (run or location or cycle or case):
        raise Misconfigured("say which cases", hint="name a run, --location, --cycle or --case: despensa run cases")
    with entry(while_held=dry_run) as desk:
        with desk.database.reading() as tx:
            choice = find_choice(
                tx, run=run, location=location, cycle=cycle, reason=reason, error=error, waiting=waiting, case=case
            )
            forecasts = forecast_retries(tx, choice)
        able = [each for each in forecasts if not each.refusal]
        if not as_json:
            _echo_forecasts(forecasts)
        code = Exit.DONE if len(able) == len(forecasts) else Exit.FAILED
        retried: list[int] = []
        if able and not dry_run:
            count = sum(each.cases for each in able)
            confirm(f"Try {count} cases again, {_amounts(able)}?", yes=yes)
            within = choice_within_a_run(choice)
            runs = [(each.run_id, each.run) for each in able]
            refused = for_each_run(desk, runs, lambda tx, run_id: retry_cases(tx, run_id, within))
            retried = [run_id for run_id, _ in runs if run_id not in refused]
            code = first_of([code, exit_of_refusals(list(refused.values()))])
    if as_json:
        echo_json(_forecasts_as_json(forecasts, retried=retried))
    note("the next tick sends them: despensa run start" if retried else "nothing was changed")
    return code


def resolve(
    case: int = typer.Argument(help="The number of the case."),
    paid: str = typer.Option("", help="The family was paid: a reference to the evidence, which names nobody."),
    not_owed: bool = typer.Option(False, "--not-owed", help="The line was not owed; its reserve goes back."),
    evidence: str = typer.Option(
        "", help="With --not-owed: a reference to the proof, which names nobody. After a restore it may be needed."
    ),
    yes: bool = YES,
) -> None:
    """A person's exit from any case: paid, with evidence, or not owed."""
    from models.keys import load_keys
    from models.money import format_amount
    from models.tables import Case, Disbursement, Run, run_code
    from scheduler.resolve import resolve_not_owed, resolve_paid

    if bool(paid) == not_owed:
        raise RefusedInput("say either --paid EVIDENCE or --not-owed")
    if evidence and not not_owed:
        raise RefusedInput("--evidence goes with --not-owed; --paid has its own")
    with entry() as desk:
        with desk.database.reading() as tx:
            found = tx.get(Case, Case.id == case)
            line = tx.get(Disbursement, Disbursement.id == found.disbursement_id)
            run = tx.get(Run, Run.id == found.run_id)
        amount = format_amount(line.amount_minor, run.currency)
        confirm(f"Case {case} of run {run_code(run)}, {amount}: {'paid' if paid else 'not owed'}?", yes=yes)
        with desk.database.transaction() as tx:
            if paid:
                version = load_keys(desk.settings.keys, "pin").latest.version
                resolve_paid(tx, case, evidence=paid, key_version=version)
            else:
                resolve_not_owed(tx, case, evidence=evidence)
    note(f"case {case} is closed")


def _echo_forecasts(forecasts: list[Forecast]) -> None:
    """How many can be tried again, what that comes to, and of each run that refuses, why."""
    from console.tables import echo_table
    from models.money import format_amount

    able = [each for each in forecasts if not each.refusal]
    cases, of = (sum(each.cases for each in several) for several in (able, forecasts))
    echo(f"{cases} of {of} cases can be retried" + (f": {_amounts(able)}" if able else ""))
    if len(forecasts) > 1:
        rows = [
            (each.run, each.cases, format_amount(each.amount_minor, each.currency),
             format_amount(each.to_reserve_minor, each.currency), "no" if each.refusal else "yes")
            for each in forecasts
        ]  # fmt: skip
        echo_table(("run", "cases", "amount", "to be reserved again", "can be retried"), rows, right=" rrr ")
    for each in forecasts:
        if each.refusal:
            echo(f"{each.cases} cases of run {each.run} cannot: {each.refusal}; first: {each.hint}")


def _amounts(forecasts: list[Forecast]) -> str:
    """`2,400.00 MXN, of which 800.00 MXN are to be reserved again`, of each currency."""
    from models.money import format_amount

    said = []
    for currency in sorted({each.currency for each in forecasts}):
        of = [each for each in forecasts if each.currency == currency]
        amount = format_amount(sum(each.amount_minor for each in of), currency)
        again = format_amount(sum(each.to_reserve_minor for each in of), currency)
        said.append(f"{amount}, of which {again} are to be reserved again")
    return "; ".join(said)


def _forecasts_as_json(forecasts: list[Forecast], *, retried: list[int]) -> dict[str, object]:
    return {
        "cases": sum(each.cases for each in forecasts),
        "can_be_retried": sum(each.cases for each in forecasts if not each.refusal),
        "runs": [{**asdict(each), "retried": each.run_id in retried} for each in forecasts],
    }


def _echo_groups(groups: list[CaseGroup], *, now: datetime) -> None:
    from console.tables import age_text, echo_table
    from models.columns import instant_text
    from models.money import format_amount

    rows = [
        (
            group.run, group.reason, group.error, group.cases, format_amount(group.amount_minor, group.currency),
            age_text(now - group.oldest_opened_at),
            group.state if not group.waits_for else
            instant_text(group.next_attempt_at) if group.waits_for == "its next attempt" and group.next_attempt_at
            else group.waits_for,
        )
        for group in groups
    ]  # fmt: skip
    echo_table(("run", "reason", "error", "cases", "amount", "oldest", "next"), rows, right="   rrr ")
    commands = list(dict.fromkeys(group.command for group in groups if group.command))
    if commands:  # below the table, which folds what is wide: a command is to be copied whole
        echo("\nmended by:")
        for command in commands:
            echo(f"  {command}")
        note("a person decides about one case with: despensa run resolve CASE; list them with --each")


def _echo_cases(rows: list[dict[str, object]], *, more: int) -> None:
    from console.tables import echo_table

    headers = ("case", "run", "disbursement", "reason", "error", "state", "attempts", "opened_at", "next")
    echo_table(headers, [[row[name] for name in headers] for row in rows], right="r r   r ")
    if more:
        note(f"and {more} more: name a run, or use --json")


def _case_row(case: Row[Any]) -> dict[str, object]:
    from models.columns import instant_text
    from models.tables import run_code

    return {
        "case": case.id,
        "run": run_code(case),
        "programme": case.programme,
        "disbursement": case.disbursement_id,
        "reason": case.reason,
        "error": case.last_error,
        "state": case.outcome or case.state,
        "amount_minor": case.amount_minor,
        "currency": case.currency,
        "attempts": case.attempts,
        "opened_at": instant_text(case.opened_at),
        "next": "a person: run retry, or run resolve"
        if case.next_attempt_at is None
        else instant_text(case.next_attempt_at),
    }
