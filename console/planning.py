"""`run plan`: show what a cycle would come to, and plan it."""

from __future__ import annotations

import csv
import sys
from contextlib import suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import typer

from console.entry import Entry, echo, echo_json, entry, note
from models.errors import Misconfigured

if TYPE_CHECKING:
    from models.calendar import Cycle
    from models.tables import Run
    from scheduler.preview import Preview


def plan(
    cycle: str = typer.Option(..., help="The benefit month, YYYY-MM."),
    location: str = typer.Option("", help="Only this location: its code, or an unambiguous name."),
    programme: str = typer.Option("", help="The programme, where there are several."),
    dry_run: bool = typer.Option(False, "--dry-run", help="Show what would be planned, and change nothing."),
    as_json: bool = typer.Option(False, "--json", help="One JSON object on standard output."),
    as_csv: bool = typer.Option(False, "--csv", help="Families and amount by location and group, as CSV."),
) -> None:
    """Freeze the lines of a cycle's runs. Planning again only adds a part for families that came since."""
    from models.runs import find_location, list_summaries, only_programme, parse_cycle
    from scheduler.preview import preview

    month = parse_cycle(cycle)
    with entry(while_held=dry_run) as desk:
        with desk.database.reading() as tx:
            chosen = only_programme(tx, programme or None)
            code = find_location(tx, location).code if location else ""
            shown = preview(tx, chosen, cycle=month, location_code=code)
        if dry_run:
            _echo_preview(shown, as_json=as_json, as_csv=as_csv)
            return
        runs = plan_cycle(desk, month, location_code=code, now=datetime.now(UTC), programme=chosen.code)
        with desk.database.reading() as tx:
            summaries = list_summaries(tx, [run.id for run in runs])
    _echo_planned(summaries, as_json=as_json)


def plan_cycle(desk: Entry, cycle: Cycle, *, location_code: str = "", now: datetime, programme: str = "") -> list[Run]:
    """Plan part 1 of each location of a cycle; where that exists, the next part, for families that came later.

    A run that exists stays as it is. Returns part 1 of each, and what is new.
    Locations without an entitled family have no run. Raises Misconfigured for a missing rate.
    """
    from models.runs import only_programme
    from models.tables import ProgrammeLocation
    from scheduler.plan import NothingToPlan, plan_slot

    with desk.database.reading() as tx:
        chosen = only_programme(tx, programme or None)
        places = [
            place.location_code
            for place in tx.list(ProgrammeLocation, ProgrammeLocation.programme_id == chosen.id)
            if location_code in ("", place.location_code) and (place.first_cycle <= str(cycle) or location_code)
        ]
    if not places:
        raise Misconfigured(f"programme {chosen.code} runs nowhere in {cycle}", hint="despensa config show")
    runs: list[Run] = []
    for place in places:
        try:
            with desk.database.transaction() as tx:
                planned = plan_slot(
                    tx, chosen, location_code=place, cycle=cycle, now=now, batch_lines=desk.settings.batch_lines, part=1
                )
        except NothingToPlan as nothing:
            note(str(nothing))
            continue
        runs.append(planned.run)
        if not planned.created:  # the sweep finds latecomers only as far back as catch-up reaches
            with suppress(NothingToPlan), desk.database.transaction() as tx:
                later = plan_slot(
                    tx, chosen, location_code=place, cycle=cycle, now=now, batch_lines=desk.settings.batch_lines,
                    part=None,
                )  # fmt: skip
                runs.append(later.run)
    return runs


def _echo_planned(summaries: list, *, as_json: bool) -> None:  # type: ignore[type-arg]
    from console.tables import echo_runs, runs_as_json

    if as_json:
        echo_json(runs_as_json(summaries))
        return
    echo_runs(summaries)
    note("next: despensa run approve RUN, unless the programme's policy approves; a tick goes on by itself")


def _echo_preview(preview: Preview, *, as_json: bool, as_csv: bool) -> None:
    from dataclasses import asdict

    from console.tables import echo_table
    from models.money import format_amount, format_rate

    if as_json:
        echo_json(asdict(preview))
        return
    if as_csv:
        writer = csv.writer(sys.stdout)
        writer.writerow(("cycle", "location", "group", "families", "amount_minor", "currency"))
        for each in preview.groups:
            row = (preview.cycle, each.location_code, each.group, each.families, each.amount_minor, preview.currency)
            writer.writerow(row)
        return
    groups = [
        (
            each.location_code,
            each.location,
            each.group,
            each.families,
            format_amount(each.amount_minor, preview.currency),
        )
        for each in preview.groups
    ]
    echo_table(("location", "", "group", "families", "amount"), groups, right="   rr")
    out = {each.location_code: each for each in preview.left_out}
    locations = [
        (
            each.location_code, each.location, each.families, format_amount(each.amount_minor, preview.currency),
            f"{each.families - each.families_before:+}",
            format_amount(each.amount_minor - each.amount_before_minor, preview.currency),
            out[each.location_code].has_line, out[each.location_code].held, out[each.location_code].stopped,
            out[each.location_code].outside_window,
        )
        for each in preview.locations
    ]  # fmt: skip
    headers = ("location", "", "families", "amount", "on last month", "", "has line", "held", "stopped", "not entitled")
    echo_table(headers, locations, right="  rrrrrrrr")
    rate = "none needed" if preview.rate_millionths is None else format_rate(preview.rate_millionths)
    echo(f"rate: {rate} · funds available: {format_amount(preview.fund_available_minor, preview.currency)}")
    if preview.blocked:
        echo(f"blocked: {preview.blocked}")
    note("nothing was changed")
