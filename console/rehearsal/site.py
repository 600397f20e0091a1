"""A small embedded installation of invented families, whose month is due now, for somebody to break and to mend."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from console.demo import demo_entry
from console.entry import Entry
from models.errors import DespensaError, Exit
from models.outgoing import LOOPBACK, SETTING

if TYPE_CHECKING:
    from models.runs import RunSummary

CITIES = (("02004", "Tijuana"), ("02002", "Mexicali"))
FAMILIES_PER_CITY = 24
ZONE = "America/Tijuana"
#: Where `simulate stores` and `simulate issuer` listen.
STORES_PORT, ISSUER_PORT = 8089, 8090

PROGRAMME = """# Invented, for `despensa rehearse`. Its month is due from its first minute on.
code = "rehearsal"
name = "Ensayo"
currency = "MXN"
cycles = 3
validity_days = 60

[value]
currency = "USD"
base = "250.00"
per_member = "50.00"
cap = "550.00"
round_to = "1.00"

[payday]
day = 1
time = "00:00"

[approval]
by = "policy"
run_max = "{run_max}"

[goods]
permitted = ["food"]
excluded = ["cash"]
"""

ISSUER = """
[issuer]
url = "http://127.0.0.1:{port}"
calls_max = 64
key_window_hours = 168
"""


@dataclass(frozen=True, slots=True)
class Site:
    """The installation, in a folder of its own: nothing that is configured is touched."""

    home: Path
    stores_port: int = STORES_PORT
    issuer_port: int = ISSUER_PORT

    @property
    def programme(self) -> Path:
        """The files that `despensa import` reads."""
        return self.home / "programme"

    @property
    def log(self) -> Path:
        """What its commands log."""
        return self.home / "log" / "despensa.jsonl"

    @property
    def database(self) -> Path:
        """Its SQLite file."""
        return self.home / "despensa.sqlite3"

    def install(self, **written: object) -> None:
        """Make it: database, keys, programme imported. `written` is for `write_programme`."""
        self.home.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.write_programme(**written)  # type: ignore[arg-type]  # handed on
        for words in (("db", "upgrade"), ("keys", "init"), ("import", str(self.programme))):
            self.must(*words)

    def write_programme(
        self, *, rate: bool = True, fund: str = "2000000.00", run_max: str = "5000000.00", issuer: bool = False
    ) -> None:
        """Write the programme's files, for the month that it is now in its cities; or with last month's rate alone."""
        self.programme.mkdir(exist_ok=True)
        cycle = self.cycle()
        rated = cycle if rate else self.cycle(before=1)
        text = PROGRAMME.format(run_max=run_max) + (ISSUER.format(port=self.issuer_port) if issuer else "")
        (self.programme / "programme.toml").write_text(text)
        self._write("locations", "code,name,state,time_zone,first_cycle", [
            f"{code},{name},Baja California,{ZONE},{cycle}" for code, name in CITIES
        ])  # fmt: skip
        self._write("stores", "store,name,location,url,active", [
            f"{name[:3].upper()}-1,Abarrotes {name},{code},http://127.0.0.1:{self.stores_port}"
            f"/stores/{name[:3].upper()}-1/notices,yes"
            for code, name in CITIES
        ])  # fmt: skip
        self._write("funds", "code,donor,currency,amount", [f"donor-a,Donor A,MXN,{fund}"])
        self._write("rates", "cycle,from,to,rate,source,date", [f"{rated},USD,MXN,18.25,invented,{rated}-01"])
        self._write("households", "registration_id,location,members,group,first_cycle,cycles,status", [
            f"{code}-{number:03},{code},{1 + number % 5},single_caregiver,{cycle},3,active"
            for code, _ in CITIES for number in range(FAMILIES_PER_CITY)
        ])  # fmt: skip

    def cycle(self, *, before: int = 0) -> str:
        """The month that it is now in its cities, or the one before."""
        from zoneinfo import ZoneInfo

        first = datetime.now(UTC).astimezone(ZoneInfo(ZONE)).date().replace(day=1)
        return (first - timedelta(days=before)).strftime("%Y-%m")

    def command(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Run `despensa …` on it, as whoever practises does."""
        return self.python("-m", "console.main", *words)

    def python(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Run Python with no other setting than this installation's folder."""
        environment = {name: value for name, value in os.environ.items() if not name.startswith("DESPENSA_")}
        environment |= {"DESPENSA_HOME": str(self.home), SETTING: LOOPBACK}
        return subprocess.run(  # noqa: S603  # our own modules
            [sys.executable, *words], cwd=Path(__file__).parents[2], check=False, capture_output=True, text=True,
            env=environment, stdin=subprocess.DEVNULL,
        )  # fmt: skip

    def must(self, *words: str, code: Exit = Exit.DONE) -> None:
        """Run a command that has to end so. Raises DespensaError with what it said."""
        done = self.command(*words)
        if done.returncode != code:
            raise DespensaError(f"despensa {' '.join(words)} ended with {done.returncode}: {done.stderr.strip()}")

    @contextmanager
    def entry(self) -> Iterator[Entry]:
        """Its database and log."""
        with demo_entry(self.home) as desk:
            yield desk

    def runs(self) -> list[RunSummary]:
        """Every run."""
        from models.runs import list_summaries
        from models.tables import Run

        with self.entry() as desk, desk.database.reading() as tx:
            return list_summaries(tx, [run.id for run in tx.list(Run)])

    def _write(self, name: str, header: str, rows: list[str]) -> None:
        (self.programme / f"{name}.csv").write_text("\n".join([header, *rows]) + "\n")
