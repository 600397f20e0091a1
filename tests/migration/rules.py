"""What a migration may not do to a database that is at work: squawk's rules over its PostgreSQL, and ours."""

import io
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory

#: Of these a month has thousands of rows for each thousand families, or more.
BIG = {
    "household", "enrolment", "disbursement", "batch", "voucher", "intent", "answer", "transfer", "journal", "seal",
}  # fmt: skip
#: Squawk's rules about taste, and about time-outs, which models.schema sets for every migration.
NOT_OURS = {
    "prefer-bigint-over-int", "prefer-bigint-over-smallint", "prefer-identity", "prefer-repack", "prefer-robust-stmts",
    "prefer-text-field", "require-lock-timeout", "require-statement-timeout", "require-timeout-settings",
    "require-table-schema", "transaction-nesting", "unused-ignore",
}  # fmt: skip
#: What locks a table while its rows are gone through. The rest of squawk's rules is about what other code expects:
#: that is what a contraction is for.
LOCKS = {
    "adding-field-with-default", "adding-foreign-key-constraint", "adding-not-nullable-field", "adding-required-field",
    "adding-serial-primary-key-field", "ban-concurrent-index-creation-in-transaction", "changing-column-type",
    "constraint-missing-not-valid", "disallowed-unique-constraint", "require-concurrent-index-creation",
    "require-concurrent-index-deletion", "require-concurrent-reindex", "syntax-error",
}  # fmt: skip
_GOES_THROUGH = re.compile(
    r"^\s*(UPDATE|DELETE\s+FROM|INSERT\s+INTO|TRUNCATE|LOCK|CLUSTER|VACUUM\s+FULL|REINDEX)\s+(?:TABLE\s+|ONLY\s+)*(\w+)",
    re.I | re.M,
)
_OUTSIDE = re.compile(r"\bCONCURRENTLY\b", re.I)
_ALEMBICS_OWN = re.compile(r"^(BEGIN|COMMIT|UPDATE alembic_version\b.*|UPDATE code_floor\b.*)$", re.S)


def broken_rules(migrations: Path, revision: str) -> list[str]:
    """What this migration of the folder breaks, one text each: the rule first."""
    script = ScriptDirectory(str(migrations)).get_revision(revision)
    statements = sql_of(migrations, revision, down_revision=str(script.down_revision))
    found = [
        f"{each['rule_name']}: {each['message']}"
        for each in _squawk(statements)
        if each["rule_name"] not in NOT_OURS and (script.module.PHASE == "expand" or each["rule_name"] in LOCKS)
    ]
    for verb, table in _GOES_THROUGH.findall(statements):
        if table in BIG:
            found.append(f"goes-through-a-big-table: {verb} {table} locks all its rows in one transaction")
    if _OUTSIDE.search(statements) and len(_own(statements)) > 1:
        found.append("concurrently-alone: what is done without a transaction is alone in its migration")
    return found


def sql_of(migrations: Path, revision: str, *, down_revision: str) -> str:
    """The statements of a migration for PostgreSQL."""
    written = io.StringIO()
    config = Config(output_buffer=written)
    config.set_main_option("script_location", str(migrations))
    command.upgrade(config, f"{down_revision}:{revision}", sql=True)
    return written.getvalue()


def _own(statements: str) -> list[str]:
    bare = re.sub(r"--[^\n]*", "", statements)
    return [each for each in map(str.strip, bare.split(";")) if each and not _ALEMBICS_OWN.match(each)]


def _squawk(statements: str) -> list[dict[str, str]]:
    beside = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    program = shutil.which("squawk", path=beside)
    assert program is not None, "squawk is missing: pip install squawk-cli"
    done = subprocess.run(
        [program, "--reporter", "json", "--pg-version", "15.0"], input=statements, capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    assert done.returncode in (0, 1), done.stderr
    found: list[dict[str, str]] = json.loads(done.stdout)
    return found
