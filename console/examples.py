"""Real invocations of every command, for its `--help` and for deploy/COMMANDS.md. A test parses each of them."""

#: By the command's words; the empty one is `despensa` itself.
EXAMPLES: dict[str, tuple[str, ...]] = {
    "": ("despensa demo", "despensa doctor", "despensa run start"),
    "demo": ("despensa demo", "despensa demo --families 5000 --seed 7"),
    "rehearse": ("despensa rehearse", "despensa rehearse store", "despensa rehearse store --check"),
    "doctor": ("despensa doctor", "despensa doctor --json"),
    "config": ("despensa config show", "despensa config check"),
    "config show": ("despensa config show", "despensa config show --json"),
    "config check": ("despensa config check",),
    "db": ("despensa db upgrade", "despensa db check", "despensa db backup /srv/backup"),
    "db upgrade": ("despensa db upgrade", "despensa db upgrade --contract"),
    "db check": ("despensa db check --json",),
    "db backup": ("despensa db backup /srv/backup", "despensa db backup /srv/backup --keep 30 --json"),
    "db restored": (
        "despensa db restored /var/log/despensa/*.jsonl* --dry-run",
        "despensa db restored /var/log/despensa/*.jsonl*",
    ),
    "keys": ("despensa keys init", "despensa keys rotate pin"),
    "keys init": ("despensa keys init",),
    "keys rotate": ("despensa keys rotate pin", "despensa keys rotate person"),
    "keys retire": ("despensa keys retire pin 1",),
    "import": (
        "despensa import deploy/programmes/northern-mexico --dry-run",
        "despensa import households.csv --programme northern-mexico",
    ),
    "enrolment": ("despensa enrolment conflicts", "despensa enrolment decide 7 --same"),
    "enrolment conflicts": ("despensa enrolment conflicts", "despensa enrolment conflicts --all --json"),
    "enrolment decide": ("despensa enrolment decide 7 --same", "despensa enrolment decide 7 --different --yes"),
    "run": ("despensa run start", "despensa run status --watch", "despensa run cases"),
    "run start": (
        "despensa run start",
        "despensa run start --cycle 2026-12 --location Tijuana",
        "despensa run start --no-wait",
    ),
    "run list": ("despensa run list", "despensa run list --cycle 2026-12 --json"),
    "run plan": (
        "despensa run plan --cycle 2026-12 --dry-run",
        "despensa run plan --cycle 2026-12 --location 02004",
        "despensa run plan --cycle 2026-12 --dry-run --csv",
    ),
    "run approve": ("despensa run approve 2026-12/02004", "despensa run approve 2026-12/02004.2 --yes"),
    "run release": ("despensa run release 2026-12/02004",),
    "run status": ("despensa run status", "despensa run status --watch", "despensa run status 2026-12/02004 --json"),
    "run cases": (
        "despensa run cases",
        "despensa run cases --location Tijuana --waiting",
        "despensa run cases 2026-12/02004 --each",
    ),
    "run retry": (
        "despensa run retry --cycle 2026-12 --reason unknown --dry-run",
        "despensa run retry 2026-12/02004 --reason rejected --error over_limit",
        "despensa run retry --case 17",
    ),
    "run resolve": (
        "despensa run resolve 17 --paid 'receipt 2026-0412'",
        "despensa run resolve 17 --not-owed",
    ),
    "run pause": (
        "despensa run pause 2026-12/02004",
        "despensa run pause --location Tijuana --reason 'wrong list'",
        "despensa run pause --all",
    ),
    "run resume": ("despensa run resume 2026-12/02004", "despensa run resume --all"),
    "run discard": ("despensa run discard 2026-12/02004",),
    "run cancel": ("despensa run cancel 2026-12/02004", "despensa run cancel --location Tijuana"),
    "run reconcile": ("despensa run reconcile", "despensa run reconcile --json"),
    "run lost": ("despensa run lost", "despensa run lost --all --json"),
    "run recover": (
        "despensa run recover 2026-12/02004 --handed-over 2026-12-tijuana.csv",
        "despensa run recover 2026-12/02004 --not-handed-over 'partner letter 2026-12-04'",
    ),
    "voucher": ("despensa voucher show 1200003452", "despensa voucher export 2026-12/02004 --out FILE"),
    "voucher show": ("despensa voucher show 1200003452",),
    "voucher export": ("despensa voucher export 2026-12/02004 --out 2026-12-tijuana.csv",),
    "fund": ("despensa fund statement", "despensa fund statement --fund fund-a --csv"),
    "fund statement": (
        "despensa fund statement",
        "despensa fund statement --donor 'Donor A' --cycle 2026-12",
        "despensa fund statement --fund fund-a --csv",
    ),
    "statement": (
        "despensa statement import 2026-12.csv --from 2026-12-01 --to 2027-01-01",
        "despensa statement differences",
    ),
    "statement import": (
        "despensa statement import 2026-12.csv --from 2026-12-01 --to 2027-01-01 --dry-run",
        "despensa statement import 2026-12.csv --from 2026-12-01T00:00:00-06:00 --to 2027-01-01T00:00:00-06:00",
        "despensa statement import --fetch --from 2026-12-01 --to 2026-12-02",
    ),
    "statement differences": (
        "despensa statement differences",
        "despensa statement differences --reason unknown_to_them --csv",
    ),
    "statement close": ("despensa statement close 7 --evidence 'issuer letter 2026-31'",),
    "report": ("despensa report month", "despensa report donor --from 2026-10 --to 2026-12 --outside --csv"),
    "report month": (
        "despensa report month",
        "despensa report month --by group --from 2026-12 --outside --csv",
        "despensa report month --by support --from 2026-10 --to 2026-12 --json",
    ),
    "report store": ("despensa report store --from 2026-12",),
    "report donor": ("despensa report donor --from 2026-10 --to 2026-12 --outside --csv",),
    "report cases": ("despensa report cases --from 2026-12 --json",),
    "report approvals": ("despensa report approvals --from 2026-12 --csv",),
    "certificate": (
        "despensa certificate create 2026-12/02004",
        "despensa certificate verify 2026-12-*.certificate --key despensa.pub",
    ),
    "certificate create": (
        "despensa certificate create 2026-12/02004",
        "despensa certificate create 2026-12/02004.2 /srv/donor/2026-12-tijuana-2.certificate",
    ),
    "certificate key": ("despensa certificate key", "despensa certificate key --json"),
    "certificate verify": (
        "despensa certificate verify *.certificate --key despensa.pub",
        "despensa certificate verify 2026-12-*.certificate --key ed25519:4f0c…",
    ),
    "store": ("despensa store list", "despensa store test TIJ-01"),
    "store list": ("despensa store list", "despensa store list --json"),
    "store test": ("despensa store test TIJ-01", "despensa store test TIJ-01 --json"),
    "store resend": ("despensa store resend TIJ-01",),
    "store secret": ("despensa store secret TIJ-01", "despensa store secret TIJ-01 --rotate"),
    "worker": ("despensa worker", "despensa worker --processes 4 --threads 8"),
    "scheduler": (
        "despensa scheduler",
        "despensa scheduler --once --log-file /var/log/despensa/scheduler.jsonl",
        "despensa scheduler --log-file /var/log/despensa/scheduler.jsonl",
    ),
    "simulate": ("despensa simulate stores", "despensa simulate issuer"),
    "simulate stores": (
        "despensa simulate stores --fault 'TIJ-01=error:2'",
        "despensa simulate stores --port 9000 --verify",
    ),
    "simulate issuer": ("despensa simulate issuer --fault lost_after=5% --seed 7",),
    "dashboard": (
        "despensa dashboard",
        "despensa dashboard /var/log/despensa --port 8090",
        "despensa dashboard --host 0.0.0.0 --token-file /etc/despensa/dashboard.token",
    ),
    "logs": ("despensa logs tail --follow", "despensa logs verify despensa.jsonl"),
    "logs tail": (
        "despensa logs tail --follow",
        "despensa logs tail --event 'case.*' --since 2h",
        "despensa logs tail --voucher 1200003452",
    ),
    "logs totals": ("despensa logs totals despensa.jsonl despensa.jsonl.1.gz",),
    "logs query": ("despensa logs query 'SELECT event, COUNT(*) FROM log GROUP BY event' despensa.jsonl",),
    "logs verify": ("despensa logs verify despensa.jsonl", "despensa logs verify despensa.jsonl --database"),
    "logs emit": ("despensa logs emit --from 1201 --to 1300",),
    "logs schema": ("despensa logs schema", "despensa logs schema --markdown"),
}

#: The root's commands, as operators think of them. Source: design.md, The command.
PANELS: dict[str, tuple[str, ...]] = {
    "Try it": ("demo", "rehearse", "simulate"),
    "Set up": ("doctor", "config", "db", "keys", "import"),
    "The month": ("enrolment", "run", "voucher"),
    "Money": ("fund", "statement", "report", "certificate"),
    "Stores": ("store",),
    "Run it": ("worker", "scheduler"),
    "Look": ("dashboard", "logs"),
}


def epilog(path: str) -> str | None:
    """The section of a command's `--help`; \\b keeps its lines as they are."""
    examples = EXAMPLES.get(path)
    return "\b\nExamples:\n" + "\n".join(f"  {example}" for example in examples) if examples else None
