SET check_function_bodies = false;
CREATE FUNCTION public.refuse_change() RETURNS trigger
    LANGUAGE plpgsql
    AS $$ BEGIN RAISE EXCEPTION '% rows are never changed', TG_TABLE_NAME USING ERRCODE = 'restrict_violation'; END $$;
CREATE FUNCTION public.refuse_delete() RETURNS trigger
    LANGUAGE plpgsql
    AS $$
BEGIN
    RAISE EXCEPTION '% rows are never deleted', TG_TABLE_NAME USING ERRCODE = 'restrict_violation';
END $$;
CREATE FUNCTION public.refuse_delete_of_released() RETURNS trigger
    LANGUAGE plpgsql
    AS $$
BEGIN
    PERFORM 1 FROM run WHERE id IN (SELECT id / 10000000 FROM gone) ORDER BY id FOR NO KEY UPDATE;
    IF EXISTS (SELECT 1 FROM run WHERE id IN (SELECT id / 10000000 FROM gone)
                                   AND state NOT IN ('planned', 'approved')) THEN
        RAISE EXCEPTION 'lines of a released run are never deleted' USING ERRCODE = 'restrict_violation';
    END IF;
    RETURN NULL;
END $$;
CREATE FUNCTION public.require_households() RETURNS trigger
    LANGUAGE plpgsql
    SET enable_nestloop TO 'off'
    AS $$
DECLARE
    lines BIGINT; low BIGINT; high BIGINT; households BIGINT;
BEGIN
    SELECT COUNT(*), MIN(household_id), MAX(household_id) INTO lines, low, high FROM added;
    SELECT COUNT(*) INTO households FROM added a JOIN household h ON h.id = a.household_id
    WHERE h.id BETWEEN low AND high;
    IF households <> lines THEN
        RAISE EXCEPTION 'a % without its household', TG_TABLE_NAME
              USING ERRCODE = 'foreign_key_violation', CONSTRAINT = 'fk_' || TG_TABLE_NAME || '_household_id';
    END IF;
    RETURN NULL;
END $$;
CREATE FUNCTION public.require_lines() RETURNS trigger
    LANGUAGE plpgsql
    SET enable_nestloop TO 'off'
    AS $$
DECLARE
    vouchers BIGINT; low BIGINT; high BIGINT; lines BIGINT;
BEGIN
    SELECT COUNT(*), MIN(id), MAX(id) INTO vouchers, low, high FROM added;
    IF EXISTS (SELECT 1 FROM run r
               WHERE r.id BETWEEN low / 10000000 AND high / 10000000
                 AND r.state IN ('planned', 'approved')
                 AND EXISTS (SELECT 1 FROM added a WHERE a.id / 10000000 = r.id)) THEN
        RAISE EXCEPTION 'a voucher of a run that is not released' USING ERRCODE = 'restrict_violation';
    END IF;
    SELECT COUNT(*) INTO lines FROM added a JOIN disbursement d ON d.id = a.id WHERE d.id BETWEEN low AND high;
    IF lines <> vouchers THEN
        RAISE EXCEPTION 'a voucher without its line'
              USING ERRCODE = 'foreign_key_violation', CONSTRAINT = 'fk_voucher_id';
    END IF;
    RETURN NULL;
END $$;
CREATE FUNCTION public.require_locations() RETURNS trigger
    LANGUAGE plpgsql
    SET enable_nestloop TO 'off'
    AS $$
BEGIN
    IF EXISTS (SELECT 1 FROM added a WHERE NOT EXISTS (SELECT 1 FROM location l WHERE l.code = a.location_code)) THEN
        RAISE EXCEPTION 'a household without its location'
              USING ERRCODE = 'foreign_key_violation', CONSTRAINT = 'fk_household_location_code';
    END IF;
    RETURN NULL;
END $$;
CREATE FUNCTION public.require_programmes() RETURNS trigger
    LANGUAGE plpgsql
    SET enable_nestloop TO 'off'
    AS $$
BEGIN
    IF EXISTS (SELECT 1 FROM added a WHERE NOT EXISTS (SELECT 1 FROM programme p WHERE p.id = a.programme_id)) THEN
        RAISE EXCEPTION 'an enrolment without its programme'
              USING ERRCODE = 'foreign_key_violation', CONSTRAINT = 'fk_enrolment_programme_id';
    END IF;
    RETURN NULL;
END $$;
CREATE TABLE public.alembic_version (
    version_num character varying(32) NOT NULL
);
CREATE TABLE public.answer (
    intent_id bigint NOT NULL,
    outcome text NOT NULL,
    detail text NOT NULL,
    credit_id text NOT NULL,
    answered_at timestamp with time zone NOT NULL,
    CONSTRAINT ck_answer_outcome CHECK ((outcome = ANY (ARRAY['credited'::text, 'rejected'::text, 'later'::text, 'absent'::text, 'unknown'::text])))
);
CREATE TABLE public.batch (
    id bigint NOT NULL,
    run_id bigint NOT NULL,
    first_id bigint NOT NULL,
    last_id bigint NOT NULL,
    lines integer NOT NULL,
    amount_minor bigint NOT NULL,
    digest text NOT NULL,
    fund_id bigint,
    state text NOT NULL,
    attempts integer NOT NULL,
    token text,
    lease_until timestamp with time zone,
    stamped_at timestamp with time zone,
    next_attempt_at timestamp with time zone,
    given_back_at timestamp with time zone,
    last_error text NOT NULL,
    ended_at timestamp with time zone,
    credited integer,
    credited_minor bigint,
    credited_at timestamp with time zone,
    CONSTRAINT ck_batch_done CHECK (((state = 'done'::text) = (credited_at IS NOT NULL))),
    CONSTRAINT ck_batch_range CHECK ((first_id <= last_id)),
    CONSTRAINT ck_batch_state CHECK ((state = ANY (ARRAY['planned'::text, 'open'::text, 'paused'::text, 'done'::text, 'split'::text, 'stopped'::text])))
);
CREATE SEQUENCE public.batch_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;
ALTER SEQUENCE public.batch_id_seq OWNED BY public.batch.id;
CREATE TABLE public.cases (
    id bigint NOT NULL,
    disbursement_id bigint NOT NULL,
    run_id bigint NOT NULL,
    fund_id bigint NOT NULL,
    reason text NOT NULL,
    state text NOT NULL,
    reserved boolean NOT NULL,
    attempts integer NOT NULL,
    next_attempt_at timestamp with time zone,
    last_error text NOT NULL,
    opened_at timestamp with time zone NOT NULL,
    closed_at timestamp with time zone,
    outcome text,
    closed_by text,
    evidence text NOT NULL,
    CONSTRAINT ck_cases_how CHECK (((outcome IS NULL) OR (outcome = ANY (ARRAY['retried'::text, 'paid'::text, 'not_owed'::text])))),
    CONSTRAINT ck_cases_outcome CHECK (((state = 'open'::text) = (outcome IS NULL))),
    CONSTRAINT ck_cases_reason CHECK ((reason = ANY (ARRAY['unknown'::text, 'rejected'::text, 'dead'::text, 'stopped'::text]))),
    CONSTRAINT ck_cases_state CHECK ((state = ANY (ARRAY['open'::text, 'closed'::text])))
);
CREATE SEQUENCE public.cases_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;
ALTER SEQUENCE public.cases_id_seq OWNED BY public.cases.id;
CREATE TABLE public.disbursement (
    id bigint NOT NULL,
    programme_id bigint NOT NULL,
    household_id bigint NOT NULL,
    cycle text NOT NULL,
    amount_minor bigint NOT NULL,
    CONSTRAINT ck_disbursement_amount_minor CHECK (((amount_minor >= 1) AND (amount_minor <= '10000000000000'::bigint)))
);
ALTER TABLE ONLY public.disbursement ALTER COLUMN id SET STATISTICS 10;
ALTER TABLE ONLY public.disbursement ALTER COLUMN programme_id SET STATISTICS 10;
ALTER TABLE ONLY public.disbursement ALTER COLUMN household_id SET STATISTICS 10;
ALTER TABLE ONLY public.disbursement ALTER COLUMN cycle SET STATISTICS 10;
ALTER TABLE ONLY public.disbursement ALTER COLUMN amount_minor SET STATISTICS 10;
CREATE TABLE public.enrolment (
    programme_id bigint NOT NULL,
    household_id bigint NOT NULL,
    first_cycle text NOT NULL,
    last_cycle text NOT NULL,
    status text NOT NULL,
    reason_code text NOT NULL,
    CONSTRAINT ck_enrolment_first_cycle CHECK (((first_cycle >= '2000-01'::text) AND (first_cycle < '2200-01'::text) AND (length(first_cycle) = 7))),
    CONSTRAINT ck_enrolment_last_cycle CHECK (((last_cycle >= '2000-01'::text) AND (last_cycle < '2200-01'::text) AND (length(last_cycle) = 7))),
    CONSTRAINT ck_enrolment_status CHECK ((status = ANY (ARRAY['active'::text, 'held'::text, 'stopped'::text]))),
    CONSTRAINT ck_enrolment_window CHECK ((first_cycle <= last_cycle))
);
CREATE TABLE public.transfer (
    id bigint NOT NULL,
    kind text NOT NULL,
    fund_id bigint NOT NULL,
    run_id bigint,
    batch_id bigint,
    case_id bigint,
    amount_minor bigint NOT NULL,
    currency text NOT NULL,
    transferred_at timestamp with time zone NOT NULL,
    CONSTRAINT ck_transfer_amount_minor CHECK (((amount_minor >= 1) AND (amount_minor <= '10000000000000'::bigint))),
    CONSTRAINT ck_transfer_kind CHECK ((kind = ANY (ARRAY['deposit'::text, 'reserve'::text, 'credit'::text, 'unreserve'::text]))),
    CONSTRAINT ck_transfer_run_id CHECK (((kind = 'deposit'::text) = (run_id IS NULL)))
);
CREATE VIEW public.entry AS
 SELECT transfer.id AS transfer_id,
    transfer.fund_id,
    transfer.run_id,
    (- transfer.amount_minor) AS amount_minor,
        CASE transfer.kind
            WHEN 'deposit'::text THEN 'donor'::text
            WHEN 'reserve'::text THEN 'fund'::text
            ELSE 'reserve'::text
        END AS account
   FROM public.transfer
UNION ALL
 SELECT transfer.id AS transfer_id,
    transfer.fund_id,
    transfer.run_id,
    transfer.amount_minor,
        CASE transfer.kind
            WHEN 'deposit'::text THEN 'fund'::text
            WHEN 'reserve'::text THEN 'reserve'::text
            WHEN 'credit'::text THEN 'outstanding'::text
            ELSE 'fund'::text
        END AS account
   FROM public.transfer;
CREATE TABLE public.exchange_rate (
    programme_id bigint NOT NULL,
    cycle text NOT NULL,
    from_currency text NOT NULL,
    to_currency text NOT NULL,
    rate_millionths bigint NOT NULL,
    source text NOT NULL,
    rate_date text NOT NULL,
    CONSTRAINT ck_exchange_rate_cycle CHECK (((cycle >= '2000-01'::text) AND (cycle < '2200-01'::text) AND (length(cycle) = 7))),
    CONSTRAINT ck_exchange_rate_rate_millionths CHECK ((rate_millionths > 0))
);
CREATE TABLE public.expected_slot (
    programme_id bigint NOT NULL,
    location_code text NOT NULL,
    cycle text NOT NULL,
    CONSTRAINT ck_expected_slot_cycle CHECK (((cycle >= '2000-01'::text) AND (cycle < '2200-01'::text) AND (length(cycle) = 7)))
);
CREATE TABLE public.fund (
    id bigint NOT NULL,
    programme_id bigint NOT NULL,
    code text NOT NULL,
    donor text NOT NULL,
    currency text NOT NULL,
    "position" integer NOT NULL,
    balance_minor bigint NOT NULL,
    CONSTRAINT ck_fund_balance_minor CHECK (((balance_minor >= 0) AND (balance_minor <= '10000000000000'::bigint)))
);
CREATE SEQUENCE public.fund_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;
ALTER SEQUENCE public.fund_id_seq OWNED BY public.fund.id;
CREATE TABLE public.household (
    id bigint NOT NULL,
    registration_id text NOT NULL,
    location_code text NOT NULL,
    members integer NOT NULL,
    group_code text NOT NULL,
    CONSTRAINT ck_household_members CHECK (((members >= 1) AND (members <= 40)))
);
CREATE SEQUENCE public.household_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;
ALTER SEQUENCE public.household_id_seq OWNED BY public.household.id;
CREATE TABLE public.intent (
    id bigint NOT NULL,
    disbursement_id bigint NOT NULL,
    batch_id bigint NOT NULL,
    kind text NOT NULL,
    reference text NOT NULL,
    recorded_at timestamp with time zone NOT NULL,
    CONSTRAINT ck_intent_kind CHECK ((kind = ANY (ARRAY['send'::text, 'ask'::text])))
);
CREATE SEQUENCE public.intent_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;
ALTER SEQUENCE public.intent_id_seq OWNED BY public.intent.id;
CREATE TABLE public.issuer (
    programme_id bigint NOT NULL,
    url text NOT NULL,
    calls_max integer NOT NULL,
    key_window_hours integer NOT NULL,
    failures integer NOT NULL,
    breaker_until timestamp with time zone,
    CONSTRAINT ck_issuer_calls_max CHECK (((calls_max >= 1) AND (calls_max <= 1024))),
    CONSTRAINT ck_issuer_key_window_hours CHECK (((key_window_hours >= 1) AND (key_window_hours <= 8784)))
);
CREATE TABLE public.journal (
    id bigint NOT NULL,
    event text NOT NULL,
    level text NOT NULL,
    run_id bigint,
    recorded_at timestamp with time zone NOT NULL,
    fields text NOT NULL
);
CREATE TABLE public.journal_head (
    id bigint NOT NULL,
    seq bigint NOT NULL,
    hash text NOT NULL,
    emitted_seq bigint NOT NULL,
    CONSTRAINT ck_journal_head_single CHECK ((id = 1))
);
CREATE SEQUENCE public.journal_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;
ALTER SEQUENCE public.journal_id_seq OWNED BY public.journal.id;
CREATE TABLE public.location (
    code text NOT NULL,
    name text NOT NULL,
    state text NOT NULL,
    time_zone text NOT NULL,
    CONSTRAINT ck_location_code CHECK ((length(code) = 5))
);
CREATE TABLE public.notice (
    id bigint NOT NULL,
    run_id bigint NOT NULL,
    store_id text NOT NULL,
    number integer NOT NULL,
    webhook_id text NOT NULL,
    vouchers integer NOT NULL,
    amount_minor bigint NOT NULL,
    state text NOT NULL,
    attempts integer NOT NULL,
    token text,
    lease_until timestamp with time zone,
    stamped_at timestamp with time zone,
    made_at timestamp with time zone NOT NULL,
    next_attempt_at timestamp with time zone NOT NULL,
    tried_at timestamp with time zone,
    delivered_at timestamp with time zone,
    last_error text NOT NULL,
    CONSTRAINT ck_notice_state CHECK ((state = ANY (ARRAY['due'::text, 'delivered'::text, 'undelivered'::text])))
);
CREATE SEQUENCE public.notice_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;
ALTER SEQUENCE public.notice_id_seq OWNED BY public.notice.id;
CREATE TABLE public.programme (
    id bigint NOT NULL,
    code text NOT NULL,
    name text NOT NULL,
    currency text NOT NULL,
    value_currency text NOT NULL,
    base_minor bigint NOT NULL,
    per_member_minor bigint NOT NULL,
    cap_minor bigint NOT NULL,
    round_to_minor bigint NOT NULL,
    cycles integer NOT NULL,
    validity_days integer NOT NULL,
    payday_day integer NOT NULL,
    payday_time text NOT NULL,
    approval text NOT NULL,
    policy_run_max_minor bigint NOT NULL,
    permitted_goods text NOT NULL,
    excluded_goods text NOT NULL,
    CONSTRAINT ck_programme_approval CHECK ((approval = ANY (ARRAY['person'::text, 'policy'::text]))),
    CONSTRAINT ck_programme_base_minor CHECK (((base_minor >= 0) AND (base_minor <= '10000000000000'::bigint))),
    CONSTRAINT ck_programme_cap_minor CHECK (((cap_minor >= 1) AND (cap_minor <= '10000000000000'::bigint))),
    CONSTRAINT ck_programme_cycles CHECK (((cycles >= 1) AND (cycles <= 120))),
    CONSTRAINT ck_programme_payday_day CHECK (((payday_day >= 1) AND (payday_day <= 28))),
    CONSTRAINT ck_programme_per_member_minor CHECK (((per_member_minor >= 0) AND (per_member_minor <= '10000000000000'::bigint))),
    CONSTRAINT ck_programme_policy_run_max_minor CHECK (((policy_run_max_minor >= 0) AND (policy_run_max_minor <= '10000000000000'::bigint))),
    CONSTRAINT ck_programme_round_to_minor CHECK (((round_to_minor >= 1) AND (round_to_minor <= 1000000))),
    CONSTRAINT ck_programme_validity_days CHECK (((validity_days >= 1) AND (validity_days <= 3660)))
);
CREATE SEQUENCE public.programme_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;
ALTER SEQUENCE public.programme_id_seq OWNED BY public.programme.id;
CREATE TABLE public.programme_location (
    programme_id bigint NOT NULL,
    location_code text NOT NULL,
    first_cycle text NOT NULL,
    CONSTRAINT ck_programme_location_first_cycle CHECK (((first_cycle >= '2000-01'::text) AND (first_cycle < '2200-01'::text) AND (length(first_cycle) = 7)))
);
CREATE TABLE public.run (
    id bigint NOT NULL,
    programme_id bigint NOT NULL,
    location_code text NOT NULL,
    cycle text NOT NULL,
    part integer NOT NULL,
    state text NOT NULL,
    late boolean NOT NULL,
    opens_at timestamp with time zone NOT NULL,
    lines integer NOT NULL,
    planned_minor bigint NOT NULL,
    digest text NOT NULL,
    currency text NOT NULL,
    value_currency text NOT NULL,
    rate_millionths bigint,
    rate_source text NOT NULL,
    rate_date text NOT NULL,
    round_to_minor bigint NOT NULL,
    validity_days integer NOT NULL,
    batch_lines_max integer NOT NULL,
    planned_by text NOT NULL,
    planned_at timestamp with time zone NOT NULL,
    approval text,
    approved_by text,
    approved_at timestamp with time zone,
    approved_digest text,
    released_at timestamp with time zone,
    completed_at timestamp with time zone,
    blocked text NOT NULL,
    CONSTRAINT ck_run_cycle CHECK (((cycle >= '2000-01'::text) AND (cycle < '2200-01'::text) AND (length(cycle) = 7))),
    CONSTRAINT ck_run_four_eyes CHECK (((approved_by IS NULL) OR (approved_by <> planned_by) OR (approval = 'policy'::text))),
    CONSTRAINT ck_run_part CHECK ((part >= 1)),
    CONSTRAINT ck_run_planned_minor CHECK (((planned_minor >= 0) AND (planned_minor <= '10000000000000'::bigint))),
    CONSTRAINT ck_run_state CHECK ((state = ANY (ARRAY['planned'::text, 'approved'::text, 'released'::text, 'paused'::text, 'completed'::text, 'completed_with_cases'::text, 'cancelled'::text])))
);
CREATE TABLE public.run_amount (
    run_id bigint NOT NULL,
    members bigint NOT NULL,
    amount_minor bigint NOT NULL,
    CONSTRAINT ck_run_amount_amount_minor CHECK (((amount_minor >= 1) AND (amount_minor <= '10000000000000'::bigint)))
);
CREATE TABLE public.run_group (
    run_id bigint NOT NULL,
    group_code text NOT NULL,
    families integer NOT NULL,
    amount_minor bigint NOT NULL
);
CREATE SEQUENCE public.run_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;
ALTER SEQUENCE public.run_id_seq OWNED BY public.run.id;
CREATE TABLE public.seal (
    seq bigint NOT NULL,
    journal_id bigint NOT NULL,
    prev_hash text NOT NULL,
    hash text NOT NULL
);
CREATE TABLE public.sighting (
    role text NOT NULL,
    instance text NOT NULL,
    seen_at timestamp with time zone NOT NULL,
    CONSTRAINT ck_sighting_role CHECK ((role = ANY (ARRAY['scheduler'::text, 'worker'::text])))
);
CREATE TABLE public.store (
    id text NOT NULL,
    name text NOT NULL,
    location_code text NOT NULL,
    url text NOT NULL,
    active boolean NOT NULL,
    secret_version integer NOT NULL,
    previous_secret_until timestamp with time zone,
    failures integer NOT NULL,
    breaker_until timestamp with time zone,
    CONSTRAINT ck_store_secret_version CHECK ((secret_version >= 1))
);
CREATE SEQUENCE public.transfer_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;
ALTER SEQUENCE public.transfer_id_seq OWNED BY public.transfer.id;
CREATE TABLE public.voucher (
    id bigint NOT NULL,
    batch_id bigint,
    key_version integer NOT NULL
);
ALTER TABLE ONLY public.batch ALTER COLUMN id SET DEFAULT nextval('public.batch_id_seq'::regclass);
ALTER TABLE ONLY public.cases ALTER COLUMN id SET DEFAULT nextval('public.cases_id_seq'::regclass);
ALTER TABLE ONLY public.fund ALTER COLUMN id SET DEFAULT nextval('public.fund_id_seq'::regclass);
ALTER TABLE ONLY public.household ALTER COLUMN id SET DEFAULT nextval('public.household_id_seq'::regclass);
ALTER TABLE ONLY public.intent ALTER COLUMN id SET DEFAULT nextval('public.intent_id_seq'::regclass);
ALTER TABLE ONLY public.journal ALTER COLUMN id SET DEFAULT nextval('public.journal_id_seq'::regclass);
ALTER TABLE ONLY public.notice ALTER COLUMN id SET DEFAULT nextval('public.notice_id_seq'::regclass);
ALTER TABLE ONLY public.programme ALTER COLUMN id SET DEFAULT nextval('public.programme_id_seq'::regclass);
ALTER TABLE ONLY public.run ALTER COLUMN id SET DEFAULT nextval('public.run_id_seq'::regclass);
ALTER TABLE ONLY public.transfer ALTER COLUMN id SET DEFAULT nextval('public.transfer_id_seq'::regclass);
INSERT INTO public.alembic_version VALUES
	('0003');
INSERT INTO public.answer VALUES
	(1, 'unknown', 'connection broke', '', '2026-11-26 23:36:17.053061+00'),
	(2, 'credited', '', 'sim-2', '2026-11-26 23:36:17.053061+00'),
	(3, 'credited', '', 'sim-3', '2026-11-26 23:36:17.053061+00'),
	(4, 'unknown', 'connection broke', '', '2026-11-26 23:36:17.084479+00');
INSERT INTO public.batch VALUES
	(1, 1, 10000001, 10000006, 6, 510000, '401cffe3dc50cda0fab71c0a2062c23aa203af5531e62fcdd594432e77a6caa4', 1, 'done', 1, NULL, NULL, NULL, '2026-11-26 23:36:15.434989+00', NULL, '', NULL, 6, 510000, '2026-11-26 23:36:15.541204+00'),
	(2, 1, 10000007, 10000012, 6, 600000, 'e439ee1d266f990b028706f273a6a8aae347f1cb0ecd60cf6e81bfce9bf10306', 1, 'done', 1, NULL, NULL, NULL, '2026-11-26 23:36:15.434989+00', NULL, '', NULL, 6, 600000, '2026-11-26 23:36:15.586156+00'),
	(3, 1, 10000013, 10000018, 6, 690000, '851cf488dc794750561c281b6df15ef96cbd696f90104fac147416b33ff812d3', 1, 'done', 1, NULL, NULL, NULL, '2026-11-26 23:36:15.434989+00', NULL, '', NULL, 6, 690000, '2026-11-26 23:36:15.618476+00'),
	(6, 2, 20000007, 20000009, 3, 390000, '14e841524f9c31a7ab10139ce7cf696fc547026d0dbdc71f5840aa7182ec5184', 1, 'open', 0, NULL, NULL, NULL, '2026-11-26 23:36:15.974861+00', NULL, '', NULL, NULL, NULL, NULL),
	(7, 2, 20000010, 20000012, 3, 210000, 'b55f2d6f5cff97f1d5da0e4504d9db493615149ff313b91b6ae7cecd15c25f26', 1, 'open', 0, NULL, NULL, NULL, '2026-11-26 23:36:15.974861+00', NULL, '', NULL, NULL, NULL, NULL),
	(8, 2, 20000013, 20000015, 3, 300000, 'e802629656538367e203fd9b37370a98582a519d062db2ce8918d62d80db09a9', 1, 'open', 0, NULL, NULL, NULL, '2026-11-26 23:36:15.974861+00', NULL, '', NULL, NULL, NULL, NULL),
	(9, 2, 20000016, 20000018, 3, 390000, '57734aacb19f0a27e3ff1e77cde37969a4fe1204a333b1364c56236ef2904172', 1, 'open', 0, NULL, NULL, NULL, '2026-11-26 23:36:15.974861+00', NULL, '', NULL, NULL, NULL, NULL),
	(4, 2, 20000001, 20000003, 3, 210000, '1a6126f67afcaf8cea253bf3134fcf107c47384d1338fbe382ca2267449e8a6c', 1, 'done', 1, NULL, NULL, NULL, '2026-11-26 23:36:15.974861+00', NULL, '', NULL, 3, 210000, '2026-11-26 23:36:16.049384+00'),
	(5, 2, 20000004, 20000006, 3, 300000, '2d470be8a3c3d4a4c8ba119188c2667db26dd2aae7b13afa21274678d19f896d', 1, 'done', 1, NULL, NULL, NULL, '2026-11-26 23:36:15.974861+00', NULL, '', NULL, 3, 300000, '2026-11-26 23:36:16.121015+00'),
	(12, 3, 30000003, 30000003, 1, 80000, 'bb594cf424fead42dc2a432c7b2b06043abdf9cd7c85c95c8dac1ca26f0f9291', 1, 'open', 0, NULL, NULL, NULL, '2026-11-26 23:36:16.322926+00', NULL, '', NULL, NULL, NULL, NULL),
	(13, 3, 30000004, 30000004, 1, 90000, '2f8dd3078fc6931ec93a0517d1708d52b6369e606eb32289ab2a6a3ee0465505', 1, 'open', 0, NULL, NULL, NULL, '2026-11-26 23:36:16.322926+00', NULL, '', NULL, NULL, NULL, NULL),
	(10, 3, 30000001, 30000001, 1, 60000, '3f1e2375c27350f360086da3b037c32c9319830977de33c2f345d4cbee69b4b0', 1, 'stopped', 2, NULL, NULL, '2026-11-26 23:35:16.466541+00', '2026-11-26 23:35:16.466541+00', NULL, '', '2026-11-26 23:36:16.4904+00', NULL, NULL, NULL),
	(11, 3, 30000002, 30000002, 1, 70000, 'a5eb6e38e60040ee1c065844f1261df131ca554fe7ae150f88c2617e6094778e', 1, 'done', 1, NULL, NULL, NULL, '2026-11-26 23:36:16.322926+00', NULL, '', NULL, 1, 70000, '2026-11-26 23:36:16.611422+00'),
	(14, 3, 30000005, 30000005, 1, 100000, '33ea55d636b814fd6db4efab2fdd1adcf7e8083ed0ec5a39e9f6a1deab4c7da2', 1, 'open', 1, '3fedbebc7ed5d0569309c23df979a530', '2026-11-26 23:36:31.644161+00', NULL, '2026-11-26 23:36:16.322926+00', NULL, '', NULL, NULL, NULL, NULL),
	(15, 4, 40000001, 40000007, 7, 630000, 'c0a0843d790d457f135b47ace0b11b4a62f66fbb817c65235f7bb79c4b9c8d4d', NULL, 'planned', 0, NULL, NULL, NULL, NULL, NULL, '', NULL, NULL, NULL, NULL),
	(17, 5, 50000004, 50000006, 3, 300000, 'e4fe5b15ca857b124c61612b101a68dc6f9f1d4bab2f12ebcd2f7a2812a038ff', 2, 'open', 0, NULL, NULL, NULL, '2026-11-26 23:36:16.928988+00', NULL, '', NULL, NULL, NULL, NULL),
	(18, 5, 50000007, 50000009, 3, 390000, '7c919290c5350f7273fb9cb53e31e6ea84454269ba3c0c0aa58e2599d7d3a5c5', 2, 'open', 0, NULL, NULL, NULL, '2026-11-26 23:36:16.928988+00', NULL, '', NULL, NULL, NULL, NULL),
	(16, 5, 50000001, 50000003, 3, 210000, 'c8a1a78b89f94f2981effad498e5e6d5b23b0dbb9b3b978d420156bfe77e8621', 2, 'done', 1, NULL, NULL, NULL, '2026-11-26 23:36:16.928988+00', NULL, '', NULL, 2, 150000, '2026-11-26 23:36:17.102194+00');
INSERT INTO public.cases VALUES
	(1, 30000001, 3, 1, 'dead', 'open', true, 2, NULL, '', '2026-11-26 23:36:16.4904+00', NULL, NULL, NULL, ''),
	(2, 50000001, 5, 2, 'unknown', 'open', true, 1, '2026-11-26 23:36:22.102194+00', 'connection broke', '2026-11-26 23:36:17.102194+00', NULL, NULL, NULL, '');
INSERT INTO public.disbursement VALUES
	(10000001, 1, 1, '2026-11', 60000),
	(10000002, 1, 2, '2026-11', 70000),
	(10000003, 1, 3, '2026-11', 80000),
	(10000004, 1, 4, '2026-11', 90000),
	(10000005, 1, 5, '2026-11', 100000),
	(10000006, 1, 6, '2026-11', 110000),
	(10000007, 1, 7, '2026-11', 120000),
	(10000008, 1, 8, '2026-11', 130000),
	(10000009, 1, 9, '2026-11', 140000),
	(10000010, 1, 10, '2026-11', 60000),
	(10000011, 1, 11, '2026-11', 70000),
	(10000012, 1, 12, '2026-11', 80000),
	(10000013, 1, 13, '2026-11', 90000),
	(10000014, 1, 14, '2026-11', 100000),
	(10000015, 1, 15, '2026-11', 110000),
	(10000016, 1, 16, '2026-11', 120000),
	(10000017, 1, 17, '2026-11', 130000),
	(10000018, 1, 18, '2026-11', 140000),
	(20000001, 1, 1, '2026-12', 60000),
	(20000002, 1, 2, '2026-12', 70000),
	(20000003, 1, 3, '2026-12', 80000),
	(20000004, 1, 4, '2026-12', 90000),
	(20000005, 1, 5, '2026-12', 100000),
	(20000006, 1, 6, '2026-12', 110000),
	(20000007, 1, 7, '2026-12', 120000),
	(20000008, 1, 8, '2026-12', 130000),
	(20000009, 1, 9, '2026-12', 140000),
	(20000010, 1, 10, '2026-12', 60000),
	(20000011, 1, 11, '2026-12', 70000),
	(20000012, 1, 12, '2026-12', 80000),
	(20000013, 1, 13, '2026-12', 90000),
	(20000014, 1, 14, '2026-12', 100000),
	(20000015, 1, 15, '2026-12', 110000),
	(20000016, 1, 16, '2026-12', 120000),
	(20000017, 1, 17, '2026-12', 130000),
	(20000018, 1, 18, '2026-12', 140000),
	(30000001, 1, 19, '2026-12', 60000),
	(30000002, 1, 20, '2026-12', 70000),
	(30000003, 1, 21, '2026-12', 80000),
	(30000004, 1, 22, '2026-12', 90000),
	(30000005, 1, 23, '2026-12', 100000),
	(40000001, 1, 24, '2026-12', 60000),
	(40000002, 1, 25, '2026-12', 70000),
	(40000003, 1, 26, '2026-12', 80000),
	(40000004, 1, 27, '2026-12', 90000),
	(40000005, 1, 28, '2026-12', 100000),
	(40000006, 1, 29, '2026-12', 110000),
	(40000007, 1, 30, '2026-12', 120000),
	(50000001, 2, 31, '2026-12', 60000),
	(50000002, 2, 32, '2026-12', 70000),
	(50000003, 2, 33, '2026-12', 80000),
	(50000004, 2, 34, '2026-12', 90000),
	(50000005, 2, 35, '2026-12', 100000),
	(50000006, 2, 36, '2026-12', 110000),
	(50000007, 2, 37, '2026-12', 120000),
	(50000008, 2, 38, '2026-12', 130000),
	(50000009, 2, 39, '2026-12', 140000);
INSERT INTO public.enrolment VALUES
	(1, 1, '2026-11', '2027-01', 'active', ''),
	(1, 2, '2026-11', '2027-01', 'active', ''),
	(1, 3, '2026-11', '2027-01', 'active', ''),
	(1, 4, '2026-11', '2027-01', 'active', ''),
	(1, 5, '2026-11', '2027-01', 'active', ''),
	(1, 6, '2026-11', '2027-01', 'active', ''),
	(1, 7, '2026-11', '2027-01', 'active', ''),
	(1, 8, '2026-11', '2027-01', 'active', ''),
	(1, 9, '2026-11', '2027-01', 'active', ''),
	(1, 10, '2026-11', '2027-01', 'active', ''),
	(1, 11, '2026-11', '2027-01', 'active', ''),
	(1, 12, '2026-11', '2027-01', 'active', ''),
	(1, 13, '2026-11', '2027-01', 'active', ''),
	(1, 14, '2026-11', '2027-01', 'active', ''),
	(1, 15, '2026-11', '2027-01', 'active', ''),
	(1, 16, '2026-11', '2027-01', 'active', ''),
	(1, 17, '2026-11', '2027-01', 'active', ''),
	(1, 18, '2026-11', '2027-01', 'active', ''),
	(1, 19, '2026-12', '2027-02', 'active', ''),
	(1, 20, '2026-12', '2027-02', 'active', ''),
	(1, 21, '2026-12', '2027-02', 'active', ''),
	(1, 22, '2026-12', '2027-02', 'active', ''),
	(1, 23, '2026-12', '2027-02', 'active', ''),
	(1, 24, '2026-12', '2027-02', 'active', ''),
	(1, 25, '2026-12', '2027-02', 'active', ''),
	(1, 26, '2026-12', '2027-02', 'active', ''),
	(1, 27, '2026-12', '2027-02', 'active', ''),
	(1, 28, '2026-12', '2027-02', 'active', ''),
	(1, 29, '2026-12', '2027-02', 'active', ''),
	(1, 30, '2026-12', '2027-02', 'active', ''),
	(2, 31, '2026-12', '2027-02', 'active', ''),
	(2, 32, '2026-12', '2027-02', 'active', ''),
	(2, 33, '2026-12', '2027-02', 'active', ''),
	(2, 34, '2026-12', '2027-02', 'active', ''),
	(2, 35, '2026-12', '2027-02', 'active', ''),
	(2, 36, '2026-12', '2027-02', 'active', ''),
	(2, 37, '2026-12', '2027-02', 'active', ''),
	(2, 38, '2026-12', '2027-02', 'active', ''),
	(2, 39, '2026-12', '2027-02', 'active', '');
INSERT INTO public.fund VALUES
	(1, 1, 'fund-1', 'Donor 1', 'MXN', 1, 999996000000),
	(2, 2, 'fund-1', 'Donor 1', 'MXN', 1, 999999100000);
INSERT INTO public.household VALUES
	(1, 'R-02004-0000000', '02004', 1, 'mpp_asylum_seeker'),
	(2, 'R-02004-0000001', '02004', 2, 'single_caregiver'),
	(3, 'R-02004-0000002', '02004', 3, 'pregnant'),
	(4, 'R-02004-0000003', '02004', 4, 'disability'),
	(5, 'R-02004-0000004', '02004', 5, 'victim_of_crime'),
	(6, 'R-02004-0000005', '02004', 6, 'mpp_asylum_seeker'),
	(7, 'R-02004-0000006', '02004', 7, 'single_caregiver'),
	(8, 'R-02004-0000007', '02004', 8, 'pregnant'),
	(9, 'R-02004-0000008', '02004', 9, 'disability'),
	(10, 'R-02004-0000009', '02004', 1, 'victim_of_crime'),
	(11, 'R-02004-0000010', '02004', 2, 'mpp_asylum_seeker'),
	(12, 'R-02004-0000011', '02004', 3, 'single_caregiver'),
	(13, 'R-02004-0000012', '02004', 4, 'pregnant'),
	(14, 'R-02004-0000013', '02004', 5, 'disability'),
	(15, 'R-02004-0000014', '02004', 6, 'victim_of_crime'),
	(16, 'R-02004-0000015', '02004', 7, 'mpp_asylum_seeker'),
	(17, 'R-02004-0000016', '02004', 8, 'single_caregiver'),
	(18, 'R-02004-0000017', '02004', 9, 'pregnant'),
	(19, 'R-26043-0000000', '26043', 1, 'mpp_asylum_seeker'),
	(20, 'R-26043-0000001', '26043', 2, 'single_caregiver'),
	(21, 'R-26043-0000002', '26043', 3, 'pregnant'),
	(22, 'R-26043-0000003', '26043', 4, 'disability'),
	(23, 'R-26043-0000004', '26043', 5, 'victim_of_crime'),
	(24, 'R-08037-0000000', '08037', 1, 'mpp_asylum_seeker'),
	(25, 'R-08037-0000001', '08037', 2, 'single_caregiver'),
	(26, 'R-08037-0000002', '08037', 3, 'pregnant'),
	(27, 'R-08037-0000003', '08037', 4, 'disability'),
	(28, 'R-08037-0000004', '08037', 5, 'victim_of_crime'),
	(29, 'R-08037-0000005', '08037', 6, 'mpp_asylum_seeker'),
	(30, 'R-08037-0000006', '08037', 7, 'single_caregiver'),
	(31, 'S-02004-0000000', '02004', 1, 'mpp_asylum_seeker'),
	(32, 'S-02004-0000001', '02004', 2, 'single_caregiver'),
	(33, 'S-02004-0000002', '02004', 3, 'pregnant'),
	(34, 'S-02004-0000003', '02004', 4, 'disability'),
	(35, 'S-02004-0000004', '02004', 5, 'victim_of_crime'),
	(36, 'S-02004-0000005', '02004', 6, 'mpp_asylum_seeker'),
	(37, 'S-02004-0000006', '02004', 7, 'single_caregiver'),
	(38, 'S-02004-0000007', '02004', 8, 'pregnant'),
	(39, 'S-02004-0000008', '02004', 9, 'disability');
INSERT INTO public.intent VALUES
	(1, 50000001, 16, 'send', '70b28568b48575e9605624540eb49fa9644d99c51b3f603e8614baa5daef16ea', '2026-11-26 23:36:17.027045+00'),
	(2, 50000002, 16, 'send', 'cfefd69e392f49745b99a09d72cadf8c8529c59387de59a642083431dfc6ff2f', '2026-11-26 23:36:17.027045+00'),
	(3, 50000003, 16, 'send', '680cfe688c9962cccbd9c648ef238f43caf5c336ce477685f42d84dfe04abbed', '2026-11-26 23:36:17.027045+00'),
	(4, 50000001, 16, 'ask', '70b28568b48575e9605624540eb49fa9644d99c51b3f603e8614baa5daef16ea', '2026-11-26 23:36:17.065384+00');
INSERT INTO public.issuer VALUES
	(2, 'http://127.0.0.1:9', 64, 168, 0, NULL);
INSERT INTO public.journal VALUES
	(1, 'run.planned', 'info', 1, '2026-11-26 23:36:15.4041+00', '{"batches":3,"currency":"MXN","cycle":"2026-11","digest":"7276b78582c4b244b49f25884a358a2be0fc97fb6431ede9c51ae90cfec37add","held_elsewhere":0,"late":true,"location":"02004","location_name":"Tijuana","opens_at":"2026-11-01T17:00:00.000000Z","operator":"postgres","part":1,"planned":18,"planned_minor":1800000,"programme":"northern-mexico","run":"2026-11/02004","run_id":1,"time_zone":"America/Tijuana"}'),
	(2, 'run.approved', 'info', 1, '2026-11-26 23:36:15.434989+00', '{"approval":"policy","currency":"MXN","cycle":"2026-11","digest":"7276b78582c4b244b49f25884a358a2be0fc97fb6431ede9c51ae90cfec37add","location":"02004","operator":"policy","part":1,"planned":18,"planned_minor":1800000,"programme":"northern-mexico","run":"2026-11/02004","run_id":1}'),
	(3, 'run.released', 'info', 1, '2026-11-26 23:36:15.434989+00', '{"batches":3,"currency":"MXN","cycle":"2026-11","location":"02004","operator":"postgres","part":1,"planned":18,"planned_minor":1800000,"programme":"northern-mexico","run":"2026-11/02004","run_id":1}'),
	(4, 'batch.credited', 'info', 1, '2026-11-26 23:36:15.541204+00', '{"attempt":1,"batch_id":1,"credited":6,"credited_minor":510000,"currency":"MXN","cycle":"2026-11","first_id":10000001,"last_id":10000006,"location":"02004","part":1,"programme":"northern-mexico","run":"2026-11/02004","run_id":1}'),
	(5, 'batch.credited', 'info', 1, '2026-11-26 23:36:15.586156+00', '{"attempt":1,"batch_id":2,"credited":6,"credited_minor":600000,"currency":"MXN","cycle":"2026-11","first_id":10000007,"last_id":10000012,"location":"02004","part":1,"programme":"northern-mexico","run":"2026-11/02004","run_id":1}'),
	(6, 'batch.credited', 'info', 1, '2026-11-26 23:36:15.618476+00', '{"attempt":1,"batch_id":3,"credited":6,"credited_minor":690000,"currency":"MXN","cycle":"2026-11","first_id":10000013,"last_id":10000018,"location":"02004","part":1,"programme":"northern-mexico","run":"2026-11/02004","run_id":1}'),
	(7, 'notice.created', 'info', 1, '2026-11-26 23:36:15.639983+00', '{"amount_minor":1800000,"currency":"MXN","cycle":"2026-11","location":"02004","notice_id":1,"number":1,"part":1,"programme":"northern-mexico","run":"2026-11/02004","run_id":1,"store":"nor-02004-1","vouchers":18}'),
	(8, 'run.completed', 'info', 1, '2026-11-26 23:36:15.639983+00', '{"cases":0,"credited":18,"credited_minor":1800000,"currency":"MXN","cycle":"2026-11","late":true,"location":"02004","not_owed":0,"notices":1,"part":1,"planned":18,"planned_minor":1800000,"programme":"northern-mexico","run":"2026-11/02004","run_id":1,"state":"completed"}'),
	(9, 'notice.delivered', 'info', 1, '2026-11-26 23:36:15.785116+00', '{"attempts":1,"cycle":"2026-11","location":"02004","notice_id":1,"number":1,"part":1,"programme":"northern-mexico","run":"2026-11/02004","run_id":1,"store":"nor-02004-1"}'),
	(10, 'run.planned', 'info', 2, '2026-11-26 23:36:15.949298+00', '{"batches":6,"currency":"MXN","cycle":"2026-12","digest":"9f5ab04f1d9f0ca0a4290c929e167225e38efd0414e4d69567f479b8d6c0b029","held_elsewhere":0,"late":true,"location":"02004","location_name":"Tijuana","opens_at":"2026-12-01T17:00:00.000000Z","operator":"postgres","part":1,"planned":18,"planned_minor":1800000,"programme":"northern-mexico","run":"2026-12/02004","run_id":2,"time_zone":"America/Tijuana"}'),
	(11, 'run.approved', 'info', 2, '2026-11-26 23:36:15.974861+00', '{"approval":"policy","currency":"MXN","cycle":"2026-12","digest":"9f5ab04f1d9f0ca0a4290c929e167225e38efd0414e4d69567f479b8d6c0b029","location":"02004","operator":"policy","part":1,"planned":18,"planned_minor":1800000,"programme":"northern-mexico","run":"2026-12/02004","run_id":2}'),
	(12, 'run.released', 'info', 2, '2026-11-26 23:36:15.974861+00', '{"batches":6,"currency":"MXN","cycle":"2026-12","location":"02004","operator":"postgres","part":1,"planned":18,"planned_minor":1800000,"programme":"northern-mexico","run":"2026-12/02004","run_id":2}'),
	(13, 'batch.credited', 'info', 2, '2026-11-26 23:36:16.049384+00', '{"attempt":1,"batch_id":4,"credited":3,"credited_minor":210000,"currency":"MXN","cycle":"2026-12","first_id":20000001,"last_id":20000003,"location":"02004","part":1,"programme":"northern-mexico","run":"2026-12/02004","run_id":2}'),
	(14, 'batch.credited', 'info', 2, '2026-11-26 23:36:16.121015+00', '{"attempt":1,"batch_id":5,"credited":3,"credited_minor":300000,"currency":"MXN","cycle":"2026-12","first_id":20000004,"last_id":20000006,"location":"02004","part":1,"programme":"northern-mexico","run":"2026-12/02004","run_id":2}'),
	(15, 'run.planned', 'info', 3, '2026-11-26 23:36:16.284136+00', '{"batches":5,"currency":"MXN","cycle":"2026-12","digest":"2c5be56514e9c8a4f067473541ec5fcad0ef2649ea72f2755c378e7d990ec97f","held_elsewhere":0,"late":true,"location":"26043","location_name":"Nogales","opens_at":"2026-12-01T16:00:00.000000Z","operator":"postgres","part":1,"planned":5,"planned_minor":400000,"programme":"northern-mexico","run":"2026-12/26043","run_id":3,"time_zone":"America/Hermosillo"}'),
	(16, 'run.approved', 'info', 3, '2026-11-26 23:36:16.322926+00', '{"approval":"policy","currency":"MXN","cycle":"2026-12","digest":"2c5be56514e9c8a4f067473541ec5fcad0ef2649ea72f2755c378e7d990ec97f","location":"26043","operator":"policy","part":1,"planned":5,"planned_minor":400000,"programme":"northern-mexico","run":"2026-12/26043","run_id":3}'),
	(17, 'run.released', 'info', 3, '2026-11-26 23:36:16.322926+00', '{"batches":5,"currency":"MXN","cycle":"2026-12","location":"26043","operator":"postgres","part":1,"planned":5,"planned_minor":400000,"programme":"northern-mexico","run":"2026-12/26043","run_id":3}'),
	(18, 'case.opened', 'warning', 3, '2026-11-26 23:36:16.4904+00', '{"amount_minor":60000,"attempts":2,"case_id":1,"currency":"MXN","cycle":"2026-12","disbursement_id":30000001,"error":"","location":"26043","next_attempt_at":"","part":1,"programme":"northern-mexico","reason":"dead","run":"2026-12/26043","run_id":3}'),
	(19, 'batch.credited', 'info', 3, '2026-11-26 23:36:16.611422+00', '{"attempt":1,"batch_id":11,"credited":1,"credited_minor":70000,"currency":"MXN","cycle":"2026-12","first_id":30000002,"last_id":30000002,"location":"26043","part":1,"programme":"northern-mexico","run":"2026-12/26043","run_id":3}'),
	(20, 'run.planned', 'info', 4, '2026-11-26 23:36:16.744674+00', '{"batches":1,"currency":"MXN","cycle":"2026-12","digest":"b638c8642350e32c7338eff65f34b77959d0101dfa027020d7a56eba19c5d70d","held_elsewhere":0,"late":true,"location":"08037","location_name":"Juárez","opens_at":"2026-12-01T16:00:00.000000Z","operator":"postgres","part":1,"planned":7,"planned_minor":630000,"programme":"northern-mexico","run":"2026-12/08037","run_id":4,"time_zone":"America/Ciudad_Juarez"}'),
	(21, 'run.planned', 'info', 5, '2026-11-26 23:36:16.90822+00', '{"batches":3,"currency":"MXN","cycle":"2026-12","digest":"4ceb761aa9fe0d1d06d1b1b380d3c778b3e191acaaea020528999ed9ab4ed436","held_elsewhere":0,"late":true,"location":"02004","location_name":"Tijuana","opens_at":"2026-12-01T17:00:00.000000Z","operator":"postgres","part":1,"planned":9,"planned_minor":900000,"programme":"outside","run":"2026-12/02004","run_id":5,"time_zone":"America/Tijuana"}'),
	(22, 'run.approved', 'info', 5, '2026-11-26 23:36:16.928988+00', '{"approval":"policy","currency":"MXN","cycle":"2026-12","digest":"4ceb761aa9fe0d1d06d1b1b380d3c778b3e191acaaea020528999ed9ab4ed436","location":"02004","operator":"policy","part":1,"planned":9,"planned_minor":900000,"programme":"outside","run":"2026-12/02004","run_id":5}'),
	(23, 'run.released', 'info', 5, '2026-11-26 23:36:16.928988+00', '{"batches":3,"currency":"MXN","cycle":"2026-12","location":"02004","operator":"postgres","part":1,"planned":9,"planned_minor":900000,"programme":"outside","run":"2026-12/02004","run_id":5}'),
	(24, 'case.opened', 'warning', 5, '2026-11-26 23:36:17.102194+00', '{"amount_minor":60000,"attempts":1,"case_id":2,"currency":"MXN","cycle":"2026-12","disbursement_id":50000001,"error":"connection broke","location":"02004","next_attempt_at":"2026-11-26T23:36:22.102194Z","part":1,"programme":"outside","reason":"unknown","run":"2026-12/02004","run_id":5}'),
	(25, 'batch.credited', 'info', 5, '2026-11-26 23:36:17.102194+00', '{"attempt":1,"batch_id":16,"credited":2,"credited_minor":150000,"currency":"MXN","cycle":"2026-12","first_id":50000001,"last_id":50000003,"location":"02004","part":1,"programme":"outside","run":"2026-12/02004","run_id":5}');
INSERT INTO public.journal_head VALUES
	(1, 9, '5c213fe687d6df4f5afe9cf56fe7e70ad295dfd305493ddd7929fc6e2e2ba502', 9);
INSERT INTO public.location VALUES
	('02004', 'Tijuana', '-', 'America/Tijuana'),
	('26043', 'Nogales', '-', 'America/Hermosillo'),
	('08037', 'Juárez', '-', 'America/Ciudad_Juarez');
INSERT INTO public.notice VALUES
	(1, 1, 'nor-02004-1', 1, 'msg_506ef3140e8e4a0b8b3e183168fb1a71', 18, 1800000, 'delivered', 1, NULL, NULL, NULL, '2026-11-26 23:36:15.639983+00', '2026-11-26 23:36:25.785116+00', '2026-11-26 23:36:15.785116+00', '2026-11-26 23:36:15.785116+00', '');
INSERT INTO public.programme VALUES
	(1, 'northern-mexico', 'northern-mexico', 'MXN', 'MXN', 50000, 10000, 150000, 100, 3, 60, 1, '09:00', 'policy', 1000000000000, '["food"]', '["alcohol"]'),
	(2, 'outside', 'outside', 'MXN', 'MXN', 50000, 10000, 150000, 100, 3, 60, 1, '09:00', 'policy', 1000000000000, '["food"]', '["alcohol"]');
INSERT INTO public.programme_location VALUES
	(1, '02004', '2026-10'),
	(1, '26043', '2026-10'),
	(1, '08037', '2026-10'),
	(2, '02004', '2026-10');
INSERT INTO public.run VALUES
	(1, 1, '02004', '2026-11', 1, 'completed', true, '2026-11-01 17:00:00+00', 18, 1800000, '7276b78582c4b244b49f25884a358a2be0fc97fb6431ede9c51ae90cfec37add', 'MXN', 'MXN', NULL, '', '', 100, 60, 6, 'postgres', '2026-12-01 20:00:00+00', 'policy', 'policy', '2026-11-26 23:36:15.434989+00', '7276b78582c4b244b49f25884a358a2be0fc97fb6431ede9c51ae90cfec37add', '2026-11-26 23:36:15.434989+00', '2026-11-26 23:36:15.639983+00', ''),
	(2, 1, '02004', '2026-12', 1, 'released', true, '2026-12-01 17:00:00+00', 18, 1800000, '9f5ab04f1d9f0ca0a4290c929e167225e38efd0414e4d69567f479b8d6c0b029', 'MXN', 'MXN', NULL, '', '', 100, 60, 3, 'postgres', '2026-12-01 20:00:00+00', 'policy', 'policy', '2026-11-26 23:36:15.974861+00', '9f5ab04f1d9f0ca0a4290c929e167225e38efd0414e4d69567f479b8d6c0b029', '2026-11-26 23:36:15.974861+00', NULL, ''),
	(3, 1, '26043', '2026-12', 1, 'released', true, '2026-12-01 16:00:00+00', 5, 400000, '2c5be56514e9c8a4f067473541ec5fcad0ef2649ea72f2755c378e7d990ec97f', 'MXN', 'MXN', NULL, '', '', 100, 60, 1, 'postgres', '2026-12-01 20:00:00+00', 'policy', 'policy', '2026-11-26 23:36:16.322926+00', '2c5be56514e9c8a4f067473541ec5fcad0ef2649ea72f2755c378e7d990ec97f', '2026-11-26 23:36:16.322926+00', NULL, ''),
	(4, 1, '08037', '2026-12', 1, 'planned', true, '2026-12-01 16:00:00+00', 7, 630000, 'b638c8642350e32c7338eff65f34b77959d0101dfa027020d7a56eba19c5d70d', 'MXN', 'MXN', NULL, '', '', 100, 60, 10, 'postgres', '2026-12-01 20:00:00+00', NULL, NULL, NULL, NULL, NULL, NULL, ''),
	(5, 2, '02004', '2026-12', 1, 'released', true, '2026-12-01 17:00:00+00', 9, 900000, '4ceb761aa9fe0d1d06d1b1b380d3c778b3e191acaaea020528999ed9ab4ed436', 'MXN', 'MXN', NULL, '', '', 100, 60, 3, 'postgres', '2026-12-01 20:00:00+00', 'policy', 'policy', '2026-11-26 23:36:16.928988+00', '4ceb761aa9fe0d1d06d1b1b380d3c778b3e191acaaea020528999ed9ab4ed436', '2026-11-26 23:36:16.928988+00', NULL, '');
INSERT INTO public.run_amount VALUES
	(1, 1, 60000),
	(1, 2, 70000),
	(1, 3, 80000),
	(1, 4, 90000),
	(1, 5, 100000),
	(1, 6, 110000),
	(1, 7, 120000),
	(1, 8, 130000),
	(1, 9, 140000),
	(1, 10, 150000),
	(1, 11, 150000),
	(1, 12, 150000),
	(1, 13, 150000),
	(1, 14, 150000),
	(1, 15, 150000),
	(1, 16, 150000),
	(1, 17, 150000),
	(1, 18, 150000),
	(1, 19, 150000),
	(1, 20, 150000),
	(1, 21, 150000),
	(1, 22, 150000),
	(1, 23, 150000),
	(1, 24, 150000),
	(1, 25, 150000),
	(1, 26, 150000),
	(1, 27, 150000),
	(1, 28, 150000),
	(1, 29, 150000),
	(1, 30, 150000),
	(1, 31, 150000),
	(1, 32, 150000),
	(1, 33, 150000),
	(1, 34, 150000),
	(1, 35, 150000),
	(1, 36, 150000),
	(1, 37, 150000),
	(1, 38, 150000),
	(1, 39, 150000),
	(1, 40, 150000),
	(2, 1, 60000),
	(2, 2, 70000),
	(2, 3, 80000),
	(2, 4, 90000),
	(2, 5, 100000),
	(2, 6, 110000),
	(2, 7, 120000),
	(2, 8, 130000),
	(2, 9, 140000),
	(2, 10, 150000),
	(2, 11, 150000),
	(2, 12, 150000),
	(2, 13, 150000),
	(2, 14, 150000),
	(2, 15, 150000),
	(2, 16, 150000),
	(2, 17, 150000),
	(2, 18, 150000),
	(2, 19, 150000),
	(2, 20, 150000),
	(2, 21, 150000),
	(2, 22, 150000),
	(2, 23, 150000),
	(2, 24, 150000),
	(2, 25, 150000),
	(2, 26, 150000),
	(2, 27, 150000),
	(2, 28, 150000),
	(2, 29, 150000),
	(2, 30, 150000),
	(2, 31, 150000),
	(2, 32, 150000),
	(2, 33, 150000),
	(2, 34, 150000),
	(2, 35, 150000),
	(2, 36, 150000),
	(2, 37, 150000),
	(2, 38, 150000),
	(2, 39, 150000),
	(2, 40, 150000),
	(3, 1, 60000),
	(3, 2, 70000),
	(3, 3, 80000),
	(3, 4, 90000),
	(3, 5, 100000),
	(3, 6, 110000),
	(3, 7, 120000),
	(3, 8, 130000),
	(3, 9, 140000),
	(3, 10, 150000),
	(3, 11, 150000),
	(3, 12, 150000),
	(3, 13, 150000),
	(3, 14, 150000),
	(3, 15, 150000),
	(3, 16, 150000),
	(3, 17, 150000),
	(3, 18, 150000),
	(3, 19, 150000),
	(3, 20, 150000);
INSERT INTO public.run_amount VALUES
	(3, 21, 150000),
	(3, 22, 150000),
	(3, 23, 150000),
	(3, 24, 150000),
	(3, 25, 150000),
	(3, 26, 150000),
	(3, 27, 150000),
	(3, 28, 150000),
	(3, 29, 150000),
	(3, 30, 150000),
	(3, 31, 150000),
	(3, 32, 150000),
	(3, 33, 150000),
	(3, 34, 150000),
	(3, 35, 150000),
	(3, 36, 150000),
	(3, 37, 150000),
	(3, 38, 150000),
	(3, 39, 150000),
	(3, 40, 150000),
	(4, 1, 60000),
	(4, 2, 70000),
	(4, 3, 80000),
	(4, 4, 90000),
	(4, 5, 100000),
	(4, 6, 110000),
	(4, 7, 120000),
	(4, 8, 130000),
	(4, 9, 140000),
	(4, 10, 150000),
	(4, 11, 150000),
	(4, 12, 150000),
	(4, 13, 150000),
	(4, 14, 150000),
	(4, 15, 150000),
	(4, 16, 150000),
	(4, 17, 150000),
	(4, 18, 150000),
	(4, 19, 150000),
	(4, 20, 150000),
	(4, 21, 150000),
	(4, 22, 150000),
	(4, 23, 150000),
	(4, 24, 150000),
	(4, 25, 150000),
	(4, 26, 150000),
	(4, 27, 150000),
	(4, 28, 150000),
	(4, 29, 150000),
	(4, 30, 150000),
	(4, 31, 150000),
	(4, 32, 150000),
	(4, 33, 150000),
	(4, 34, 150000),
	(4, 35, 150000),
	(4, 36, 150000),
	(4, 37, 150000),
	(4, 38, 150000),
	(4, 39, 150000),
	(4, 40, 150000),
	(5, 1, 60000),
	(5, 2, 70000),
	(5, 3, 80000),
	(5, 4, 90000),
	(5, 5, 100000),
	(5, 6, 110000),
	(5, 7, 120000),
	(5, 8, 130000),
	(5, 9, 140000),
	(5, 10, 150000),
	(5, 11, 150000),
	(5, 12, 150000),
	(5, 13, 150000),
	(5, 14, 150000),
	(5, 15, 150000),
	(5, 16, 150000),
	(5, 17, 150000),
	(5, 18, 150000),
	(5, 19, 150000),
	(5, 20, 150000),
	(5, 21, 150000),
	(5, 22, 150000),
	(5, 23, 150000),
	(5, 24, 150000),
	(5, 25, 150000),
	(5, 26, 150000),
	(5, 27, 150000),
	(5, 28, 150000),
	(5, 29, 150000),
	(5, 30, 150000),
	(5, 31, 150000),
	(5, 32, 150000),
	(5, 33, 150000),
	(5, 34, 150000),
	(5, 35, 150000),
	(5, 36, 150000),
	(5, 37, 150000),
	(5, 38, 150000),
	(5, 39, 150000),
	(5, 40, 150000);
INSERT INTO public.run_group VALUES
	(1, 'victim_of_crime', 3, 270000),
	(1, 'disability', 3, 330000),
	(1, 'pregnant', 4, 440000),
	(1, 'single_caregiver', 4, 400000),
	(1, 'mpp_asylum_seeker', 4, 360000),
	(2, 'single_caregiver', 4, 400000),
	(2, 'victim_of_crime', 3, 270000),
	(2, 'disability', 3, 330000),
	(2, 'mpp_asylum_seeker', 4, 360000),
	(2, 'pregnant', 4, 440000),
	(3, 'disability', 1, 90000),
	(3, 'mpp_asylum_seeker', 1, 60000),
	(3, 'pregnant', 1, 80000),
	(3, 'single_caregiver', 1, 70000),
	(3, 'victim_of_crime', 1, 100000),
	(4, 'disability', 1, 90000),
	(4, 'mpp_asylum_seeker', 2, 170000),
	(4, 'pregnant', 1, 80000),
	(4, 'single_caregiver', 2, 190000),
	(4, 'victim_of_crime', 1, 100000),
	(5, 'disability', 2, 230000),
	(5, 'mpp_asylum_seeker', 2, 170000),
	(5, 'pregnant', 2, 210000),
	(5, 'single_caregiver', 2, 190000),
	(5, 'victim_of_crime', 1, 100000);
INSERT INTO public.seal VALUES
	(1, 1, '0000000000000000000000000000000000000000000000000000000000000000', 'ca4fb94e97a9463b8dddbfb7a87eb631bdcc5160cd5ae6742aa0e7e4142a33aa'),
	(2, 2, 'ca4fb94e97a9463b8dddbfb7a87eb631bdcc5160cd5ae6742aa0e7e4142a33aa', 'b2b0140f1ec87da8f01a5f3d115871c6c6cfaa36ef6e07f96bf1919e60797fce'),
	(3, 3, 'b2b0140f1ec87da8f01a5f3d115871c6c6cfaa36ef6e07f96bf1919e60797fce', 'b09cd01bd928b4831b9428b11b41d375951bb412a364c5e1231a9d768a14dacd'),
	(4, 4, 'b09cd01bd928b4831b9428b11b41d375951bb412a364c5e1231a9d768a14dacd', '38764d72333541fc89cfc6126aeaebdaa253cc6518124ad95dfe456dafd14a55'),
	(5, 5, '38764d72333541fc89cfc6126aeaebdaa253cc6518124ad95dfe456dafd14a55', 'ededce45ca102ea401a0d7e460300fb9a1bf2f7f732c2a12c05077c042a305a9'),
	(6, 6, 'ededce45ca102ea401a0d7e460300fb9a1bf2f7f732c2a12c05077c042a305a9', 'd7d90c4c5fb77f35b54b91b929b2f11d24781a5a667b3c3719bf816aeac8f33b'),
	(7, 7, 'd7d90c4c5fb77f35b54b91b929b2f11d24781a5a667b3c3719bf816aeac8f33b', '6b1f8c12ea2edbe0d41f6bcaba0d555a375d0d9eacd17e2fb7cec25de0421d13'),
	(8, 8, '6b1f8c12ea2edbe0d41f6bcaba0d555a375d0d9eacd17e2fb7cec25de0421d13', 'ffa7a13979f5b0a2d5206fdb9d77f52c7b6374668bcf933aee55e417a1a3e065'),
	(9, 9, 'ffa7a13979f5b0a2d5206fdb9d77f52c7b6374668bcf933aee55e417a1a3e065', '5c213fe687d6df4f5afe9cf56fe7e70ad295dfd305493ddd7929fc6e2e2ba502');
INSERT INTO public.sighting VALUES
	('scheduler', 'host-1:7', '2026-11-26 23:36:17.148234+00'),
	('worker', 'host-2:7', '2026-11-26 23:36:17.148234+00');
INSERT INTO public.store VALUES
	('nor-02004-1', 'nor-02004-1', '02004', 'http://127.0.0.1:9/nor-02004-1', true, 1, NULL, 0, NULL),
	('nor-08037-1', 'nor-08037-1', '08037', 'http://127.0.0.1:9/nor-08037-1', true, 1, NULL, 0, NULL),
	('nor-26043-1', 'nor-26043-1', '26043', 'http://127.0.0.1:9/nor-26043-1', true, 1, NULL, 0, NULL),
	('out-02004-1', 'out-02004-1', '02004', 'http://127.0.0.1:9/out-02004-1', true, 1, NULL, 0, NULL);
INSERT INTO public.transfer VALUES
	(1, 'deposit', 1, NULL, NULL, NULL, 1000000000000, 'MXN', '2026-11-26 23:36:15.205344+00'),
	(2, 'reserve', 1, 1, NULL, NULL, 1800000, 'MXN', '2026-11-26 23:36:15.434989+00'),
	(3, 'credit', 1, 1, 1, NULL, 510000, 'MXN', '2026-11-26 23:36:15.541204+00'),
	(4, 'credit', 1, 1, 2, NULL, 600000, 'MXN', '2026-11-26 23:36:15.586156+00'),
	(5, 'credit', 1, 1, 3, NULL, 690000, 'MXN', '2026-11-26 23:36:15.618476+00'),
	(6, 'reserve', 1, 2, NULL, NULL, 1800000, 'MXN', '2026-11-26 23:36:15.974861+00'),
	(7, 'credit', 1, 2, 4, NULL, 210000, 'MXN', '2026-11-26 23:36:16.049384+00'),
	(8, 'credit', 1, 2, 5, NULL, 300000, 'MXN', '2026-11-26 23:36:16.121015+00'),
	(9, 'reserve', 1, 3, NULL, NULL, 400000, 'MXN', '2026-11-26 23:36:16.322926+00'),
	(10, 'credit', 1, 3, 11, NULL, 70000, 'MXN', '2026-11-26 23:36:16.611422+00'),
	(11, 'deposit', 2, NULL, NULL, NULL, 1000000000000, 'MXN', '2026-11-26 23:36:16.778665+00'),
	(12, 'reserve', 2, 5, NULL, NULL, 900000, 'MXN', '2026-11-26 23:36:16.928988+00'),
	(13, 'credit', 2, 5, 16, NULL, 150000, 'MXN', '2026-11-26 23:36:17.102194+00');
INSERT INTO public.voucher VALUES
	(10000001, 1, 1),
	(10000002, 1, 1),
	(10000003, 1, 1),
	(10000004, 1, 1),
	(10000005, 1, 1),
	(10000006, 1, 1),
	(10000007, 2, 1),
	(10000008, 2, 1),
	(10000009, 2, 1),
	(10000010, 2, 1),
	(10000011, 2, 1),
	(10000012, 2, 1),
	(10000013, 3, 1),
	(10000014, 3, 1),
	(10000015, 3, 1),
	(10000016, 3, 1),
	(10000017, 3, 1),
	(10000018, 3, 1),
	(20000001, 4, 1),
	(20000002, 4, 1),
	(20000003, 4, 1),
	(20000004, 5, 1),
	(20000005, 5, 1),
	(20000006, 5, 1),
	(30000002, 11, 1),
	(50000002, 16, 1),
	(50000003, 16, 1);
SELECT pg_catalog.setval('public.batch_id_seq', 18, true);
SELECT pg_catalog.setval('public.cases_id_seq', 2, true);
SELECT pg_catalog.setval('public.fund_id_seq', 2, true);
SELECT pg_catalog.setval('public.household_id_seq', 39, true);
SELECT pg_catalog.setval('public.intent_id_seq', 4, true);
SELECT pg_catalog.setval('public.journal_id_seq', 25, true);
SELECT pg_catalog.setval('public.notice_id_seq', 1, true);
SELECT pg_catalog.setval('public.programme_id_seq', 2, true);
SELECT pg_catalog.setval('public.run_id_seq', 5, true);
SELECT pg_catalog.setval('public.transfer_id_seq', 13, true);
ALTER TABLE ONLY public.alembic_version
    ADD CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num);
ALTER TABLE ONLY public.answer
    ADD CONSTRAINT pk_answer PRIMARY KEY (intent_id);
ALTER TABLE ONLY public.batch
    ADD CONSTRAINT pk_batch PRIMARY KEY (id);
ALTER TABLE ONLY public.cases
    ADD CONSTRAINT pk_cases PRIMARY KEY (id);
ALTER TABLE ONLY public.disbursement
    ADD CONSTRAINT pk_disbursement PRIMARY KEY (id);
ALTER TABLE ONLY public.enrolment
    ADD CONSTRAINT pk_enrolment PRIMARY KEY (programme_id, household_id);
ALTER TABLE ONLY public.exchange_rate
    ADD CONSTRAINT pk_exchange_rate PRIMARY KEY (programme_id, cycle);
ALTER TABLE ONLY public.expected_slot
    ADD CONSTRAINT pk_expected_slot PRIMARY KEY (programme_id, location_code, cycle);
ALTER TABLE ONLY public.fund
    ADD CONSTRAINT pk_fund PRIMARY KEY (id);
ALTER TABLE ONLY public.household
    ADD CONSTRAINT pk_household PRIMARY KEY (id);
ALTER TABLE ONLY public.intent
    ADD CONSTRAINT pk_intent PRIMARY KEY (id);
ALTER TABLE ONLY public.issuer
    ADD CONSTRAINT pk_issuer PRIMARY KEY (programme_id);
ALTER TABLE ONLY public.journal
    ADD CONSTRAINT pk_journal PRIMARY KEY (id);
ALTER TABLE ONLY public.journal_head
    ADD CONSTRAINT pk_journal_head PRIMARY KEY (id);
ALTER TABLE ONLY public.location
    ADD CONSTRAINT pk_location PRIMARY KEY (code);
ALTER TABLE ONLY public.notice
    ADD CONSTRAINT pk_notice PRIMARY KEY (id);
ALTER TABLE ONLY public.programme
    ADD CONSTRAINT pk_programme PRIMARY KEY (id);
ALTER TABLE ONLY public.programme_location
    ADD CONSTRAINT pk_programme_location PRIMARY KEY (programme_id, location_code);
ALTER TABLE ONLY public.run
    ADD CONSTRAINT pk_run PRIMARY KEY (id);
ALTER TABLE ONLY public.run_amount
    ADD CONSTRAINT pk_run_amount PRIMARY KEY (run_id, members);
ALTER TABLE ONLY public.run_group
    ADD CONSTRAINT pk_run_group PRIMARY KEY (run_id, group_code);
ALTER TABLE ONLY public.seal
    ADD CONSTRAINT pk_seal PRIMARY KEY (seq);
ALTER TABLE ONLY public.sighting
    ADD CONSTRAINT pk_sighting PRIMARY KEY (role, instance);
ALTER TABLE ONLY public.store
    ADD CONSTRAINT pk_store PRIMARY KEY (id);
ALTER TABLE ONLY public.transfer
    ADD CONSTRAINT pk_transfer PRIMARY KEY (id);
ALTER TABLE ONLY public.voucher
    ADD CONSTRAINT pk_voucher PRIMARY KEY (id);
ALTER TABLE ONLY public.disbursement
    ADD CONSTRAINT uq_disbursement_programme_id_cycle_household_id UNIQUE (programme_id, cycle, household_id);
ALTER TABLE ONLY public.fund
    ADD CONSTRAINT uq_fund_programme_id_code UNIQUE (programme_id, code);
ALTER TABLE ONLY public.fund
    ADD CONSTRAINT uq_fund_programme_id_position UNIQUE (programme_id, "position");
ALTER TABLE ONLY public.household
    ADD CONSTRAINT uq_household_registration_id UNIQUE (registration_id);
ALTER TABLE ONLY public.notice
    ADD CONSTRAINT uq_notice_run_id_store_id_number UNIQUE (run_id, store_id, number);
ALTER TABLE ONLY public.notice
    ADD CONSTRAINT uq_notice_webhook_id UNIQUE (webhook_id);
ALTER TABLE ONLY public.programme
    ADD CONSTRAINT uq_programme_code UNIQUE (code);
ALTER TABLE ONLY public.run
    ADD CONSTRAINT uq_run_programme_id_location_code_cycle_part UNIQUE (programme_id, location_code, cycle, part);
ALTER TABLE ONLY public.seal
    ADD CONSTRAINT uq_seal_journal_id UNIQUE (journal_id);
ALTER TABLE ONLY public.seal
    ADD CONSTRAINT uq_seal_prev_hash UNIQUE (prev_hash);
CREATE INDEX ix_batch_open ON public.batch USING btree (run_id, id) WHERE (state = 'open'::text);
CREATE INDEX ix_batch_run_id ON public.batch USING btree (run_id, first_id);
CREATE INDEX ix_cases_disbursement_id ON public.cases USING btree (disbursement_id);
CREATE INDEX ix_cases_run_id ON public.cases USING btree (run_id, state);
CREATE INDEX ix_household_location_code ON public.household USING btree (location_code);
CREATE INDEX ix_intent_disbursement_id ON public.intent USING btree (disbursement_id);
CREATE INDEX ix_journal_run_id ON public.journal USING btree (run_id);
CREATE INDEX ix_notice_due ON public.notice USING btree (id) WHERE (state = 'due'::text);
CREATE INDEX ix_notice_store_id ON public.notice USING btree (store_id);
CREATE INDEX ix_run_state ON public.run USING btree (state);
CREATE INDEX ix_store_location_code ON public.store USING btree (location_code);
CREATE INDEX ix_transfer_fund_id ON public.transfer USING btree (fund_id);
CREATE INDEX ix_transfer_run_id ON public.transfer USING btree (run_id);
CREATE UNIQUE INDEX uq_cases_open ON public.cases USING btree (disbursement_id) WHERE (state = 'open'::text);
CREATE UNIQUE INDEX uq_transfer_credit_batch_id ON public.transfer USING btree (batch_id) WHERE ((kind = 'credit'::text) AND (batch_id IS NOT NULL));
CREATE TRIGGER answer_refuses_change BEFORE DELETE OR UPDATE OR TRUNCATE ON public.answer FOR EACH STATEMENT EXECUTE FUNCTION public.refuse_change();
CREATE TRIGGER disbursement_refuses_change BEFORE UPDATE OR TRUNCATE ON public.disbursement FOR EACH STATEMENT EXECUTE FUNCTION public.refuse_change();
CREATE TRIGGER disbursement_refuses_delete AFTER DELETE ON public.disbursement REFERENCING OLD TABLE AS gone FOR EACH STATEMENT EXECUTE FUNCTION public.refuse_delete_of_released();
CREATE TRIGGER disbursement_require_households_at_insert AFTER INSERT ON public.disbursement REFERENCING NEW TABLE AS added FOR EACH STATEMENT EXECUTE FUNCTION public.require_households();
CREATE TRIGGER enrolment_refuses_another_key BEFORE UPDATE OF programme_id, household_id ON public.enrolment FOR EACH STATEMENT EXECUTE FUNCTION public.refuse_change();
CREATE TRIGGER enrolment_require_households_at_insert AFTER INSERT ON public.enrolment REFERENCING NEW TABLE AS added FOR EACH STATEMENT EXECUTE FUNCTION public.require_households();
CREATE TRIGGER enrolment_require_programmes_at_insert AFTER INSERT ON public.enrolment REFERENCING NEW TABLE AS added FOR EACH STATEMENT EXECUTE FUNCTION public.require_programmes();
CREATE TRIGGER household_refuses_another_id BEFORE UPDATE OF id ON public.household FOR EACH STATEMENT EXECUTE FUNCTION public.refuse_change();
CREATE TRIGGER household_refuses_delete BEFORE DELETE OR TRUNCATE ON public.household FOR EACH STATEMENT EXECUTE FUNCTION public.refuse_delete();
CREATE TRIGGER household_require_locations_at_insert AFTER INSERT ON public.household REFERENCING NEW TABLE AS added FOR EACH STATEMENT EXECUTE FUNCTION public.require_locations();
CREATE TRIGGER household_require_locations_at_update AFTER UPDATE ON public.household REFERENCING NEW TABLE AS added FOR EACH STATEMENT EXECUTE FUNCTION public.require_locations();
CREATE TRIGGER intent_refuses_change BEFORE DELETE OR UPDATE OR TRUNCATE ON public.intent FOR EACH STATEMENT EXECUTE FUNCTION public.refuse_change();
CREATE TRIGGER journal_refuses_change BEFORE DELETE OR UPDATE OR TRUNCATE ON public.journal FOR EACH STATEMENT EXECUTE FUNCTION public.refuse_change();
CREATE TRIGGER location_refuses_another_code BEFORE UPDATE OF code ON public.location FOR EACH STATEMENT EXECUTE FUNCTION public.refuse_change();
CREATE TRIGGER location_refuses_delete BEFORE DELETE OR TRUNCATE ON public.location FOR EACH STATEMENT EXECUTE FUNCTION public.refuse_delete();
CREATE TRIGGER programme_refuses_another_id BEFORE UPDATE OF id ON public.programme FOR EACH STATEMENT EXECUTE FUNCTION public.refuse_change();
CREATE TRIGGER programme_refuses_delete BEFORE DELETE OR TRUNCATE ON public.programme FOR EACH STATEMENT EXECUTE FUNCTION public.refuse_delete();
CREATE TRIGGER run_stays_released BEFORE UPDATE OF state ON public.run FOR EACH ROW WHEN (((old.state <> ALL (ARRAY['planned'::text, 'approved'::text])) AND (new.state = ANY (ARRAY['planned'::text, 'approved'::text])))) EXECUTE FUNCTION public.refuse_change();
CREATE TRIGGER seal_refuses_change BEFORE DELETE OR UPDATE OR TRUNCATE ON public.seal FOR EACH STATEMENT EXECUTE FUNCTION public.refuse_change();
CREATE TRIGGER transfer_refuses_change BEFORE DELETE OR UPDATE OR TRUNCATE ON public.transfer FOR EACH STATEMENT EXECUTE FUNCTION public.refuse_change();
CREATE TRIGGER voucher_refuses_change BEFORE DELETE OR UPDATE OR TRUNCATE ON public.voucher FOR EACH STATEMENT EXECUTE FUNCTION public.refuse_change();
CREATE TRIGGER voucher_require_lines_at_insert AFTER INSERT ON public.voucher REFERENCING NEW TABLE AS added FOR EACH STATEMENT EXECUTE FUNCTION public.require_lines();
ALTER TABLE ONLY public.answer
    ADD CONSTRAINT fk_answer_intent_id FOREIGN KEY (intent_id) REFERENCES public.intent(id);
ALTER TABLE ONLY public.batch
    ADD CONSTRAINT fk_batch_fund_id FOREIGN KEY (fund_id) REFERENCES public.fund(id);
ALTER TABLE ONLY public.batch
    ADD CONSTRAINT fk_batch_run_id FOREIGN KEY (run_id) REFERENCES public.run(id);
ALTER TABLE ONLY public.cases
    ADD CONSTRAINT fk_cases_disbursement_id FOREIGN KEY (disbursement_id) REFERENCES public.disbursement(id);
ALTER TABLE ONLY public.cases
    ADD CONSTRAINT fk_cases_fund_id FOREIGN KEY (fund_id) REFERENCES public.fund(id);
ALTER TABLE ONLY public.cases
    ADD CONSTRAINT fk_cases_run_id FOREIGN KEY (run_id) REFERENCES public.run(id);
ALTER TABLE ONLY public.exchange_rate
    ADD CONSTRAINT fk_exchange_rate_programme_id FOREIGN KEY (programme_id) REFERENCES public.programme(id);
ALTER TABLE ONLY public.expected_slot
    ADD CONSTRAINT fk_expected_slot_location_code FOREIGN KEY (location_code) REFERENCES public.location(code);
ALTER TABLE ONLY public.expected_slot
    ADD CONSTRAINT fk_expected_slot_programme_id FOREIGN KEY (programme_id) REFERENCES public.programme(id);
ALTER TABLE ONLY public.fund
    ADD CONSTRAINT fk_fund_programme_id FOREIGN KEY (programme_id) REFERENCES public.programme(id);
ALTER TABLE ONLY public.intent
    ADD CONSTRAINT fk_intent_batch_id FOREIGN KEY (batch_id) REFERENCES public.batch(id);
ALTER TABLE ONLY public.intent
    ADD CONSTRAINT fk_intent_disbursement_id FOREIGN KEY (disbursement_id) REFERENCES public.disbursement(id);
ALTER TABLE ONLY public.issuer
    ADD CONSTRAINT fk_issuer_programme_id FOREIGN KEY (programme_id) REFERENCES public.programme(id);
ALTER TABLE ONLY public.notice
    ADD CONSTRAINT fk_notice_run_id FOREIGN KEY (run_id) REFERENCES public.run(id);
ALTER TABLE ONLY public.notice
    ADD CONSTRAINT fk_notice_store_id FOREIGN KEY (store_id) REFERENCES public.store(id);
ALTER TABLE ONLY public.programme_location
    ADD CONSTRAINT fk_programme_location_location_code FOREIGN KEY (location_code) REFERENCES public.location(code);
ALTER TABLE ONLY public.programme_location
    ADD CONSTRAINT fk_programme_location_programme_id FOREIGN KEY (programme_id) REFERENCES public.programme(id);
ALTER TABLE ONLY public.run_amount
    ADD CONSTRAINT fk_run_amount_run_id FOREIGN KEY (run_id) REFERENCES public.run(id);
ALTER TABLE ONLY public.run_group
    ADD CONSTRAINT fk_run_group_run_id FOREIGN KEY (run_id) REFERENCES public.run(id);
ALTER TABLE ONLY public.run
    ADD CONSTRAINT fk_run_location_code FOREIGN KEY (location_code) REFERENCES public.location(code);
ALTER TABLE ONLY public.run
    ADD CONSTRAINT fk_run_programme_id FOREIGN KEY (programme_id) REFERENCES public.programme(id);
ALTER TABLE ONLY public.seal
    ADD CONSTRAINT fk_seal_journal_id FOREIGN KEY (journal_id) REFERENCES public.journal(id);
ALTER TABLE ONLY public.store
    ADD CONSTRAINT fk_store_location_code FOREIGN KEY (location_code) REFERENCES public.location(code);
ALTER TABLE ONLY public.transfer
    ADD CONSTRAINT fk_transfer_batch_id FOREIGN KEY (batch_id) REFERENCES public.batch(id);
ALTER TABLE ONLY public.transfer
    ADD CONSTRAINT fk_transfer_case_id FOREIGN KEY (case_id) REFERENCES public.cases(id);
ALTER TABLE ONLY public.transfer
    ADD CONSTRAINT fk_transfer_fund_id FOREIGN KEY (fund_id) REFERENCES public.fund(id);
ALTER TABLE ONLY public.transfer
    ADD CONSTRAINT fk_transfer_run_id FOREIGN KEY (run_id) REFERENCES public.run(id);
