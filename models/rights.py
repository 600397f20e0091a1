"""What PostgreSQL's roles may do in the schema. `db upgrade` gives it, so that nobody has to after an upgrade.

Only where deploy/postgresql/roles.sql has given the schema to `despensa_owner`, and to a login that is a member of it:
a database without roles stays as it is. deploy/SECURITY.md shows the same, table by table.
"""

from sqlalchemy import Connection

from models.storage import Query

BECOME_OWNER = Query("""
-- become_owner: where the schema is despensa_owner's and this login may act as it, it does from now on; else nothing
SELECT set_config('role', 'despensa_owner', FALSE)
FROM pg_namespace n
WHERE n.nspname = 'public' AND n.nspowner = to_regrole('despensa_owner')
  AND pg_has_role(session_user, n.nspowner, 'MEMBER')
""")

GIVE_LATER_ONES = Query("""
-- give_later_ones: what the next migration makes is usable at once by who works; nobody may delete there, or look on
DO $$
BEGIN
    ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT SELECT, INSERT, UPDATE ON TABLES TO despensa_work;
    ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT USAGE ON SEQUENCES TO despensa_work;
    ALTER DEFAULT PRIVILEGES REVOKE EXECUTE ON FUNCTIONS FROM PUBLIC;
    ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT EXECUTE ON FUNCTIONS TO despensa_work;
END $$
""")

#: In one transaction, so that a running month sees no gap.
GIVE_RIGHTS = Query("""
-- give_rights: everybody's rights are taken and given anew; a table that is not listed has what a later one gets
DO $$
DECLARE
    each RECORD;
BEGIN
    FOR each IN SELECT format('%I.%I', 'public', c.relname) AS name,
                       CASE WHEN c.relkind = 'v' THEN 'SELECT'
                            ELSE COALESCE(work.may, 'SELECT, INSERT, UPDATE') END AS work_may,
                       -- Families; and groups, of which a small one says who is in it.
                       c.relname NOT IN ('household', 'enrolment', 'enrolment_conflict', 'run_group') AS read_may
                FROM pg_class c
                LEFT JOIN (VALUES
                    -- Facts are corrected by new ones.
                    ('voucher', 'SELECT, INSERT'),
                    ('transfer', 'SELECT, INSERT'),
                    ('journal', 'SELECT, INSERT'),
                    ('seal', 'SELECT, INSERT'),
                    ('intent', 'SELECT, INSERT'),
                    ('answer', 'SELECT, INSERT'),
                    ('expected_slot', 'SELECT, INSERT'),
                    -- A plan that was not released may be dropped; a trigger keeps the lines of one that was.
                    ('disbursement', 'SELECT, INSERT, DELETE'),
                    ('run_group', 'SELECT, INSERT, DELETE'),
                    ('run_amount', 'SELECT, INSERT, DELETE'),
                    ('batch', 'SELECT, INSERT, UPDATE, DELETE'),
                    ('run', 'SELECT, INSERT, UPDATE, DELETE'),
                    -- A programme may go back to our own ledger before its first run.
                    ('issuer', 'SELECT, INSERT, UPDATE, DELETE'),
                    -- One row each, which a migration made.
                    ('journal_head', 'SELECT, UPDATE'),
                    ('custody', 'SELECT, UPDATE'),
                    -- Which code may work here is the owner's to say.
                    ('code_floor', 'SELECT'),
                    ('alembic_version', 'SELECT')
                ) AS work (name, may) ON work.name = c.relname
                WHERE c.relnamespace = 'public'::regnamespace AND c.relowner = 'despensa_owner'::regrole
                  AND c.relkind IN ('r', 'p', 'v')
                ORDER BY c.oid LOOP
        EXECUTE format('REVOKE ALL ON %s FROM PUBLIC, despensa_work, despensa_read', each.name);
        EXECUTE format('GRANT %s ON %s TO despensa_work', each.work_may, each.name);
        IF each.read_may THEN
            EXECUTE format('GRANT SELECT ON %s TO despensa_read', each.name);
        END IF;
    END LOOP;
    FOR each IN SELECT c.oid::regclass AS name FROM pg_class c
                WHERE c.relnamespace = 'public'::regnamespace AND c.relowner = 'despensa_owner'::regrole
                  AND c.relkind = 'S' ORDER BY c.oid LOOP
        EXECUTE format('REVOKE ALL ON SEQUENCE %s FROM PUBLIC, despensa_work, despensa_read', each.name);
        EXECUTE format('GRANT USAGE ON SEQUENCE %s TO despensa_work', each.name);
    END LOOP;
    FOR each IN SELECT p.oid::regprocedure AS name FROM pg_proc p
                WHERE p.pronamespace = 'public'::regnamespace AND p.proowner = 'despensa_owner'::regrole
                ORDER BY p.oid LOOP
        EXECUTE format('REVOKE ALL ON FUNCTION %s FROM PUBLIC, despensa_work, despensa_read', each.name);
        EXECUTE format('GRANT EXECUTE ON FUNCTION %s TO despensa_work', each.name);
    END LOOP;
END $$
""")


def become_owner(connection: Connection) -> bool:
    """For this session, whoever is logged in: what it makes is the owner's. False where there are no roles for it."""
    return connection.execute(BECOME_OWNER.on("postgresql")).first() is not None


def give(connection: Connection) -> None:
    """By the owner. Needs no lock that anybody at work would wait for; repeating it changes nothing."""
    connection.execute(GIVE_LATER_ONES.on("postgresql"))
    connection.execute(GIVE_RIGHTS.on("postgresql"))
