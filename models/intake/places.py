"""locations.csv and stores.csv."""

from pathlib import Path

from models.calendar import zone
from models.errors import UnknownZone
from models.intake import fields
from models.intake.report import FileReport
from models.intake.rows import read_rows
from models.intake.upsert import upsert
from models.outgoing import Outgoing
from models.storage import Tx
from models.tables import Location, Programme, ProgrammeLocation, Store

LOCATION_COLUMNS = ("code", "name", "state", "time_zone", "first_cycle")
STORE_COLUMNS = ("store", "name", "location", "url", "active")


def load_locations(tx: Tx, path: Path, programme: Programme) -> FileReport:
    """Municipalities, and from which cycle on the programme runs there; an empty first_cycle: not there.

    Raises BadFile; UnknownZone names the location.
    """
    report = FileReport(path.name, "locations")
    seen: set[str] = set()
    for row in read_rows(path, LOCATION_COLUMNS):
        code = row.read("code", fields.location_code)
        if code in seen:
            raise row.refuse("code", "stands twice in this file")
        seen.add(code)
        name = row.read("name", fields.plain_text)
        location = Location(
            code=code, name=name, state=row.read("state", fields.plain_text), time_zone=row.values["time_zone"]
        )
        try:
            zone(location.time_zone)
        except UnknownZone:
            rule = f"{name}: no time zone of the installed data (IANA), such as America/Tijuana"
            raise UnknownZone(str(row.refuse("time_zone", rule)), hint="nothing was changed") from None
        changed = upsert(tx, location, tx.find(Location, Location.code == code))
        report.count(
            row.line, _runs_there(tx, programme, code, row.read("first_cycle", fields.optional_cycle), changed)
        )
    return report


def load_stores(tx: Tx, path: Path, outgoing: Outgoing) -> FileReport:
    """Partner shops. Raises BadFile."""
    report = FileReport(path.name, "stores")
    seen: set[str] = set()
    for row in read_rows(path, STORE_COLUMNS):
        store_id = row.read("store", fields.code)
        if store_id in seen:
            raise row.refuse("store", "stands twice in this file")
        seen.add(store_id)
        location_code = row.read("location", fields.location_code)
        if tx.find(Location, Location.code == location_code) is None:
            raise row.refuse("location", "is not in locations.csv")
        store = Store(
            id=store_id,
            name=row.read("name", fields.plain_text),
            location_code=location_code,
            url=row.read("url", fields.url(outgoing)),
            active=row.read("active", fields.yes_or_no),
            secret_version=1,
        )
        before = tx.find(Store, Store.id == store_id)
        if before is not None:
            before.active = bool(before.active)
        report.count(row.line, upsert(tx, store, before))
    return report


def _runs_there(
    tx: Tx, programme: Programme, code: str, first_cycle: object, changed: list[str] | None
) -> list[str] | None:
    """Whether the programme runs in a location, beside what changed of the location itself."""
    before = tx.find(
        ProgrammeLocation,
        ProgrammeLocation.programme_id == programme.id,
        ProgrammeLocation.location_code == code,
    )
    if first_cycle is None:
        return changed  # a place where it ran keeps its runs; nothing is taken away by a file
    row = ProgrammeLocation(programme_id=programme.id, location_code=code, first_cycle=str(first_cycle))
    written = upsert(tx, row, before)
    if changed is None:
        return None
    return changed + (["first_cycle"] if written is None else written)
