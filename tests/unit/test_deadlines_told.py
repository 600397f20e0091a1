"""What operators are told of time-outs is what they are: a number stands in the text and in one constant."""

import re
from pathlib import Path

import pytest

from models.deadlines import (
    DATABASE_S,
    IDLE_S,
    ISSUER_CALL_S,
    LEASE_S,
    LOCK_S,
    REDIS_S,
    SCAN_S,
    SHUTDOWN_S,
    SILENCE_S,
    STATEMENT_S,
    STOP_S,
    STORE_CALL_S,
)
from models.doubts import PROCESSING, SEND_LAG
from workers.issuers.slots import BREAKER_OPEN

ROOT = Path(__file__).parents[2]
LAST_WORD_S = int((SEND_LAG + PROCESSING).total_seconds())
BREAKER_OPEN_S = int(BREAKER_OPEN.total_seconds())


@pytest.mark.parametrize(
    ("file", "told"),
    [
        ("RUNBOOK.md", f"what is held is finished or put back, within {SHUTDOWN_S} s."),
        ("RUNBOOK.md", f"(systemd: `TimeoutStopSec={STOP_S}`; Kubernetes: `terminationGracePeriodSeconds: {STOP_S}`)"),
        ("RUNBOOK.md", f"loses nothing but a lease of {LEASE_S} s"),
        ("RUNBOOK.md", f"leaves the one at work after {LEASE_S} s"),
        ("RUNBOOK.md", f"holds its batch for {LEASE_S} s at most"),
        ("RUNBOOK.md", f"{LAST_WORD_S} s after the last send"),
        ("RUNBOOK.md", f"Nobody calls the issuer for {BREAKER_OPEN_S} s"),
        ("RUNBOOK.md", f"| a statement that the server does not answer | {DATABASE_S} s |"),
        ("RUNBOOK.md", f"| an idle transaction, at the server | {IDLE_S} s |"),
        ("RUNBOOK.md", f"user time-out), on both sides | {SILENCE_S} s |"),
        ("RUNBOOK.md", f"one that it was planning, for {SILENCE_S} s."),
        ("RUNBOOK.md", f"wait for a lock; a statement, at the server | {LOCK_S} s; {STATEMENT_S} s |"),
        ("GUARANTEES.md", f"a statement is given up after {DATABASE_S} s"),
        ("GUARANTEES.md", f"look for latecomers after {SCAN_S + DATABASE_S} s"),
        ("GUARANTEES.md", f"a Redis command after {REDIS_S} s"),
        ("GUARANTEES.md", f"a call to an issuer after {ISSUER_CALL_S} s, to a store after {STORE_CALL_S} s"),
        ("GUARANTEES.md", f"A lease lasts {LEASE_S} s."),
        ("GUARANTEES.md", f"ends within {SHUTDOWN_S} s whatever is frozen"),
        ("GUARANTEES.md", f"at least {LAST_WORD_S} s after the last send"),
        ("GUARANTEES.md", f"it is left alone for {BREAKER_OPEN_S} s at a time"),
    ],
)
def test_text_tells_the_number_of_the_constant(file: str, told: str) -> None:
    assert told in " ".join((ROOT / "deploy" / file).read_text().split())


def test_whoever_stops_a_service_waits_as_long_everywhere() -> None:
    """In the runbook, and in units and manifests once there are any."""
    texts = [path.read_text() for path in (ROOT / "deploy").rglob("*") if path.is_file() and path.suffix != ".png"]
    stated = re.findall(r"(?:TimeoutStopSec|terminationGracePeriodSeconds)\s*[=:]\s*(\d+)", "\n".join(texts))

    assert set(stated) == {str(STOP_S)}
