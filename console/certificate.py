"""`despensa certificate`: from which a donor sees, without us, who decided what, and that nobody was paid twice."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import typer

from console.entry import echo, echo_json, entry, note, shown
from models.errors import BooksDisagree, RefusedInput

if TYPE_CHECKING:
    from console.certificate_verify import Month
    from models.certificate import Head

app = typer.Typer(no_args_is_help=True, help="Certificates of runs, for donors and auditors.")

JSON = typer.Option(False, "--json", help="One JSON object on standard output.")
#: Runs that are missing, told one by one; --json has them all.
MISSING_TOLD = 10


@app.command()
def create(
    run: str = typer.Argument(help="Such as 2026-12/02004, with .2 for part 2."),
    file: Path = typer.Argument(None, help="The file to write; it must not exist. By default its name tells the run."),
) -> None:
    """Write the certificate of a run that is over: what was decided, counts, sums, and its families' HMACs, signed.

    Of a run with open cases, or a cancelled one, it certifies what is credited so far; a later one replaces it.
    Journalled each time, with the digest of the file. It holds no registration id, and no PIN.
    """
    from models.certificate import key_fingerprint
    from models.certify import create_certificate
    from models.keys import load_keys
    from models.report.sheet import CELL_MIN

    with entry() as desk:
        keys = load_keys(desk.settings.keys, "certificate")
        made = create_certificate(desk.database, run, keys=keys, path=file)
    echo(f"{made.digest}  {made.path}")
    head = made.head
    note(f"true as of seq {head.journal.seq}, signed by {head.public_key}, {key_fingerprint(head.public_key)}")
    if head.cases_open.families:
        note(f"{head.cases_open.families:,} families wait: once their cases are decided, make another certificate")
    if min([head.planned.families, *(each.families for each in head.released_runs)]) < CELL_MIN:
        note(
            f"it, or a run that it lists, is about fewer than {CELL_MIN} families: its sums say much about each; "
            "for the donor, and nobody else"
        )


@app.command()
def key(as_json: bool = JSON) -> None:
    """The public keys by which donors check certificates, and their fingerprints, one line for each version.

    To be given to donors by another way than the certificates: whoever forges those puts an own key into them.
    """
    from models.certificate import key_fingerprint, public_key_text
    from models.keys import load_keys
    from models.settings import read_settings

    keys = load_keys(read_settings().keys, "certificate")
    known = [(each.version, public_key_text(each)) for each in sorted(keys.keys, key=lambda each: each.version)]
    if as_json:
        names = ("version", "public_key", "fingerprint")
        told = [dict(zip(names, (version, text, key_fingerprint(text)), strict=True)) for version, text in known]
        echo_json({"keys": told})
        return
    for version, text in known:
        echo(f"{text} version {version} fingerprint {key_fingerprint(text)}")


@app.command()
def verify(
    files: list[Path] = typer.Argument(metavar="FILE", help="Certificates, best all of a programme's month."),
    keys: list[str] = typer.Option(
        [], "--key", help="A public key of whoever signed, or a file of them. Not taken from the certificates."
    ),
    as_json: bool = JSON,
) -> None:
    """Check certificates with nothing but these files and a public key. Exit code 13 where something is not true.

    Signature, counts, sums, approvals, digests, and that no family stands there twice: within one run, and over all
    runs of a programme and month that are given. Says what was proven, and what was not.
    """
    from console.certificate_verify import verify as verify_files
    from models.certificate import read_public_keys

    if not keys:
        raise RefusedInput(
            "without the public key of whoever signed nothing is proven: each certificate names a key, and who forges "
            "one names an own",
            hint="ask them for it by another way than the certificates (despensa certificate key), then: --key FILE",
        )
    public_keys = {each for typed in keys for each in read_public_keys(typed)}
    months = verify_files(files, public_keys)
    faults = [fault for month in months for fault in month.faults]
    if as_json:
        echo_json({"agrees": not faults, "faults": faults, "months": [_as_json(month) for month in months]})
    elif not faults:
        for month in months:
            _tell(month)
        _tell_unproven(months)
    if faults:
        raise BooksDisagree(
            "the certificates do not hold:" + "".join(f"\n  {shown(fault)}" for fault in faults),
            hint="keep the files, and ask whoever signed them; what is right in them proves nothing now",
        )


def _tell(month: Month) -> None:
    from console.tables import echo_table
    from models.money import format_amount

    head = month.newest
    echo(shown(f"{head.programme_name} ({month.programme}), {month.cycle}"))
    columns = ("run", "city", "state", "families", "credited", "waiting", "planned by", "approved by", "as of")
    rows = [_row(each.head) for each in sorted(month.files, key=lambda each: each.head.run)]
    echo_table(columns, [[shown(cell) for cell in row] for row in rows], right="   rrr  r")
    echo(f"proven    these files are as they were signed, by {head.public_key}")
    echo(f"proven    {month.families:,} families were credited, each of them once over these runs")
    echo(f"proven    they got {format_amount(month.credited_minor, head.currency)} together")
    for fund, amount_minor in _by_fund(month).items():
        echo(shown(f"proven    of these {format_amount(amount_minor, head.currency)} from {fund}"))
    for rate in sorted({_rate(each.head) for each in month.files} - {""}):
        echo(shown(f"rate      {rate}"))
    listed = f"the {len(head.released_runs):,} runs that were released as of seq {head.journal.seq}"
    if not month.missing:
        echo(f"complete  these are {listed}")
        return
    names = ", ".join(each.run for each in month.missing[:MISSING_TOLD])
    more = len(month.missing) - MISSING_TOLD
    echo(f"missing   {len(month.missing):,} of {listed}: {names}" + (f" and {more:,} more" if more > 0 else ""))
    echo("          whether a family of theirs was paid twice is not proven")


def _tell_unproven(months: list[Month]) -> None:
    newest = max((month.newest for month in months), key=lambda head: head.journal.seq)
    echo("not proven  that families exist and are entitled, and that nobody is registered twice: that is for people")
    echo(f"not proven  the journal itself; with its files: despensa logs verify FILE… --head {newest.journal.hash}")


def _row(head: Head) -> tuple[str, ...]:
    from models.money import format_amount

    return (
        head.run, head.location_name, head.state, f"{head.credited.families:,}",
        format_amount(head.credited.amount_minor, head.currency), f"{head.cases_open.families:,}", head.planned_by,
        ", ".join(each.by for each in head.approvals), str(head.journal.seq),
    )  # fmt: skip


def _by_fund(month: Month) -> dict[str, int]:
    sums: dict[str, int] = {}
    for each in month.files:
        for fund in each.head.funds:
            name = f"{fund.fund} of {fund.donor}"
            sums[name] = sums.get(name, 0) + fund.amount_minor
    return sums


def _rate(head: Head) -> str:
    from models.money import format_rate

    if head.rate is None:
        return ""
    rate = head.rate
    return f"1 {rate.from_currency} = {format_rate(rate.millionths)} {head.currency}, {rate.source}, {rate.date}"


def _as_json(month: Month) -> dict[str, object]:
    head = month.newest
    return {
        "programme": month.programme,
        "cycle": month.cycle,
        "runs": sorted(each.head.run for each in month.files),
        "families": month.families,
        "credited_minor": month.credited_minor,
        "currency": head.currency,
        "funds": _by_fund(month),
        "paid_twice": month.paid_twice,
        "as_of_seq": head.journal.seq,
        "journal_hash": head.journal.hash,
        "complete": not month.missing,
        "missing": [each.run for each in month.missing],
        "faults": month.faults,
    }
