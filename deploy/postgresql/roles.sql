-- The roles of despensa on PostgreSQL 15 to 18, and what each may do. Changes nothing where it was run before.
--
-- A superuser runs it in despensa's own database, before the first `despensa db upgrade` and after every one:
--
--     psql -v ON_ERROR_STOP=1 -d despensa -f deploy/postgresql/roles.sql
--
-- despensa_owner  owns the schema: `db upgrade`, `db restored`. Nobody's daily login.
-- despensa_work   services and operators: what a month and `db backup` need, and no more.
-- despensa_read   looks at runs, cases, notices and books, and not at families.
--
-- None of them can log in: logins.sql makes logins that are members.

DO $$
DECLARE
    role TEXT;
BEGIN
    FOREACH role IN ARRAY ARRAY['despensa_owner', 'despensa_work', 'despensa_read'] LOOP
        IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = role) THEN
            EXECUTE format('CREATE ROLE %I NOLOGIN', role);
        END IF;
        EXECUTE format('ALTER ROLE %I NOLOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS', role);
    END LOOP;
END $$;

-- Nobody comes in who is no member. An import stages its families in a temporary table.
DO $$
BEGIN
    EXECUTE format('REVOKE ALL ON DATABASE %I FROM PUBLIC', current_database());
    EXECUTE format('GRANT CONNECT ON DATABASE %I TO despensa_owner, despensa_work, despensa_read', current_database());
    EXECUTE format('GRANT TEMPORARY ON DATABASE %I TO despensa_work', current_database());
    EXECUTE format('ALTER DATABASE %I SET search_path = public, pg_temp', current_database());
END $$;

-- Only the owner makes anything in the schema, so that nobody can put a table before ours.
ALTER SCHEMA public OWNER TO despensa_owner;
REVOKE ALL ON SCHEMA public FROM PUBLIC, despensa_work, despensa_read;
GRANT USAGE ON SCHEMA public TO despensa_work, despensa_read;

-- What an installation without roles made goes to the owner; a table's own sequences go with it.
DO $$
DECLARE
    each RECORD;
BEGIN
    FOR each IN SELECT c.oid::regclass AS name, CASE c.relkind WHEN 'v' THEN 'VIEW' ELSE 'TABLE' END AS kind
                FROM pg_class c
                WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p', 'v')
                  AND c.relowner <> 'despensa_owner'::regrole
                  AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid
                                                            AND d.deptype = 'e') LOOP
        EXECUTE format('ALTER %s %s OWNER TO despensa_owner', each.kind, each.name);
    END LOOP;
    FOR each IN SELECT p.oid::regprocedure AS name
                FROM pg_proc p
                WHERE p.pronamespace = 'public'::regnamespace AND p.proowner <> 'despensa_owner'::regrole
                  AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_proc'::regclass AND d.objid = p.oid
                                                            AND d.deptype = 'e') LOOP
        EXECUTE format('ALTER FUNCTION %s OWNER TO despensa_owner', each.name);
    END LOOP;
END $$;

-- What a later migration makes is usable at once. Nothing of it can be deleted until it stands in the list below.
ALTER DEFAULT PRIVILEGES FOR ROLE despensa_owner IN SCHEMA public
    GRANT SELECT, INSERT, UPDATE ON TABLES TO despensa_work;
ALTER DEFAULT PRIVILEGES FOR ROLE despensa_owner IN SCHEMA public GRANT SELECT ON TABLES TO despensa_read;
ALTER DEFAULT PRIVILEGES FOR ROLE despensa_owner IN SCHEMA public GRANT SELECT, USAGE ON SEQUENCES TO despensa_work;
ALTER DEFAULT PRIVILEGES FOR ROLE despensa_owner REVOKE EXECUTE ON FUNCTIONS FROM PUBLIC;
ALTER DEFAULT PRIVILEGES FOR ROLE despensa_owner IN SCHEMA public GRANT EXECUTE ON FUNCTIONS TO despensa_work;

-- What is there: everybody's rights are taken and given anew, in one transaction, so that a running month sees no gap.
-- A table that is not listed has what a later one gets.
DO $$
DECLARE
    each RECORD;
BEGIN
    FOR each IN SELECT c.oid::regclass AS name, c.relkind,
                       CASE WHEN c.relkind = 'v' THEN 'SELECT'
                            ELSE COALESCE(work.may, 'SELECT, INSERT, UPDATE') END AS work_may,
                       c.relname NOT IN ('household', 'enrolment') AS read_may
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
                  AND c.relkind IN ('r', 'p', 'v') LOOP
        EXECUTE format('REVOKE ALL ON %s FROM PUBLIC, despensa_work, despensa_read', each.name);
        EXECUTE format('GRANT %s ON %s TO despensa_work', each.work_may, each.name);
        IF each.read_may THEN
            EXECUTE format('GRANT SELECT ON %s TO despensa_read', each.name);
        END IF;
    END LOOP;
    EXECUTE 'REVOKE ALL ON ALL SEQUENCES IN SCHEMA public FROM PUBLIC, despensa_work, despensa_read';
    EXECUTE 'GRANT SELECT, USAGE ON ALL SEQUENCES IN SCHEMA public TO despensa_work';
    EXECUTE 'REVOKE ALL ON ALL FUNCTIONS IN SCHEMA public FROM PUBLIC, despensa_work, despensa_read';
    EXECUTE 'GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA public TO despensa_work';
END $$;
