"""What services and operators need who own no table, and what they must not get around.

Why: only a table's owner may renew its statistics, and whoever plans must (Tx.refresh_statistics): a function of the
owner does it for the three tables that grow within minutes. And whoever may make a temporary table, as an import must,
could hide a table behind one from the functions that check vouchers, lines and families: they look for temporary tables
last from now on.
"""

from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None
PHASE = "expand"

REFRESH_STATISTICS = """
CREATE FUNCTION refresh_statistics(tables TEXT[]) RETURNS void LANGUAGE plpgsql SECURITY DEFINER AS $$
DECLARE
    name TEXT;
BEGIN
    FOREACH name IN ARRAY tables LOOP
        IF name NOT IN ('household', 'enrolment', 'disbursement') THEN
            RAISE EXCEPTION 'the statistics of % are the server''s own affair', name
                  USING ERRCODE = 'insufficient_privilege';
        END IF;
        EXECUTE format('ANALYZE (SKIP_LOCKED) %I', name);
    END LOOP;
END $$
"""

#: Of every function of the schema: the schema as it is now, and a session's temporary tables behind it.
LOOK_AT_TEMPORARY_TABLES_LAST = """
DO $do$
DECLARE
    ours REGPROCEDURE;
BEGIN
    FOR ours IN SELECT p.oid::regprocedure FROM pg_proc p
                WHERE p.pronamespace = current_schema()::regnamespace
                  AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_proc'::regclass AND d.objid = p.oid
                                                            AND d.deptype = 'e') LOOP
        EXECUTE format('ALTER FUNCTION %s SET search_path = %I, pg_temp', ours, current_schema());
    END LOOP;
END $do$
"""


def upgrade() -> None:
    if op.get_bind().dialect.name == "sqlite":
        return
    op.execute(REFRESH_STATISTICS)
    op.execute(LOOK_AT_TEMPORARY_TABLES_LAST)


def downgrade() -> None:
    raise NotImplementedError("what temporary tables hid is not hidden again: restore a backup instead")
