"""An example line of every event: a month of Tijuana, as a worker and two schedulers would have told it.

Values come from one table by field name; each event's row has what is its own. Business events are sealed in the order
of the table, so that the examples together are a log whose chain holds from its first line: tools are tried on it.
"""

from __future__ import annotations

from dataclasses import fields

from models.events import CATALOGUE, Event, Journalled
from models.journal import GENESIS, Writer, chain_hash, line

Value = int | str | bool | None
Line = dict[str, Value]

VERSION = "0.1.0"
SCHEDULER = Writer("despensa-scheduler", VERSION, "host-a:1204")
WORKER = Writer("despensa-worker", VERSION, "host-b:412")
COMMAND = Writer("despensa", VERSION, "host-a:2310")

#: What a field holds where its event has nothing else to say. Identifiers are invented, amounts are minor units.
VALUES: dict[str, Value] = {
    "run_id": 1,
    "run": "2026-12/02004",
    "programme": "northern-mexico",
    "location": "02004",
    "location_name": "Tijuana",
    "time_zone": "America/Tijuana",
    "cycle": "2026-12",
    "part": 1,
    "opens_at": "2026-12-01T17:00:00.000000Z",
    "late": False,
    "planned": 298,
    "planned_minor": 247_042_000,
    "currency": "MXN",
    "batches": 1,
    "held_elsewhere": 0,
    "digest": "5b0c3d1f6f5f0a0e6a0d8f7f2b3a9c4e1d7b8a6c5e4f3d2c1b0a9f8e7d6c5b4a",
    "operator": "ops-ana",
    "approvals": 1,
    "first_operator": "",
    "rate_millionths": 17_500_000,
    "batch_id": 1,
    "first_id": 10_000_001,
    "last_id": 10_000_298,
    "credited": 297,
    "credited_minor": 246_213_000,
    "case_id": 1,
    "disbursement_id": 10_000_117,
    "amount_minor": 829_000,
    "cases": 1,
    "notice_id": 1,
    "store": "TIJ-01",
    "number": 1,
    "vouchers": 297,
    "notices": 2,
    "attempt": 1,
    "attempts": 1,
    "not_owed": 0,
    "error": "OperationalError 08006",
    "sqlstate": "08006",
    "constraint": "",
    "actor": "credit_batch",
    "message_id": "6f1f0c9e-7f0d-4f0e-9a55-3a1f2c0b9d11",
    "subject_id": 1,
    "failures": 5,
    "until": "2026-12-01T17:12:30.000000Z",
    "file_digest": "c0ffee11d5a3b4f6978890a1b2c3d4e5f60718293a4b5c6d7e8f90a1b2c3d4e5",
}

#: Every event in the order of the story: when, who wrote its line, and what is its own.
STORY: dict[str, tuple[str, Writer, dict[str, Value]]] = {
    "file.imported": ("2026-11-20T18:04:11.480213Z", COMMAND, {
        "kind": "households", "added": 298, "changed": 0, "unchanged": 0,
    }),
    "fund.deposited": ("2026-11-20T18:04:12.011850Z", COMMAND, {
        "fund": "fund-a", "amount_minor": 1_000_000_000, "balance_minor": 1_000_000_000,
    }),
    "fund.restricted": ("2026-11-20T18:04:12.013377Z", COMMAND, {
        "fund": "fund-b", "locations": "02004 08037", "groups": 0, "capped": True, "cycle_max_minor": 150_000_000,
    }),
    "programme.capped": ("2026-11-20T18:04:12.204951Z", COMMAND, {"capped": True, "cycle_max_minor": 600_000_000}),
    "secret.rotated": ("2026-11-21T16:30:00.250417Z", COMMAND, {
        "store": "TIJ-02", "version": 2, "previous_until": "2026-11-28T16:30:00.250417Z",
    }),
    "key.made": ("2026-11-22T16:30:00.318206Z", COMMAND, {
        "kind": "pin", "version": 2, "fingerprint": "9b1f0c7e52a4d386",
    }),
    "key.retired": ("2026-11-22T16:31:12.007914Z", COMMAND, {"kind": "webhook", "version": 1}),
    "slot.expected": ("2026-11-24T17:00:03.118402Z", SCHEDULER, {
        "opens_local": "2026-12-01T09:00-08:00", "families": 298, "amount_minor": 247_042_000, "blocked": "",
    }),
    "run.discarded": ("2026-11-25T17:20:45.902144Z", SCHEDULER, {
        "run_id": 2, "run": "2026-12/26043", "location": "26043", "planned": 96, "planned_minor": 79_584_000,
    }),
    "scheduler.seen": ("2026-12-01T16:59:41.000318Z", SCHEDULER, {
        "schedulers": "host-a:1204 host-c:977", "workers": "host-b:412",
    }),
    "worker.seen": ("2026-12-01T16:59:52.731006Z", WORKER, {}),
    "run.planned": ("2026-12-01T17:00:02.204981Z", SCHEDULER, {"operator": "despensa"}),
    "run.blocked": ("2026-12-01T17:00:02.611730Z", SCHEDULER, {
        "blocked": "approval", "required_minor": 247_042_000, "available_minor": 1_000_000_000, "shortfall_minor": 0,
    }),
    "run.first_approved": ("2026-12-01T17:03:40.511920Z", SCHEDULER, {"operator": "luz"}),
    "run.approved": ("2026-12-01T17:04:19.067552Z", SCHEDULER, {
        "approval": "person", "approvals": 2, "first_operator": "luz",
    }),
    "run.released": ("2026-12-01T17:04:20.330671Z", SCHEDULER, {"operator": "despensa"}),
    "attempt.failed": ("2026-12-01T17:04:21.915270Z", WORKER, {"given_back": True, "duration_ms": 840}),
    "tick.failed": ("2026-12-01T17:04:22.004616Z", SCHEDULER, {"step": "dispatch"}),
    "broker.unreachable": ("2026-12-01T17:04:52.733915Z", WORKER, {"error": "ConnectionError"}),
    "batch.stuck": ("2026-12-01T17:09:22.107344Z", WORKER, {"since": "2026-12-01T17:04:21.915270Z"}),
    "run.paused": ("2026-12-01T17:09:30.412098Z", SCHEDULER, {"reason": "the database's disk is full"}),
    "run.resumed": ("2026-12-01T17:15:02.780113Z", SCHEDULER, {}),
    "worker.failed": ("2026-12-01T17:15:03.020544Z", WORKER, {"thread": "consumer"}),
    "message.quarantined": ("2026-12-01T17:15:04.455010Z", WORKER, {
        "digest": "0d4f3c2b1a09f8e7d6c5b4a3928170f6e5d4c3b2a1908f7e6d5c4b3a29180706", "rule": "not JSON",
    }),
    "batch.split": ("2026-12-01T17:15:33.118761Z", SCHEDULER, {"parts": 32, "error": "IntegrityError 23514"}),
    "attempt.finished": ("2026-12-01T17:15:34.552310Z", WORKER, {
        "subject_id": 2, "outcome": "credited", "duration_ms": 37,
    }),
    "batch.credited": ("2026-12-01T17:15:34.549907Z", SCHEDULER, {
        "batch_id": 2, "last_id": 10_000_010, "credited": 10, "credited_minor": 8_290_000,
    }),
    "case.opened": ("2026-12-01T17:16:40.903328Z", SCHEDULER, {
        "reason": "dead", "attempts": 2, "next_attempt_at": "", "error": "IntegrityError 23514",
    }),
    "run.completed": ("2026-12-01T17:16:41.220069Z", SCHEDULER, {"state": "completed_with_cases"}),
    "notice.created": ("2026-12-01T17:16:41.220069Z", SCHEDULER, {"amount_minor": 246_213_000}),
    "run.reconciled": ("2026-12-01T17:16:41.391114Z", SCHEDULER, {}),
    "notice.delivered": ("2026-12-01T17:16:42.008145Z", SCHEDULER, {}),
    "store.failed": ("2026-12-01T17:16:47.331870Z", WORKER, {
        "store": "TIJ-02", "notice_id": 2, "error": "http 503", "next_attempt_at": "2026-12-01T17:16:57.331870Z",
    }),
    "store.suspended": ("2026-12-01T17:18:20.118003Z", WORKER, {
        "store": "TIJ-02", "until": "2026-12-01T17:23:20.118003Z",
    }),
    "notice.undelivered": ("2026-12-02T17:31:08.674490Z", SCHEDULER, {
        "store": "TIJ-02", "notice_id": 2, "attempts": 12, "error": "http 503",
    }),
    "notice.resent": ("2026-12-03T16:02:55.190246Z", SCHEDULER, {"store": "TIJ-02", "notice_id": 2}),
    "store.resumed": ("2026-12-03T16:02:56.377115Z", WORKER, {"store": "TIJ-02"}),
    "books.reconciled": ("2026-12-03T16:05:11.640902Z", SCHEDULER, {"differences": 0, "duration_ms": 412}),
    "run.retried": ("2026-12-03T16:10:00.014682Z", SCHEDULER, {"state": "released", "reserved_minor": 829_000}),
    "batch.retried": ("2026-12-03T16:10:00.014682Z", SCHEDULER, {
        "batch_id": 34, "first_id": 10_000_117, "last_id": 10_000_117,
    }),
    "issuer.suspended": ("2026-12-03T16:20:31.550329Z", WORKER, {
        "programme": "shelters", "failures": 3, "until": "2026-12-03T16:20:51.550329Z",
    }),
    "issuer.resumed": ("2026-12-03T16:20:52.104836Z", WORKER, {"programme": "shelters"}),
    "case.resolved": ("2026-12-04T15:41:27.839902Z", SCHEDULER, {
        "case_id": 2, "reason": "dead", "outcome": "paid", "credited": 1, "credited_minor": 829_000, "notices": 2,
    }),
    "vouchers.exported": ("2026-12-04T15:45:12.664118Z", SCHEDULER, {"vouchers": 298}),
    "certificate.created": ("2026-12-04T16:10:03.902517Z", COMMAND, {
        "state": "completed", "credited": 298, "credited_minor": 247_042_000, "cases": 0, "as_of_seq": 24,
        "key_version": 1,
    }),
    "run.stopped": ("2026-12-05T18:00:09.440773Z", SCHEDULER, {
        "run_id": 3, "run": "2026-12/08037", "location": "08037",
    }),
    "run.cancelled": ("2026-12-05T18:00:24.951206Z", SCHEDULER, {
        "run_id": 3, "run": "2026-12/08037", "location": "08037", "cases": 41, "returned_minor": 33_989_000,
    }),
    "database.restored": ("2026-12-05T18:20:00.500316Z", COMMAND, {
        "kept_seq": 25, "forgotten_seq": 25,
        "forgotten_hash": "f61c8f7f03f3dd67cba31b1eb1b4bb1d3c5fd56a7b45ed3b0d2b6b6bbf2b3f0e",
        "forgotten_from": "2026-12-01T17:16:41.220069Z", "forgotten_cycle": "2026-12", "missing": 0, "lost_runs": 1,
        "lost_vouchers": 41, "paused_runs": 1, "discarded_runs": 0,
        "held_cases": 0,
    }),
    "run.lost": ("2026-12-05T18:20:00.500316Z", COMMAND, {
        "run_id": 4, "run": "2026-12/28027", "location": "28027", "planned": 41, "planned_minor": 33_989_000,
        "credited": 41, "credited_minor": 33_989_000, "halted": False, "disowned_by": "", "exported": 1,
        "file_digests": "c0ffee11d5a3b4f6978890a1b2c3d4e5f60718293a4b5c6d7e8f90a1b2c3d4e5",
    }),
    "run.remembered": ("2026-12-05T18:20:00.500316Z", COMMAND, {
        "run_id": 5, "run": "2026-12/28022", "location": "28022", "released": True, "halted": True, "credited": 12,
        "credited_minor": 9_948_000, "exported": 0,
    }),
    "run.recovered": ("2026-12-05T18:41:07.118250Z", COMMAND, {
        "run_id": 4, "run": "2026-12/28027", "location": "28027", "vouchers": 41, "amount_minor": 33_989_000,
        "files": 1,
    }),
    "run.disowned": ("2026-12-05T18:44:51.620483Z", COMMAND, {
        "run_id": 6, "run": "2026-12/05025", "location": "05025", "credited": 8, "credited_minor": 6_632_000,
        "exported": 0,
    }),
    "database.saved": ("2026-12-05T19:00:00.114530Z", COMMAND, {
        "file": "despensa-3f9a1c2b-20261205T190000Z-0006.dump", "bytes": 48_219_776, "head_seq": 27,
    }),
    "run.disagreed": ("2026-12-05T19:05:11.870021Z", SCHEDULER, {"differences": 1, "checks": "reserves"}),
    "books.disagreed": ("2026-12-05T19:05:12.008416Z", SCHEDULER, {"differences": 1, "checks": "reserves"}),
    "database.held": ("2026-12-05T19:20:00.310275Z", SCHEDULER, {
        "reason": "its journal ends at 20, and was at 27 already: it was restored, or lost its end", "head_seq": 20,
        "kept_seq": 27,
    }),
    "conflict.found": ("2026-12-06T17:04:11.480213Z", COMMAND, {
        "conflicts": 2, "first_conflict_id": 1, "last_conflict_id": 2,
    }),
    "conflict.decided": ("2026-12-06T17:30:40.117502Z", COMMAND, {
        "conflict_id": 1, "decision": "different", "outcome": "",
    }),
    "statement.imported": ("2027-01-04T16:20:31.004127Z", COMMAND, {
        "statement_id": 3, "from_at": "2026-12-01T00:00:00.000000Z", "to_at": "2027-01-01T00:00:00.000000Z",
        "lines": 12, "credits": 12, "credited_minor": 3_450_000, "reversals": 0, "reversed_minor": 0, "added": 12,
        "restated": 0, "dropped": 0,
    }),
    "difference.opened": ("2027-01-04T16:20:31.004127Z", COMMAND, {
        "statement_id": 3, "reason": "unknown_to_them", "differences": 1, "first_difference_id": 7,
        "last_difference_id": 7,
    }),
    "difference.closed": ("2027-01-11T17:02:09.530018Z", COMMAND, {
        "reason": "unknown_to_them", "differences": 1, "first_difference_id": 7, "last_difference_id": 7,
        "closed": "person",
    }),
    "household.reduced": ("2029-03-02T06:01:14.330871Z", SCHEDULER, {"households": 212}),
}  # fmt: skip


def example_of(kind: type[Event]) -> Line:
    """The example line of an event. Raises LookupError naming what the tables above lack."""
    if kind.NAME not in STORY:
        raise LookupError(f"{kind.NAME} has no example: give it a row in STORY of console/log_examples.py")
    return examples()[kind.NAME]


def examples() -> dict[str, Line]:
    """Every example by its event, in the order of the story; business events are chained."""
    lines: dict[str, Line] = {}
    seq, prev_hash = 0, GENESIS
    for name, (timestamp, writer, own) in STORY.items():
        kind = CATALOGUE[name]
        values = _values(kind, own)
        head = line(name, timestamp=timestamp, level=kind.LEVEL, writer=writer)
        lines[name] = {**head, **values}
        if issubclass(kind, Journalled):
            seq += 1
            prev_hash = chain_hash(prev_hash, seq=seq, event=name, timestamp=timestamp, fields=values)
            lines[name] |= {"seq": seq, "hash": prev_hash}
    return lines


def _values(kind: type[Event], own: Line) -> Line:
    names = [each.name for each in fields(kind)]
    for name in own:
        if name not in names:
            raise LookupError(f"{kind.NAME} has no field `{name}`: take it out of STORY")
    for name in names:
        if name not in own and name not in VALUES:
            raise LookupError(f"{kind.NAME}.{name} has no example value: add it to VALUES or to its row in STORY")
    return {name: own.get(name, VALUES.get(name)) for name in names}
