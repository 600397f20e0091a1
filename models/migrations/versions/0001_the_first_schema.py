"""The first schema: tables, append-only guards, the entry view, the journal's head.

Why: everything stands on it.
"""

import sqlalchemy as sa
from alembic import op

import models.columns

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None
PHASE = "expand"


def upgrade() -> None:
    op.create_table(
        "journal",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("event", sa.Text(), nullable=False),
        sa.Column("level", sa.Text(), nullable=False),
        sa.Column("run_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=False, nullable=True),
        sa.Column("recorded_at", models.columns.UtcInstant(timezone=True), nullable=False),
        sa.Column("fields", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_journal")),
        sqlite_autoincrement=True,
        sqlite_strict=True,
    )
    with op.batch_alter_table("journal", schema=None) as batch_op:
        batch_op.create_index("ix_journal_run_id", ["run_id"], unique=False)

    op.create_table(
        "journal_head",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=False, nullable=False),
        sa.Column("seq", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=False, nullable=False),
        sa.Column("hash", sa.Text(), nullable=False),
        sa.Column(
            "emitted_seq", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=False, nullable=False
        ),
        sa.CheckConstraint("id = 1", name=op.f("ck_journal_head_single")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_journal_head")),
        sqlite_autoincrement=False,
        sqlite_strict=True,
    )
    op.create_table(
        "location",
        sa.Column("code", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("time_zone", sa.Text(), nullable=False),
        sa.CheckConstraint("length(code) = 5", name=op.f("ck_location_code")),
        sa.PrimaryKeyConstraint("code", name=op.f("pk_location")),
        sqlite_autoincrement=False,
        sqlite_strict=True,
    )
    op.create_table(
        "programme",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("code", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("currency", sa.Text(), nullable=False),
        sa.Column("value_currency", sa.Text(), nullable=False),
        sa.Column(
            "base_minor", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=False, nullable=False
        ),
        sa.Column(
            "per_member_minor",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            autoincrement=False,
            nullable=False,
        ),
        sa.Column(
            "cap_minor", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=False, nullable=False
        ),
        sa.Column(
            "round_to_minor", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=False, nullable=False
        ),
        sa.Column("cycles", sa.Integer(), nullable=False),
        sa.Column("validity_days", sa.Integer(), nullable=False),
        sa.Column("payday_day", sa.Integer(), nullable=False),
        sa.Column("payday_time", sa.Text(), nullable=False),
        sa.Column("approval", sa.Text(), nullable=False),
        sa.Column(
            "policy_run_max_minor",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            autoincrement=False,
            nullable=False,
        ),
        sa.Column("permitted_goods", sa.Text(), nullable=False),
        sa.Column("excluded_goods", sa.Text(), nullable=False),
        sa.CheckConstraint("approval IN ('person', 'policy')", name=op.f("ck_programme_approval")),
        sa.CheckConstraint("base_minor BETWEEN 0 AND 10000000000000", name=op.f("ck_programme_base_minor")),
        sa.CheckConstraint("cap_minor BETWEEN 1 AND 10000000000000", name=op.f("ck_programme_cap_minor")),
        sa.CheckConstraint("cycles BETWEEN 1 AND 120", name=op.f("ck_programme_cycles")),
        sa.CheckConstraint("payday_day BETWEEN 1 AND 28", name=op.f("ck_programme_payday_day")),
        sa.CheckConstraint("per_member_minor BETWEEN 0 AND 10000000000000", name=op.f("ck_programme_per_member_minor")),
        sa.CheckConstraint(
            "policy_run_max_minor BETWEEN 0 AND 10000000000000", name=op.f("ck_programme_policy_run_max_minor")
        ),
        sa.CheckConstraint("round_to_minor BETWEEN 1 AND 1000000", name=op.f("ck_programme_round_to_minor")),
        sa.CheckConstraint("validity_days BETWEEN 1 AND 3660", name=op.f("ck_programme_validity_days")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_programme")),
        sa.UniqueConstraint("code", name=op.f("uq_programme_code")),
        sqlite_autoincrement=True,
        sqlite_strict=True,
    )
    op.create_table(
        "sighting",
        sa.Column("role", sa.Text(), nullable=False),
        sa.Column("instance", sa.Text(), nullable=False),
        sa.Column("seen_at", models.columns.UtcInstant(timezone=True), nullable=False),
        sa.CheckConstraint("role IN ('scheduler', 'worker')", name=op.f("ck_sighting_role")),
        sa.PrimaryKeyConstraint("role", "instance", name=op.f("pk_sighting")),
        sqlite_autoincrement=False,
        sqlite_strict=True,
    )
    op.create_table(
        "exchange_rate",
        sa.Column(
            "programme_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=False, nullable=False
        ),
        sa.Column("cycle", sa.Text(), nullable=False),
        sa.Column("from_currency", sa.Text(), nullable=False),
        sa.Column("to_currency", sa.Text(), nullable=False),
        sa.Column(
            "rate_millionths", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=False, nullable=False
        ),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("rate_date", sa.Text(), nullable=False),
        sa.CheckConstraint(
            "cycle >= '2000-01' AND cycle < '2200-01' AND length(cycle) = 7", name=op.f("ck_exchange_rate_cycle")
        ),
        sa.CheckConstraint("rate_millionths > 0", name=op.f("ck_exchange_rate_rate_millionths")),
        sa.ForeignKeyConstraint(["programme_id"], ["programme.id"], name=op.f("fk_exchange_rate_programme_id")),
        sa.PrimaryKeyConstraint("programme_id", "cycle", name=op.f("pk_exchange_rate")),
        sqlite_autoincrement=False,
        sqlite_strict=True,
    )
    op.create_table(
        "expected_slot",
        sa.Column(
            "programme_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=False, nullable=False
        ),
        sa.Column("location_code", sa.Text(), nullable=False),
        sa.Column("cycle", sa.Text(), nullable=False),
        sa.CheckConstraint(
            "cycle >= '2000-01' AND cycle < '2200-01' AND length(cycle) = 7", name=op.f("ck_expected_slot_cycle")
        ),
        sa.ForeignKeyConstraint(["location_code"], ["location.code"], name=op.f("fk_expected_slot_location_code")),
        sa.ForeignKeyConstraint(["programme_id"], ["programme.id"], name=op.f("fk_expected_slot_programme_id")),
        sa.PrimaryKeyConstraint("programme_id", "location_code", "cycle", name=op.f("pk_expected_slot")),
        sqlite_autoincrement=False,
        sqlite_strict=True,
    )
    op.create_table(
        "fund",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column(
            "programme_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=False, nullable=False
        ),
        sa.Column("code", sa.Text(), nullable=False),
        sa.Column("donor", sa.Text(), nullable=False),
        sa.Column("currency", sa.Text(), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column(
            "balance_minor", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=False, nullable=False
        ),
        sa.CheckConstraint("balance_minor BETWEEN 0 AND 10000000000000", name=op.f("ck_fund_balance_minor")),
        sa.ForeignKeyConstraint(["programme_id"], ["programme.id"], name=op.f("fk_fund_programme_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_fund")),
        sa.UniqueConstraint("programme_id", "code", name=op.f("uq_fund_programme_id_code")),
        sa.UniqueConstraint("programme_id", "position", name=op.f("uq_fund_programme_id_position")),
        sqlite_autoincrement=True,
        sqlite_strict=True,
    )
    op.create_table(
        "household",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("registration_id", sa.Text(), nullable=False),
        sa.Column("location_code", sa.Text(), nullable=False),
        sa.Column("members", sa.Integer(), nullable=False),
        sa.Column("group_code", sa.Text(), nullable=False),
        sa.CheckConstraint("members BETWEEN 1 AND 40", name=op.f("ck_household_members")),
        sa.ForeignKeyConstraint(["location_code"], ["location.code"], name=op.f("fk_household_location_code")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_household")),
        sa.UniqueConstraint("registration_id", name=op.f("uq_household_registration_id")),
        sqlite_autoincrement=True,
        sqlite_strict=True,
    )
    with op.batch_alter_table("household", schema=None) as batch_op:
        batch_op.create_index("ix_household_location_code", ["location_code"], unique=False)

    op.create_table(
        "programme_location",
        sa.Column(
            "programme_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=False, nullable=False
        ),
        sa.Column("location_code", sa.Text(), nullable=False),
        sa.Column("first_cycle", sa.Text(), nullable=False),
        sa.CheckConstraint(
            "first_cycle >= '2000-01' AND first_cycle < '2200-01' AND length(first_cycle) = 7",
            name=op.f("ck_programme_location_first_cycle"),
        ),
        sa.ForeignKeyConstraint(["location_code"], ["location.code"], name=op.f("fk_programme_location_location_code")),
        sa.ForeignKeyConstraint(["programme_id"], ["programme.id"], name=op.f("fk_programme_location_programme_id")),
        sa.PrimaryKeyConstraint("programme_id", "location_code", name=op.f("pk_programme_location")),
        sqlite_autoincrement=False,
        sqlite_strict=True,
    )
    op.create_table(
        "run",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column(
            "programme_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=False, nullable=False
        ),
        sa.Column("location_code", sa.Text(), nullable=False),
        sa.Column("cycle", sa.Text(), nullable=False),
        sa.Column("part", sa.Integer(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("late", sa.Boolean().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("opens_at", models.columns.UtcInstant(timezone=True), nullable=False),
        sa.Column("lines", sa.Integer(), nullable=False),
        sa.Column(
            "planned_minor", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=False, nullable=False
        ),
        sa.Column("digest", sa.Text(), nullable=False),
        sa.Column("currency", sa.Text(), nullable=False),
        sa.Column("value_currency", sa.Text(), nullable=False),
        sa.Column(
            "rate_millionths", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=False, nullable=True
        ),
        sa.Column("rate_source", sa.Text(), nullable=False),
        sa.Column("rate_date", sa.Text(), nullable=False),
        sa.Column(
            "round_to_minor", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=False, nullable=False
        ),
        sa.Column("validity_days", sa.Integer(), nullable=False),
        sa.Column("batch_lines_max", sa.Integer(), nullable=False),
        sa.Column("planned_by", sa.Text(), nullable=False),
        sa.Column("planned_at", models.columns.UtcInstant(timezone=True), nullable=False),
        sa.Column("approval", sa.Text(), nullable=True),
        sa.Column("approved_by", sa.Text(), nullable=True),
        sa.Column("approved_at", models.columns.UtcInstant(timezone=True), nullable=True),
        sa.Column("approved_digest", sa.Text(), nullable=True),
        sa.Column("released_at", models.columns.UtcInstant(timezone=True), nullable=True),
        sa.Column("completed_at", models.columns.UtcInstant(timezone=True), nullable=True),
        sa.Column("blocked", sa.Text(), nullable=False),
        sa.CheckConstraint(
            "approved_by IS NULL OR approved_by <> planned_by OR approval = 'policy'", name=op.f("ck_run_four_eyes")
        ),
        sa.CheckConstraint("cycle >= '2000-01' AND cycle < '2200-01' AND length(cycle) = 7", name=op.f("ck_run_cycle")),
        sa.CheckConstraint(
            "state IN ('planned', 'approved', 'released', 'paused', 'completed', 'completed_with_cases', 'cancelled')",
            name=op.f("ck_run_state"),
        ),
        sa.CheckConstraint("part >= 1", name=op.f("ck_run_part")),
        sa.CheckConstraint("planned_minor BETWEEN 0 AND 10000000000000", name=op.f("ck_run_planned_minor")),
        sa.ForeignKeyConstraint(["location_code"], ["location.code"], name=op.f("fk_run_location_code")),
        sa.ForeignKeyConstraint(["programme_id"], ["programme.id"], name=op.f("fk_run_programme_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_run")),
        sa.UniqueConstraint(
            "programme_id", "location_code", "cycle", "part", name=op.f("uq_run_programme_id_location_code_cycle_part")
        ),
        sqlite_autoincrement=True,
        sqlite_strict=True,
    )
    with op.batch_alter_table("run", schema=None) as batch_op:
        batch_op.create_index("ix_run_state", ["state"], unique=False)

    op.create_table(
        "seal",
        sa.Column("seq", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=False, nullable=False),
        sa.Column(
            "journal_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=False, nullable=False
        ),
        sa.Column("prev_hash", sa.Text(), nullable=False),
        sa.Column("hash", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["journal_id"], ["journal.id"], name=op.f("fk_seal_journal_id")),
        sa.PrimaryKeyConstraint("seq", name=op.f("pk_seal")),
        sa.UniqueConstraint("journal_id", name=op.f("uq_seal_journal_id")),
        sa.UniqueConstraint("prev_hash", name=op.f("uq_seal_prev_hash")),
        sqlite_autoincrement=False,
        sqlite_strict=True,
    )
    op.create_table(
        "store",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("location_code", sa.Text(), nullable=False),
        sa.Column("url", sa.Text(), nullable=False),
        sa.Column("active", sa.Boolean().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("secret_version", sa.Integer(), nullable=False),
        sa.Column("previous_secret_until", models.columns.UtcInstant(timezone=True), nullable=True),
        sa.Column("failures", sa.Integer(), nullable=False),
        sa.Column("breaker_until", models.columns.UtcInstant(timezone=True), nullable=True),
        sa.CheckConstraint("secret_version >= 1", name=op.f("ck_store_secret_version")),
        sa.ForeignKeyConstraint(["location_code"], ["location.code"], name=op.f("fk_store_location_code")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_store")),
        sqlite_autoincrement=False,
        sqlite_strict=True,
    )
    with op.batch_alter_table("store", schema=None) as batch_op:
        batch_op.create_index("ix_store_location_code", ["location_code"], unique=False)

    op.create_table(
        "batch",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("run_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=False, nullable=False),
        sa.Column(
            "first_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=False, nullable=False
        ),
        sa.Column("last_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=False, nullable=False),
        sa.Column("lines", sa.Integer(), nullable=False),
        sa.Column(
            "amount_minor", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=False, nullable=False
        ),
        sa.Column("digest", sa.Text(), nullable=False),
        sa.Column("fund_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=False, nullable=True),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("token", sa.Text(), nullable=True),
        sa.Column("lease_until", models.columns.UtcInstant(timezone=True), nullable=True),
        sa.Column("stamped_at", models.columns.UtcInstant(timezone=True), nullable=True),
        sa.Column("next_attempt_at", models.columns.UtcInstant(timezone=True), nullable=True),
        sa.Column("given_back_at", models.columns.UtcInstant(timezone=True), nullable=True),
        sa.Column("last_error", sa.Text(), nullable=False),
        sa.Column("ended_at", models.columns.UtcInstant(timezone=True), nullable=True),
        sa.Column("credited", sa.Integer(), nullable=True),
        sa.Column(
            "credited_minor", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=False, nullable=True
        ),
        sa.Column("credited_at", models.columns.UtcInstant(timezone=True), nullable=True),
        sa.CheckConstraint("(state = 'done') = (credited_at IS NOT NULL)", name=op.f("ck_batch_done")),
        sa.CheckConstraint(
            "state IN ('planned', 'open', 'paused', 'done', 'split', 'stopped')", name=op.f("ck_batch_state")
        ),
        sa.CheckConstraint("first_id <= last_id", name=op.f("ck_batch_range")),
        sa.ForeignKeyConstraint(["fund_id"], ["fund.id"], name=op.f("fk_batch_fund_id")),
        sa.ForeignKeyConstraint(["run_id"], ["run.id"], name=op.f("fk_batch_run_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_batch")),
        sqlite_autoincrement=True,
        sqlite_strict=True,
    )
    with op.batch_alter_table("batch", schema=None) as batch_op:
        batch_op.create_index(
            "ix_batch_open",
            ["run_id", "id"],
            unique=False,
            sqlite_where=sa.text("state = 'open'"),
            postgresql_where=sa.text("state = 'open'"),
        )
        batch_op.create_index("ix_batch_run_id", ["run_id", "first_id"], unique=False)

    op.create_table(
        "disbursement",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=False, nullable=False),
        sa.Column(
            "programme_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=False, nullable=False
        ),
        sa.Column(
            "household_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=False, nullable=False
        ),
        sa.Column("cycle", sa.Text(), nullable=False),
        sa.Column(
            "amount_minor", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=False, nullable=False
        ),
        sa.CheckConstraint("amount_minor BETWEEN 1 AND 10000000000000", name=op.f("ck_disbursement_amount_minor")),
        sa.ForeignKeyConstraint(["household_id"], ["household.id"], name=op.f("fk_disbursement_household_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_disbursement")),
        sa.UniqueConstraint(
            "programme_id", "household_id", "cycle", name=op.f("uq_disbursement_programme_id_household_id_cycle")
        ),
        sqlite_autoincrement=False,
        sqlite_strict=True,
    )
    op.create_table(
        "enrolment",
        sa.Column(
            "programme_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=False, nullable=False
        ),
        sa.Column(
            "household_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=False, nullable=False
        ),
        sa.Column("first_cycle", sa.Text(), nullable=False),
        sa.Column("last_cycle", sa.Text(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("reason_code", sa.Text(), nullable=False),
        sa.CheckConstraint(
            "first_cycle >= '2000-01' AND first_cycle < '2200-01' AND length(first_cycle) = 7",
            name=op.f("ck_enrolment_first_cycle"),
        ),
        sa.CheckConstraint(
            "last_cycle >= '2000-01' AND last_cycle < '2200-01' AND length(last_cycle) = 7",
            name=op.f("ck_enrolment_last_cycle"),
        ),
        sa.CheckConstraint("status IN ('active', 'held', 'stopped')", name=op.f("ck_enrolment_status")),
        sa.CheckConstraint("first_cycle <= last_cycle", name=op.f("ck_enrolment_window")),
        sa.ForeignKeyConstraint(["household_id"], ["household.id"], name=op.f("fk_enrolment_household_id")),
        sa.ForeignKeyConstraint(["programme_id"], ["programme.id"], name=op.f("fk_enrolment_programme_id")),
        sa.PrimaryKeyConstraint("programme_id", "household_id", name=op.f("pk_enrolment")),
        sqlite_autoincrement=False,
        sqlite_strict=True,
    )
    op.create_table(
        "notice",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("run_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=False, nullable=False),
        sa.Column("store_id", sa.Text(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("webhook_id", sa.Text(), nullable=False),
        sa.Column("vouchers", sa.Integer(), nullable=False),
        sa.Column(
            "amount_minor", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=False, nullable=False
        ),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("token", sa.Text(), nullable=True),
        sa.Column("lease_until", models.columns.UtcInstant(timezone=True), nullable=True),
        sa.Column("stamped_at", models.columns.UtcInstant(timezone=True), nullable=True),
        sa.Column("made_at", models.columns.UtcInstant(timezone=True), nullable=False),
        sa.Column("next_attempt_at", models.columns.UtcInstant(timezone=True), nullable=False),
        sa.Column("tried_at", models.columns.UtcInstant(timezone=True), nullable=True),
        sa.Column("delivered_at", models.columns.UtcInstant(timezone=True), nullable=True),
        sa.Column("last_error", sa.Text(), nullable=False),
        sa.CheckConstraint("state IN ('due', 'delivered', 'undelivered')", name=op.f("ck_notice_state")),
        sa.ForeignKeyConstraint(["run_id"], ["run.id"], name=op.f("fk_notice_run_id")),
        sa.ForeignKeyConstraint(["store_id"], ["store.id"], name=op.f("fk_notice_store_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_notice")),
        sa.UniqueConstraint("run_id", "store_id", "number", name=op.f("uq_notice_run_id_store_id_number")),
        sa.UniqueConstraint("webhook_id", name=op.f("uq_notice_webhook_id")),
        sqlite_autoincrement=True,
        sqlite_strict=True,
    )
    with op.batch_alter_table("notice", schema=None) as batch_op:
        batch_op.create_index(
            "ix_notice_due",
            ["id"],
            unique=False,
            sqlite_where=sa.text("state = 'due'"),
            postgresql_where=sa.text("state = 'due'"),
        )
        batch_op.create_index("ix_notice_store_id", ["store_id"], unique=False)

    op.create_table(
        "run_amount",
        sa.Column("run_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=False, nullable=False),
        sa.Column("members", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=False, nullable=False),
        sa.Column(
            "amount_minor", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=False, nullable=False
        ),
        sa.CheckConstraint("amount_minor BETWEEN 1 AND 10000000000000", name=op.f("ck_run_amount_amount_minor")),
        sa.ForeignKeyConstraint(["run_id"], ["run.id"], name=op.f("fk_run_amount_run_id")),
        sa.PrimaryKeyConstraint("run_id", "members", name=op.f("pk_run_amount")),
        sqlite_autoincrement=False,
        sqlite_strict=True,
    )
    op.create_table(
        "run_group",
        sa.Column("run_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=False, nullable=False),
        sa.Column("group_code", sa.Text(), nullable=False),
        sa.Column("families", sa.Integer(), nullable=False),
        sa.Column(
            "amount_minor", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=False, nullable=False
        ),
        sa.ForeignKeyConstraint(["run_id"], ["run.id"], name=op.f("fk_run_group_run_id")),
        sa.PrimaryKeyConstraint("run_id", "group_code", name=op.f("pk_run_group")),
        sqlite_autoincrement=False,
        sqlite_strict=True,
    )
    op.create_table(
        "cases",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column(
            "disbursement_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=False, nullable=False
        ),
        sa.Column("run_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=False, nullable=False),
        sa.Column("fund_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=False, nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("reserved", sa.Boolean().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("next_attempt_at", models.columns.UtcInstant(timezone=True), nullable=True),
        sa.Column("last_error", sa.Text(), nullable=False),
        sa.Column("opened_at", models.columns.UtcInstant(timezone=True), nullable=False),
        sa.Column("closed_at", models.columns.UtcInstant(timezone=True), nullable=True),
        sa.Column("outcome", sa.Text(), nullable=True),
        sa.Column("closed_by", sa.Text(), nullable=True),
        sa.Column("evidence", sa.Text(), nullable=False),
        sa.CheckConstraint("(state = 'open') = (outcome IS NULL)", name=op.f("ck_cases_outcome")),
        sa.CheckConstraint("outcome IS NULL OR outcome IN ('retried', 'paid', 'not_owed')", name=op.f("ck_cases_how")),
        sa.CheckConstraint("reason IN ('unknown', 'rejected', 'dead', 'stopped')", name=op.f("ck_cases_reason")),
        sa.CheckConstraint("state IN ('open', 'closed')", name=op.f("ck_cases_state")),
        sa.ForeignKeyConstraint(["disbursement_id"], ["disbursement.id"], name=op.f("fk_cases_disbursement_id")),
        sa.ForeignKeyConstraint(["fund_id"], ["fund.id"], name=op.f("fk_cases_fund_id")),
        sa.ForeignKeyConstraint(["run_id"], ["run.id"], name=op.f("fk_cases_run_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_cases")),
        sqlite_autoincrement=True,
        sqlite_strict=True,
    )
    with op.batch_alter_table("cases", schema=None) as batch_op:
        batch_op.create_index("ix_cases_disbursement_id", ["disbursement_id"], unique=False)
        batch_op.create_index("ix_cases_run_id", ["run_id", "state"], unique=False)
        batch_op.create_index(
            "uq_cases_open",
            ["disbursement_id"],
            unique=True,
            sqlite_where=sa.text("state = 'open'"),
            postgresql_where=sa.text("state = 'open'"),
        )

    op.create_table(
        "voucher",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=False, nullable=False),
        sa.Column("batch_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=False, nullable=True),
        sa.Column("key_version", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(["id"], ["disbursement.id"], name=op.f("fk_voucher_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_voucher")),
        sqlite_autoincrement=False,
        sqlite_strict=True,
    )
    op.create_table(
        "transfer",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("fund_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=False, nullable=False),
        sa.Column("run_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=False, nullable=True),
        sa.Column("batch_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=False, nullable=True),
        sa.Column("case_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=False, nullable=True),
        sa.Column(
            "amount_minor", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=False, nullable=False
        ),
        sa.Column("currency", sa.Text(), nullable=False),
        sa.Column("transferred_at", models.columns.UtcInstant(timezone=True), nullable=False),
        sa.CheckConstraint("(kind = 'deposit') = (run_id IS NULL)", name=op.f("ck_transfer_run_id")),
        sa.CheckConstraint("kind IN ('deposit', 'reserve', 'credit', 'unreserve')", name=op.f("ck_transfer_kind")),
        sa.CheckConstraint("amount_minor BETWEEN 1 AND 10000000000000", name=op.f("ck_transfer_amount_minor")),
        sa.ForeignKeyConstraint(["batch_id"], ["batch.id"], name=op.f("fk_transfer_batch_id")),
        sa.ForeignKeyConstraint(["case_id"], ["cases.id"], name=op.f("fk_transfer_case_id")),
        sa.ForeignKeyConstraint(["fund_id"], ["fund.id"], name=op.f("fk_transfer_fund_id")),
        sa.ForeignKeyConstraint(["run_id"], ["run.id"], name=op.f("fk_transfer_run_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_transfer")),
        sqlite_autoincrement=True,
        sqlite_strict=True,
    )
    with op.batch_alter_table("transfer", schema=None) as batch_op:
        batch_op.create_index("ix_transfer_fund_id", ["fund_id"], unique=False)
        batch_op.create_index("ix_transfer_run_id", ["run_id"], unique=False)
        batch_op.create_index(
            "uq_transfer_credit_batch_id",
            ["batch_id"],
            unique=True,
            sqlite_where=sa.text("kind = 'credit' AND batch_id IS NOT NULL"),
            postgresql_where=sa.text("kind = 'credit' AND batch_id IS NOT NULL"),
        )

    _guard()


#: Accounts of a transfer's two sides. An account's balance is the sum of its entries; only a fund also stores it.
ENTRY_VIEW = """
CREATE VIEW entry AS
SELECT id AS transfer_id, fund_id, run_id, -amount_minor AS amount_minor,
       CASE kind WHEN 'deposit' THEN 'donor' WHEN 'reserve' THEN 'fund' ELSE 'reserve' END AS account
FROM transfer
UNION ALL
SELECT id, fund_id, run_id, amount_minor,
       CASE kind WHEN 'deposit' THEN 'fund' WHEN 'reserve' THEN 'reserve' WHEN 'credit' THEN 'outstanding'
                 ELSE 'fund' END
FROM transfer
"""

#: Rows of these are facts: corrected by new rows, never updated, never deleted.
APPEND_ONLY = ("voucher", "transfer", "journal", "seal")

LINES_PER_RUN = 10_000_000


def _guard() -> None:
    op.execute(ENTRY_VIEW)
    op.execute(f"INSERT INTO journal_head (id, seq, hash, emitted_seq) VALUES (1, 0, '{'0' * 64}', 0)")
    if op.get_bind().dialect.name == "sqlite":
        _guard_sqlite()
    else:
        _guard_postgresql()


def _guard_sqlite() -> None:
    for table in APPEND_ONLY:
        for verb in ("UPDATE", "DELETE"):
            op.execute(
                f"CREATE TRIGGER {table}_refuses_{verb.lower()} BEFORE {verb} ON {table} "
                f"BEGIN SELECT RAISE(ABORT, '{table} rows are never changed'); END"
            )
    op.execute(
        "CREATE TRIGGER disbursement_refuses_update BEFORE UPDATE ON disbursement "
        "BEGIN SELECT RAISE(ABORT, 'lines are never changed'); END"
    )
    op.execute(
        "CREATE TRIGGER disbursement_refuses_delete BEFORE DELETE ON disbursement "
        f"WHEN (SELECT state FROM run WHERE id = OLD.id / {LINES_PER_RUN}) NOT IN ('planned', 'approved') "
        "BEGIN SELECT RAISE(ABORT, 'lines of a released run are never deleted'); END"
    )


def _guard_postgresql() -> None:
    op.execute(
        "CREATE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$ "
        "BEGIN RAISE EXCEPTION '% rows are never changed', TG_TABLE_NAME USING ERRCODE = 'restrict_violation'; END $$"
    )
    op.execute(
        "CREATE FUNCTION refuse_delete_of_released() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
        f"IF EXISTS (SELECT 1 FROM (SELECT DISTINCT id / {LINES_PER_RUN} AS run_id FROM gone) g JOIN run ON run.id = "
        "g.run_id WHERE run.state NOT IN ('planned', 'approved')) THEN RAISE EXCEPTION "
        "'lines of a released run are never deleted' USING ERRCODE = 'restrict_violation'; END IF; RETURN NULL; END $$"
    )
    for table in (*APPEND_ONLY, "disbursement"):
        verbs = "UPDATE OR TRUNCATE" if table == "disbursement" else "UPDATE OR DELETE OR TRUNCATE"
        op.execute(
            f"CREATE TRIGGER {table}_refuses_change BEFORE {verbs} ON {table} "
            "FOR EACH STATEMENT EXECUTE FUNCTION refuse_change()"
        )
    op.execute(
        "CREATE TRIGGER disbursement_refuses_delete AFTER DELETE ON disbursement REFERENCING OLD TABLE AS gone "
        "FOR EACH STATEMENT EXECUTE FUNCTION refuse_delete_of_released()"
    )


def downgrade() -> None:
    raise NotImplementedError("the first schema is not taken back: restore a backup instead")
