"""What a waiting command tells the shell: of several outcomes, the first of the design's list."""

from datetime import UTC, datetime, timedelta

import pytest

from models.errors import BooksDisagree, BrokerUnreachable, DespensaError, Exit, FundTooSmall, Misconfigured
from scheduler.follow import _exit_code, _settled, exit_of, first_of

NOW = datetime(2026, 12, 1, 20, tzinfo=UTC)


@pytest.mark.parametrize(
    ("codes", "first"),
    [
        ([], Exit.DONE),
        ([Exit.DONE, Exit.WITH_CASES], Exit.WITH_CASES),
        ([Exit.WITH_CASES, Exit.WAITING_FOR_APPROVAL], Exit.WAITING_FOR_APPROVAL),
        ([Exit.WAITING_FOR_APPROVAL, Exit.PAUSED_OR_CANCELLED], Exit.PAUSED_OR_CANCELLED),
        ([Exit.PAUSED_OR_CANCELLED, Exit.FAILED], Exit.FAILED),
        ([Exit.FAILED, Exit.NO_BROKER], Exit.NO_BROKER),
        ([Exit.NO_BROKER, Exit.NO_DATABASE], Exit.NO_DATABASE),
        ([Exit.NO_DATABASE, Exit.BOOKS_DISAGREE], Exit.BOOKS_DISAGREE),
        ([Exit.MISUSED], Exit.FAILED),
    ],
)
def test_first_of_several_outcomes_is_the_commands(codes: list[Exit], first: Exit) -> None:
    assert first_of(codes) == first
    assert first_of(codes[::-1]) == first


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (FundTooSmall(run="r", required_minor=2, available_minor=1, currency="MXN"), Exit.FAILED),
        (Misconfigured("there is no rate"), Exit.FAILED),
        (BrokerUnreachable("gone", cause="ConnectionError"), Exit.NO_BROKER),
        (BooksDisagree("lines"), Exit.BOOKS_DISAGREE),
    ],
)
def test_errors_of_a_tick_become_an_exit_code(error: DespensaError, code: Exit) -> None:
    assert exit_of([error]) == code


@pytest.mark.parametrize(
    ("state", "blocked", "ahead", "settled", "code"),
    [
        ("planned", "", False, False, Exit.FAILED),
        ("planned", "approval: the programme asks for a person", False, True, Exit.WAITING_FOR_APPROVAL),
        ("planned", "", True, True, Exit.DONE),
        ("approved", "funds", False, True, Exit.FAILED),
        ("released", "", False, False, Exit.FAILED),
        ("paused", "test", False, True, Exit.PAUSED_OR_CANCELLED),
        ("completed", "", False, True, Exit.DONE),
        ("completed_with_cases", "", False, True, Exit.WITH_CASES),
        ("cancelled", "", False, False, Exit.PAUSED_OR_CANCELLED),
    ],
)
def test_waiting_ends_where_nothing_more_will_happen(
    state: str, blocked: str, ahead: bool, settled: bool, code: Exit
) -> None:
    opens_at = NOW + timedelta(days=1) if ahead else NOW - timedelta(days=1)
    completed_at = NOW if state.startswith("completed") else None

    assert _settled(state, blocked, opens_at, completed_at, now=NOW) == settled
    assert _exit_code(state, blocked, opens_at, now=NOW) == code
