"""No migration after the first release stops a month that is at work: held against rules, before it runs anywhere."""

from pathlib import Path

import pytest

from models.tables import Table
from tests.migration.planted import OURS, Planted, contract, expand, plant, planted_revision, sql
from tests.migration.rules import BIG, broken_rules

pytestmark = pytest.mark.long

#: What came before the first release was never applied to a database at work.
EXEMPT = {"0001", "0002", "0003", "0004"}
REVISIONS = sorted({path.name[:4] for path in (OURS / "versions").glob("[0-9]*.py")} - EXEMPT)


@pytest.mark.parametrize("revision", REVISIONS)
def test_migration_stops_no_month(revision: str) -> None:
    assert broken_rules(OURS, revision) == []


@pytest.mark.parametrize(
    ("planted", "rule"),
    [
        (expand(sql("ALTER TABLE disbursement ADD COLUMN n BIGINT DEFAULT random()")), "adding-field-with-default"),
        (expand(sql("ALTER TABLE disbursement ADD COLUMN n TEXT NOT NULL")), "adding-required-field"),
        (expand(sql("ALTER TABLE disbursement ALTER COLUMN cycle SET NOT NULL")), "adding-not-nullable-field"),
        (expand(sql("ALTER TABLE disbursement ALTER COLUMN cycle TYPE VARCHAR(7)")), "changing-column-type"),
        (contract(sql("ALTER TABLE disbursement ALTER COLUMN cycle TYPE VARCHAR(7)")), "changing-column-type"),
        (expand(sql("ALTER TABLE voucher ADD CONSTRAINT c CHECK (id > 0)")), "constraint-missing-not-valid"),
        (
            expand(sql("ALTER TABLE voucher ADD CONSTRAINT f FOREIGN KEY (id) REFERENCES disbursement (id)")),
            "adding-foreign-key-constraint",
        ),
        (expand(sql("ALTER TABLE voucher ADD CONSTRAINT u UNIQUE (batch_id)")), "disallowed-unique-constraint"),
        (expand('op.create_index("ix_n", "disbursement", ["cycle"])'), "require-concurrent-index-creation"),
        (contract('op.create_index("ix_n", "disbursement", ["cycle"])'), "require-concurrent-index-creation"),
        (expand('op.drop_column("run", "blocked")'), "ban-drop-column"),
        (expand('op.drop_table("sighting")'), "ban-drop-table"),
        (expand('op.drop_constraint("ck_run_part", "run")'), "ban-drop-constraint"),
        (expand('op.alter_column("run", "blocked", nullable=True)'), "ban-drop-not-null"),
        (expand('op.alter_column("run", "blocked", new_column_name="held_up")'), "renaming-column"),
        (expand('op.rename_table("sighting", "seen")'), "renaming-table"),
        (expand(sql("UPDATE disbursement SET cycle = cycle")), "goes-through-a-big-table"),
        (contract(sql("DELETE FROM journal WHERE id = 1")), "goes-through-a-big-table"),
        (
            expand('create_index("ix_n", "disbursement", ["cycle"])\n    op.execute("SELECT 1")'),
            "concurrently-alone",
        ),
        (expand(sql("ALTER TABEL voucher")), "syntax-error"),
    ],
    ids=lambda value: value if isinstance(value, str) else value.phase,
)
def test_migration_that_would_stop_one_is_found(tmp_path: Path, planted: Planted, rule: str) -> None:
    found = broken_rules(plant(tmp_path, planted), planted_revision(1))

    assert rule in {each.partition(":")[0] for each in found}


@pytest.mark.parametrize(
    "planted",
    [
        expand(sql("ALTER TABLE disbursement ADD COLUMN n TEXT")),
        expand(sql("ALTER TABLE disbursement ADD COLUMN n TEXT NOT NULL DEFAULT ''")),
        expand('create_index("ix_n", "disbursement", ["cycle"])'),
        expand(sql("ALTER TABLE voucher ADD CONSTRAINT c CHECK (id > 0) NOT VALID")),
        expand(sql("CREATE TABLE n (id BIGINT)", "CREATE INDEX ix_n ON n (id)", "INSERT INTO n VALUES (1)")),
        contract('op.drop_column("run", "blocked")'),
        contract('op.rename_table("sighting", "seen")'),
    ],
    ids=range(7),
)  # fmt: skip
def test_migration_that_would_not_is_let_through(tmp_path: Path, planted: Planted) -> None:
    assert broken_rules(plant(tmp_path, planted), planted_revision(1)) == []


def test_big_tables_are_tables() -> None:
    assert set(Table.metadata.tables) >= BIG
