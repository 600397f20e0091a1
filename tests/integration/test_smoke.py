from models.states import RunState
from tests.builders import *
from tests.installation import Installation
from tests.waiting import until


def test_month(installation: Installation) -> None:
    programme = a_programme(installation.database)
    families(installation.database, programme, 100)
    ticker = installation.ticker()
    with installation.workers():

        def done():
            result = ticker.tick()
            assert not result.errors, [str(e) for e in result.errors]
            with installation.database.reading() as tx:
                runs = tx.list(Run)
            return runs and all(run.state == RunState.COMPLETED for run in runs)

        until(done, what="runs")
        until(lambda: (ticker.tick(), all(n.tried_at for n in notices_of(installation.database)))[1], what="notices")
    assert len(vouchers_of(installation.database)) == 100
    ticker.tick()
    for line in installation.lines():
        print(line)
