"""The log of the next release, read by the commands of this one: within a schema, events are added."""

import pytest

from console import logs
from console.log_totals import read_totals
from models.errors import Exit
from models.messages import CreditBatch
from models.runs import list_summaries
from models.tables import Journal, run_code
from scheduler.seal import emit, seal
from tests.builders import TIJUANA, a_programme, a_released_run, batches_of, families
from tests.command_line import CommandLine
from tests.installation import Installation


@pytest.mark.parametrize("profile", ["embedded"], indirect=True)
def test_event_that_this_release_does_not_know_is_passed_over(
    installation: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The chain is whole with it, the totals agree, and whoever looks at lines is shown it."""
    programme = a_programme(installation.database)
    families(installation.database, programme, 10, location=TIJUANA)
    run = a_released_run(installation.database, programme)
    with installation.database.transaction() as tx:
        fields = f'{{"run":"{run_code(run)}","tills":3}}'
        tx.add(Journal(event="voucher.redeemed", level="info", run_id=run.id, recorded_at=tx.now, fields=fields))
    installation.receive(CreditBatch(batches_of(installation.database, run)[0].id))
    seal(installation.database)
    emit(installation.database, installation.log)
    command_line = CommandLine(monkeypatch, installation.environment)

    log = installation.settings.log
    verified = command_line.run(logs.app, "verify", log)
    tailed = command_line.run(logs.app, "tail", log, "--run", run_code(run))
    asked = command_line.run(logs.app, "query", "SELECT COUNT(*) AS n FROM log WHERE event = 'voucher.redeemed'", log)
    totals = read_totals([log]).summaries

    assert [outcome.code for outcome in (verified, tailed, asked)] == [Exit.DONE] * 3
    assert "voucher.redeemed" in tailed.stdout
    assert "1" in asked.stdout
    with installation.database.reading() as tx:
        assert list(totals) == list_summaries(tx, [run.id])
