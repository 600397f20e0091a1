"""What every migration that makes a function ends with, so that a session's temporary tables hide nothing from it."""

#: Of every function of the schema, on PostgreSQL: the schema as it is now, and temporary tables behind it; as in 0006.
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
