"""How often a month's lines are counted anew while its cities are planned."""

from scheduler.plan import _is_power_of_four


def test_first_run_fourth_and_so_on() -> None:
    assert [runs for runs in range(1, 100) if _is_power_of_four(runs)] == [1, 4, 16, 64]
