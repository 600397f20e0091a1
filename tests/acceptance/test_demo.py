"""The demo is the real programme: what it promises, seen from outside."""

from pathlib import Path

import pytest

from tests.commands import despensa


def test_demo_replays_the_programme_and_checks_itself(tmp_path: Path) -> None:
    """17 months, seven cities, exactly 3,703 vouchers, failing stores, a kill half-way, everything twice."""
    home = tmp_path / "demo"
    misleading = {"DESPENSA_DATABASE_URL": "postgresql://nobody@127.0.0.1:9/none", "DESPENSA_NONSENSE": "1"}

    ended = despensa("demo", "--json", "--folder", str(home), environment=misleading)

    assert ended.code == 0, ended.err
    told = ended.json
    assert {name: told[name] for name in ("cycles", "locations", "runs", "planned", "credited")} == {
        "cycles": 17, "locations": 7, "runs": 119, "planned": 3703, "credited": 3703,
    }  # fmt: skip
    assert (told["cases"], told["duplicates"], told["difference_minor"]) == (0, 0, 0)
    assert told["notices_due"] == told["notices_delivered"] == 238
    assert told["currency"] == "MXN"
    assert "killed in the middle of a credit" in ended.err
    environment = {"DESPENSA_HOME": str(home)}
    assert despensa("run", "reconcile", "--json", environment=environment).json["agrees"] is True
    assert despensa("logs", "verify", str(home / "log" / "despensa.jsonl"), environment=environment).code == 0
    again = despensa("demo", "--json", "--folder", str(home), environment={})
    assert (again.code, again.out) == (1, "")


@pytest.mark.long
@pytest.mark.parametrize("families", [1, 200])
def test_demo_of_one_month_of_so_many_families(tmp_path: Path, families: int) -> None:
    ended = despensa("demo", "--families", str(families), "--folder", str(tmp_path / "demo"), environment={})

    assert ended.code == 0, ended.err
    assert "All checks passed" in ended.out
    assert f"{families} vouchers planned and credited" in ended.out
