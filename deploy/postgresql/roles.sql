-- The roles of despensa on PostgreSQL 15 to 18, and a database that is theirs. Changes nothing where it was run before.
--
-- A superuser runs it in despensa's own database, once, before the first `despensa db upgrade`:
--
--     psql -v ON_ERROR_STOP=1 -d despensa -f deploy/postgresql/roles.sql
--
-- What the roles may do with each table, `db upgrade` gives them, at its end and every time (models/rights.py).
--
-- despensa_owner    owns the schema: `db upgrade`, `db restored`. Nobody's daily login.
-- despensa_enrol    families, and what they are enrolled in.
-- despensa_plan     who gets how much: runs, planned, dropped, watched over. A scheduler is a member, and of
--                   despensa_work.
-- despensa_approve  approves what others planned, and sets the rules and the money that plans and policy are bound by.
-- despensa_work     a worker: settles lines of released runs, and nothing else.
-- despensa_read     looks at runs, cases, notices and books, and not at families.
--
-- None of them can log in: logins.sql makes logins that are members.
--
-- On a managed server that has no superuser: the database's owner, who may make roles (CREATEROLE). He stays a member of
-- despensa_owner, and may be told of settings that he has to make where the provider lets him.

DO $$
DECLARE
    role TEXT;
BEGIN
    FOREACH role IN ARRAY ARRAY['despensa_owner', 'despensa_enrol', 'despensa_plan', 'despensa_approve', 'despensa_work',
                                'despensa_read'] LOOP
        IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = role) THEN
            EXECUTE format('CREATE ROLE %I NOLOGIN', role);
        END IF;
        -- Only what differs: whoever is no superuser may not even repeat what is so.
        IF EXISTS (SELECT FROM pg_roles WHERE rolname = role
                   AND (rolcanlogin OR rolsuper OR rolcreatedb OR rolcreaterole OR rolreplication OR rolbypassrls)) THEN
            EXECUTE format('ALTER ROLE %I NOLOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS', role);
        END IF;
    END LOOP;
    -- A managed server's administrator: only a member may give the schema away.
    IF NOT pg_has_role(current_user, 'despensa_owner', 'USAGE') THEN
        EXECUTE 'GRANT despensa_owner TO CURRENT_USER';
    END IF;
END $$;

-- Nobody comes in who is no member. An import of families, or of an issuer's statement, stages
-- it in a temporary table.
DO $$
BEGIN
    EXECUTE format('REVOKE ALL ON DATABASE %I FROM PUBLIC', current_database());
    EXECUTE format('GRANT CONNECT ON DATABASE %I TO despensa_owner, despensa_enrol, despensa_plan, despensa_approve, '
                   'despensa_work, despensa_read', current_database());
    EXECUTE format('GRANT TEMPORARY ON DATABASE %I TO despensa_owner, despensa_enrol, '
                   'despensa_plan', current_database());
    EXECUTE format('ALTER DATABASE %I SET search_path = public, pg_temp', current_database());
END $$;

-- What the server logs of an error names no family: not the row that a constraint refused, no line of a COPY, no parameter
-- of a statement.
DO $$
DECLARE
    setting TEXT;
BEGIN
    FOREACH setting IN ARRAY ARRAY['log_error_verbosity = terse', 'log_parameter_max_length = 0',
                                   'log_parameter_max_length_on_error = 0'] LOOP
        BEGIN
            EXECUTE format('ALTER DATABASE %I SET %s', current_database(), setting);
        EXCEPTION WHEN insufficient_privilege THEN
            RAISE WARNING 'the server''s log may name families: set % yourself', setting;
        END;
    END LOOP;
END $$;

-- Only the owner makes anything in the schema, so that nobody can put a table before ours.
ALTER SCHEMA public OWNER TO despensa_owner;
REVOKE ALL ON SCHEMA public FROM PUBLIC, despensa_enrol, despensa_plan, despensa_approve, despensa_work, despensa_read;
GRANT USAGE ON SCHEMA public TO despensa_enrol, despensa_plan, despensa_approve, despensa_work, despensa_read;

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
