"""Each trouble that a newcomer practises on shows as the runbook says, and is over once mended as the runbook says."""

import re
import socket
from pathlib import Path

import orjson
import pytest
from sqlalchemy import text

from console.rehearsal.site import CITIES, Site
from console.rehearsal.troubles import HANDED_OVER, LOST_LINE, TROUBLES, find
from models.errors import Exit
from models.storage import Tx
from workers.issuers.simulated import SimulatedIssuer
from workers.stores.simulated import SimulatedStores

RUNBOOK = (Path(__file__).parents[2] / "deploy" / "RUNBOOK.md").read_text()


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path / "rehearsal", free_port(), free_port())


def replace(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


# What somebody does who has read the section.


def import_the_rate(site: Site) -> None:
    site.write_programme()
    site.must("import", str(site.programme / "rates.csv"))
    site.must("run", "start")


def add_money(site: Site) -> None:
    site.write_programme()
    site.must("import", str(site.programme / "funds.csv"))
    site.must("run", "start")


def let_the_policy_approve(site: Site) -> None:
    """Where one login is all that there is, nobody else can approve; and whoever planned changes no rules meanwhile."""
    for run in orjson.loads(site.command("run", "list", "--json").stdout)["runs"]:
        if run["state"] == "planned":
            site.must("run", "discard", run["run"], "--yes")
    replace(site.programme / "programme.toml", 'run_max = "1.00"', 'run_max = "5000000.00"')
    site.must("import", str(site.programme / "programme.toml"))
    site.must("run", "start")


def tell_the_store_again(site: Site) -> None:
    with SimulatedStores(port=site.stores_port):
        site.must("store", "resend", "TIJ-1", "--yes")
        site.must("run", "start")


def retry_what_was_refused(site: Site) -> None:
    with SimulatedIssuer({}, port=site.issuer_port):
        for run in site.runs():
            if run.counts.cases:
                site.must("run", "retry", run.run, "--yes")
        site.must("run", "start")


def start_again(site: Site) -> None:
    with site.entry() as desk, desk.database.transaction() as tx:
        _expire_leases(tx)  # fifteen seconds later
    site.must("run", "start")


def make_room(site: Site) -> None:
    site.log.unlink()
    site.must("run", "start")


def close_the_key(site: Site) -> None:
    (site.home / "keys" / "pin.key").chmod(0o600)
    site.must("run", "start")


def write_the_lines_again(site: Site) -> None:
    again = site.command("logs", "emit", "--from", str(LOST_LINE), "--to", str(LOST_LINE))
    assert again.returncode == 0, again.stderr
    with site.log.open("a") as log:
        log.write(again.stdout)


def compare_with_the_log(site: Site) -> None:
    site.must("db", "restored", str(site.log), "--yes", code=Exit.WAITING_FOR_APPROVAL)
    cycle = site.cycle()
    files = str(site.home / f"{HANDED_OVER}.csv")
    site.must("run", "recover", f"{cycle}/{HANDED_OVER}", "--handed-over", files, "--yes")
    site.must("run", "recover", f"{cycle}/{CITIES[1][0]}", "--not-handed-over", "no file was made", "--yes")
    site.must("run", "start")


MENDED = {
    "rate": import_the_rate,
    "fund": add_money,
    "approval": let_the_policy_approve,
    "store": tell_the_store_again,
    "issuer": retry_what_was_refused,
    "killed": start_again,
    "disk": make_room,
    "key": close_the_key,
    "log": write_the_lines_again,
    "restored": compare_with_the_log,
}
#: What the command that the rehearsal names shows: the command, its exit code, and words that it says.
SHOWS = {
    "rate": (("run", "start"), Exit.FAILED, "there is no rate USD to MXN"),
    "fund": (("run", "start"), Exit.FAILED, "shortfall"),
    "approval": (("run", "start"), Exit.WAITING_FOR_APPROVAL, "approval"),
    "store": (("store", "list"), Exit.DONE, "TIJ-1"),
    "issuer": (("run", "cases"), Exit.DONE, "rejected"),
    "killed": (("run", "status"), Exit.DONE, "released"),
    "disk": (("run", "start"), Exit.FAILED, "No space left on device"),
    "key": (("run", "start"), Exit.MISUSED, "can be read by others"),
    "log": (("logs", "verify"), Exit.BOOKS_DISAGREE, f"seq {LOST_LINE}"),
    "restored": (("run", "start"), Exit.BOOKS_DISAGREE, "db restored"),
}


def _expire_leases(tx: Tx) -> None:
    tx.connection.execute(text("UPDATE batch SET lease_until = '2000-01-01T00:00:00.000000Z' WHERE token IS NOT NULL"))


@pytest.mark.long
@pytest.mark.parametrize("name", [each.name for each in TROUBLES])
def test_a_trouble_shows_as_told_and_is_over_once_mended_by_the_runbook(site: Site, name: str) -> None:
    trouble = find(name)
    assert trouble is not None
    words, code, said = SHOWS[name]

    trouble.make(site)
    shown = site.command(*words, *([str(site.log)] if words[0] == "logs" else []))
    before = trouble.remains(site)
    MENDED[name](site)
    after = trouble.remains(site)

    assert (shown.returncode, said in shown.stdout + shown.stderr) == (code, True), shown.stdout + shown.stderr
    assert before
    assert after == ""
    site.must("run", "reconcile")


def test_every_trouble_has_its_section_in_the_runbook() -> None:
    headings = re.findall(r"^#+ (.+)$", RUNBOOK, re.MULTILINE)

    assert len(TROUBLES) == len(MENDED) == len(SHOWS)
    assert [each.section for each in TROUBLES if each.section not in headings] == []
