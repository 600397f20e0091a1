"""What PostgreSQL's roles may do in the schema. `db upgrade` gives it, so that nobody has to after an upgrade.

Only where deploy/postgresql/roles.sql has given the schema to `despensa_owner`, and to a login that is a member of it:
a database without roles stays as it is. deploy/SECURITY.md shows the same, table by table; tests hold both to what the
server grants.
"""

import re
from collections.abc import Iterator
from dataclasses import asdict, dataclass

import orjson
from sqlalchemy import Connection

from models.errors import Misconfigured
from models.storage import Query

OWNER = "despensa_owner"
#: Beside the owner, in the order in which they are shown.
ROLES = ("despensa_enrol", "despensa_plan", "despensa_approve", "despensa_work", "despensa_read")
#: Tables that say something of a family, or of a group of few. Every role reads the others.
FAMILIES = frozenset({
    "household", "enrolment", "enrolment_conflict", "imported_file", "run_group", "batch_group", "fund_group",
    "reduced_group",
})  # fmt: skip

#: What an approval is: of its columns one role alone writes all.
_APPROVAL = "approval, approved_by, approved_at, approved_digest, approved_minor, approved_rate_millionths"
_FIRST_APPROVAL = "first_approved_by, first_approved_at"
_BREAKER = "update(failures, breaker_until)"
#: Of what somebody has to lock, PostgreSQL asks for a column that he may change: of these tables the one that decides
#: nothing.
_LOCKED_PROGRAMME = "update(name)"
_LOCKED_RUN = "update(blocked)"
#: A statement of an issuer, its lines, and where they differ from our books.
_STATEMENT = {"plan": "insert, update"}

#: By table and role, beside reading: what it may do, with the columns where that is not the whole row. A table that is
#: not here is `despensa_work`'s to read, and nobody's to write.
RIGHTS: dict[str, dict[str, str]] = {
    "alembic_version": {},
    "answer": {"work": "insert"},
    "batch": {
        "plan": "insert, update(fund_id, state, attempts, token, lease_until, stamped_at, next_attempt_at, "
        "given_back_at, ended_at), delete",
        "approve": "insert, update(fund_id, state, attempts, stamped_at, next_attempt_at, given_back_at, credited, "
        "credited_minor, credited_at)",
        "work": "insert, update(state, attempts, token, lease_until, stamped_at, next_attempt_at, given_back_at, "
        "last_error, credited, credited_minor, credited_at)",
    },
    # With a batch's lines it says in which group a family may be: for who plans and releases alone.
    "batch_group": {"plan": "select, insert", "approve": "select"},
    "cases": {
        "plan": "insert, update(state, next_attempt_at, closed_at, outcome, closed_by)",
        "approve": "update(state, closed_at, outcome, closed_by, evidence)",
        "work": "insert, update(next_attempt_at)",
    },
    # Which code may work here is the owner's to say.
    "code_floor": {},
    # A scheduler holds a database that was restored. Who takes the mark away owns it.
    "custody": {"plan": "update(held)"},
    "difference": _STATEMENT,
    # A plan that was not released may be dropped; a trigger keeps the lines of one that was.
    "disbursement": {"plan": "insert, delete"},
    "enrolment": {
        "enrol": "select, insert, update(first_cycle, last_cycle, status, reason_code, person_hash, "
        "person_key_version, person_seat)",
        "plan": "select",
    },
    # Two operators decide, who have to see both families.
    "enrolment_conflict": {"enrol": "select, insert, update", "plan": "select"},
    "entry": {},
    "exchange_rate": {"approve": "insert, update"},
    "expected_slot": {"plan": "insert"},
    "fund": {
        "plan": "update(balance_minor)",
        "approve": "insert, update(donor, position, balance_minor, cycle_max_minor, rules_after_id)",
        # What a line that was stopped had reserved.
        "work": "update(balance_minor)",
    },
    "fund_group": {"enrol": "select", "plan": "select", "approve": "select, insert, delete"},
    "fund_location": {"approve": "insert, delete"},
    "household": {
        "enrol": "select, insert, update(location_code, members, group_code)",
        # A scheduler reduces who was kept for the stated time: a trigger refuses all else.
        "plan": "select, update(registration_id, location_code, group_code)",
        # A reference for an outside issuer is derived from it.
        "work": "select(id, registration_id)",
    },
    "imported_file": {"enrol": "select, insert", "plan": "select", "approve": "select"},
    "intent": {"work": "insert"},
    "issuer": {
        # A programme may go back to our own ledger before its first run.
        "approve": "insert, update(url, calls_max, key_window_hours), delete",
        "work": _BREAKER,
    },
    # Facts are corrected by new ones: of this and all that is like it nobody has update or delete.
    "journal": {"enrol": "insert", "plan": "insert", "approve": "insert", "work": "insert"},
    "journal_head": {"plan": "update(seq, hash, emitted_seq)"},
    "location": {"approve": "insert, update(name, state, time_zone)"},
    "lost_run": {"approve": "update(outcome, evidence, decided_by, decided_at)"},
    "notice": {
        "plan": "insert, update(state, attempts, stamped_at, next_attempt_at, tried_at)",
        "approve": "insert",
        "work": "update(state, attempts, token, lease_until, stamped_at, next_attempt_at, tried_at, delivered_at, "
        "last_error)",
    },
    # What the policy stops at, of each run: a view.
    "policy_rail": {},
    # Rules, money, places and stores are the approver's: the policy's limits bind whoever enrols and whoever plans.
    "programme": {"enrol": _LOCKED_PROGRAMME, "plan": _LOCKED_PROGRAMME, "approve": "insert, update"},
    "programme_location": {"approve": "insert, update(first_cycle)"},
    "reduced_group": {
        "plan": "select, insert, update(uncredited, uncredited_minor, completed)",
        "approve": "select",
    },
    "run": {
        "plan": "insert(programme_id, location_code, cycle, part, state, late, opens_at, lines, planned_minor, digest, "
        "currency, value_currency, rate_millionths, rate_source, rate_date, round_to_minor, validity_days, "
        "batch_lines_max, planned_by, planned_at, blocked, reconciled_close_at, differences, salt), "
        # The approval is the policy's, by a scheduler: a person's is refused below.
        f"update(state, lines, planned_minor, digest, {_APPROVAL}, released_by, released_at, completed_at, blocked, "
        "reconciled_close_at, differences), delete",
        # It inserts with `plan` alone: a run that was lost, and is entered again.
        "approve": f"insert(id, {_FIRST_APPROVAL}, {_APPROVAL}, released_by, released_at, completed_at), "
        f"update(state, {_FIRST_APPROVAL}, {_APPROVAL}, released_by, released_at, completed_at, blocked)",
        "work": _LOCKED_RUN,
    },
    "run_amount": {"plan": "insert, delete"},
    "run_group": {"plan": "select, insert, delete", "approve": "select"},
    "seal": {"plan": "insert"},
    "sighting": {"work": "insert, update(seen_at, revision)"},
    "statement": _STATEMENT,
    "statement_credit": _STATEMENT,
    "store": {
        "plan": _BREAKER,
        "approve": "insert, update(name, location_code, url, active, secret_version, previous_secret_until)",
        "work": _BREAKER,
    },
    "transfer": {"plan": "insert", "approve": "insert", "work": "insert"},
    "voucher": {"approve": "insert", "work": "insert"},
}

#: Functions that act as the owner, and who may call them. All others act as whoever calls them.
DEFINERS: dict[str, tuple[str, ...]] = {
    "refresh_statistics": ("despensa_enrol", "despensa_plan"),
    "forget_person": (),  # a trigger's: nobody calls it
}

_RIGHT = re.compile(r"(?P<verb>\w+)(?:\((?P<columns>[^)]*)\))?")

FIND_MISSING_ROLES = Query("""
-- find_missing_roles: of a list, those that the server does not know; bounded by the list
SELECT name FROM jsonb_array_elements_text(CAST(:roles AS JSONB)) AS r (name) WHERE to_regrole(name) IS NULL
""")

FIND_OWNER = Query("""
-- find_owner: no row where the schema is not despensa_owner's; else who is logged in, and whether he may act as it
SELECT session_user AS login, pg_has_role(session_user, nspowner, 'MEMBER') AS member
FROM pg_namespace WHERE nspname = 'public' AND nspowner = to_regrole('despensa_owner')
""")

BECOME_OWNER = Query("""
-- become_owner: this session acts as despensa_owner from now on
SELECT set_config('role', 'despensa_owner', FALSE)
""")

TELL_RIGHTS = Query("""
-- tell_rights: what is to be given, for this transaction: a block of statements takes no parameter
SELECT set_config('despensa.rights', :rights, TRUE), set_config('despensa.definers', :definers, TRUE)
""")

GIVE_LATER_ONES = Query("""
-- give_later_ones: what the next migration makes can be read by who works; nobody may write there, or look on
DO $$
BEGIN
    ALTER DEFAULT PRIVILEGES IN SCHEMA public REVOKE ALL ON TABLES FROM despensa_work;
    ALTER DEFAULT PRIVILEGES IN SCHEMA public REVOKE ALL ON SEQUENCES FROM despensa_work;
    ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT SELECT ON TABLES TO despensa_work;
    ALTER DEFAULT PRIVILEGES REVOKE EXECUTE ON FUNCTIONS FROM PUBLIC;
    ALTER DEFAULT PRIVILEGES IN SCHEMA public
        GRANT EXECUTE ON FUNCTIONS TO despensa_enrol, despensa_plan, despensa_approve, despensa_work;
END $$
""")

#: In one transaction, so that a running month sees no gap. A column that a schema does not have yet, or not any more,
#: is passed over.
GIVE_TABLES = Query("""
-- give_tables: everybody's rights are taken and given anew; of a table that is not listed who works may read
DO $$
DECLARE
    each RECORD;
    may RECORD;
BEGIN
    FOR each IN SELECT c.oid, c.relname, format('%I.%I', 'public', c.relname) AS name FROM pg_class c
                WHERE c.relnamespace = 'public'::regnamespace AND c.relowner = 'despensa_owner'::regrole
                  AND c.relkind IN ('r', 'p', 'v')
                ORDER BY c.oid LOOP
        EXECUTE format('REVOKE ALL ON %s FROM PUBLIC, despensa_enrol, despensa_plan, despensa_approve, despensa_work, '
                       'despensa_read', each.name);
        FOR may IN SELECT g.role, g.verb, g.columns IS NOT NULL AS by_column,
                          (SELECT string_agg(format('%I', a.attname), ', ' ORDER BY a.attnum) FROM pg_attribute a
                           WHERE a.attrelid = each.oid AND a.attnum > 0 AND NOT a.attisdropped
                             AND a.attname IN (SELECT jsonb_array_elements_text(g.columns))) AS columns
                   FROM jsonb_to_recordset(current_setting('despensa.rights')::jsonb)
                        AS g ("table" TEXT, role TEXT, verb TEXT, columns JSONB)
                   WHERE g."table" = each.relname LOOP
            IF NOT may.by_column THEN
                EXECUTE format('GRANT %s ON %s TO %I', may.verb, each.name, may.role);
            ELSIF may.columns IS NOT NULL THEN
                EXECUTE format('GRANT %s (%s) ON %s TO %I', may.verb, may.columns, each.name, may.role);
            END IF;
        END LOOP;
        IF NOT FOUND THEN
            EXECUTE format('GRANT SELECT ON %s TO despensa_work', each.name);
        END IF;
    END LOOP;
END $$
""")

GIVE_SEQUENCES = Query("""
-- give_sequences: to whoever inserts into the table that a sequence counts for, and to nobody else
DO $$
DECLARE
    each RECORD;
    may RECORD;
BEGIN
    FOR each IN SELECT c.oid, c.oid::regclass AS name, t.relname AS counted
                FROM pg_class c LEFT JOIN pg_depend d ON d.classid = 'pg_class'::regclass AND d.objid = c.oid
                                                     AND d.refclassid = 'pg_class'::regclass
                                                     AND d.deptype IN ('a', 'i')
                LEFT JOIN pg_class t ON t.oid = d.refobjid
                WHERE c.relnamespace = 'public'::regnamespace AND c.relowner = 'despensa_owner'::regrole
                  AND c.relkind = 'S' ORDER BY c.oid LOOP
        EXECUTE format('REVOKE ALL ON SEQUENCE %s FROM PUBLIC, despensa_enrol, despensa_plan, despensa_approve, '
                       'despensa_work, despensa_read', each.name);
        FOR may IN SELECT g.role FROM jsonb_to_recordset(current_setting('despensa.rights')::jsonb)
                                      AS g ("table" TEXT, role TEXT, verb TEXT)
                   WHERE g."table" = each.counted AND g.verb = 'INSERT' LOOP
            EXECUTE format('GRANT USAGE ON SEQUENCE %s TO %I', each.name, may.role);
        END LOOP;
    END LOOP;
END $$
""")

GIVE_FUNCTIONS = Query("""
-- give_functions: to whoever writes; those that act as the owner, to whom they are listed for
DO $$
DECLARE
    each RECORD;
    may RECORD;
BEGIN
    FOR each IN SELECT p.oid::regprocedure AS name, p.proname, p.prosecdef FROM pg_proc p
                WHERE p.pronamespace = 'public'::regnamespace AND p.proowner = 'despensa_owner'::regrole
                ORDER BY p.oid LOOP
        EXECUTE format('REVOKE ALL ON FUNCTION %s FROM PUBLIC, despensa_enrol, despensa_plan, despensa_approve, '
                       'despensa_work, despensa_read', each.name);
        IF NOT each.prosecdef THEN
            EXECUTE format('GRANT EXECUTE ON FUNCTION %s TO despensa_enrol, despensa_plan, despensa_approve, '
                           'despensa_work', each.name);
        END IF;
        FOR may IN SELECT jsonb_array_elements_text(current_setting('despensa.definers')::jsonb -> each.proname) AS role
                   WHERE each.prosecdef LOOP
            EXECUTE format('GRANT EXECUTE ON FUNCTION %s TO %I', each.name, may.role);
        END LOOP;
    END LOOP;
END $$
""")

MAKE_GUARD = Query("""
-- make_guard: refuses whoever is logged in and is no member of despensa_approve
CREATE OR REPLACE FUNCTION require_approver() RETURNS trigger LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
BEGIN
    IF NOT pg_has_role(session_user, 'despensa_approve', 'MEMBER')
       AND NOT pg_has_role(session_user, 'despensa_owner', 'MEMBER') THEN
        RAISE EXCEPTION 'only a member of despensa_approve may do this' USING ERRCODE = 'insufficient_privilege';
    END IF;
    RETURN NEW;
END $$
""")

#: What no grant can say, since it is of a value. A scheduler writes the policy's approval into the same columns, and it
#: must not approve as a person, since it plans. Money comes in by who approves, or else a stolen worker could give a
#: fund what no donor gave, with books that agree.
PUT_GUARDS = Query("""
-- put_guards: a person's approval, and a donor's money, are despensa_approve's; only where they are not there, since
-- this waits for whoever writes
DO $$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_trigger WHERE tgname = 'run_approved_by_approvers'
                                            AND tgrelid = 'public.run'::regclass) THEN
        CREATE TRIGGER run_approved_by_approvers BEFORE UPDATE ON public.run FOR EACH ROW
        WHEN (NEW.approval = 'person' AND (NEW.approval, NEW.approved_by, NEW.approved_at, NEW.approved_digest)
              IS DISTINCT FROM (OLD.approval, OLD.approved_by, OLD.approved_at, OLD.approved_digest))
        EXECUTE FUNCTION require_approver();
    END IF;
    IF NOT EXISTS (SELECT FROM pg_trigger WHERE tgname = 'transfer_deposited_by_approvers'
                                            AND tgrelid = 'public.transfer'::regclass) THEN
        CREATE TRIGGER transfer_deposited_by_approvers BEFORE INSERT ON public.transfer FOR EACH ROW
        WHEN (NEW.kind = 'deposit') EXECUTE FUNCTION require_approver();
    END IF;
END $$
""")


@dataclass(frozen=True, slots=True)
class Right:
    """What a role may do with a table, or with some of its columns."""

    table: str
    role: str
    verb: str  #: as GRANT has it
    columns: tuple[str, ...] | None = None  #: None for the whole row


def list_rights() -> list[Right]:
    """Everything that is given, by table and role."""
    return [right for table in RIGHTS for role in ROLES for right in _rights_of(table, role)]


def become_owner(connection: Connection) -> bool:
    """For this session: what it makes is the owner's. False where the schema is not despensa_owner's.

    Raises Misconfigured, with nothing changed, for a login that may not act as the owner, and where a role is missing.
    """
    found = connection.execute(FIND_OWNER.on("postgresql")).one_or_none()
    if found is None:
        return False
    roles = orjson.dumps(ROLES).decode()
    missing = connection.execute(FIND_MISSING_ROLES.on("postgresql"), {"roles": roles}).scalars().all()
    if missing:
        raise Misconfigured(
            f"this server has no role {', '.join(missing)}",
            hint="a superuser runs deploy/postgresql/roles.sql again, in this database; then: despensa db upgrade",
        )
    if not found.member:
        raise Misconfigured(
            f"the schema is {OWNER}'s, and {found.login} is no member of it",
            hint="repeat it with a login that is: deploy/SECURITY.md",
        )
    connection.execute(BECOME_OWNER.on("postgresql"))
    return True


def give(connection: Connection) -> None:
    """By the owner. Beside the guards, which are put once, it needs no lock that anybody at work would wait for;
    repeating it changes nothing.
    """
    rights = orjson.dumps([asdict(right) for right in list_rights()]).decode()
    definers = orjson.dumps(DEFINERS).decode()
    connection.execute(GIVE_LATER_ONES.on("postgresql"))
    connection.execute(MAKE_GUARD.on("postgresql"))
    connection.execute(PUT_GUARDS.on("postgresql"))
    connection.execute(TELL_RIGHTS.on("postgresql"), {"rights": rights, "definers": definers})
    for query in (GIVE_TABLES, GIVE_SEQUENCES, GIVE_FUNCTIONS):
        connection.execute(query.on("postgresql"))


def _rights_of(table: str, role: str) -> Iterator[Right]:
    if table not in FAMILIES:
        yield Right(table, role, "SELECT")
    for found in _RIGHT.finditer(RIGHTS[table].get(role.removeprefix("despensa_"), "")):
        columns = found["columns"]
        yield Right(table, role, found["verb"].upper(), (columns and tuple(columns.split(", "))) or None)
