"""An outside issuer's books and ours, written straight into tables and files, at instants of the test's choice."""

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

from models.columns import instant_text
from models.differences import list_differences
from models.intake.statement import COLUMNS, Period
from models.statements import StatementReport, import_statement
from models.states import AnswerOutcome, CallKind, CaseOutcome, CaseReason, CaseState
from models.storage import Database
from models.tables import Answer, Batch, Case, Disbursement, Intent, Programme, Run, Voucher
from tests.builders import TIJUANA, a_programme, a_released_run, an_issuer, families

#: A day in the middle of the months of these tests.
NOON = datetime(2026, 1, 15, 12, tzinfo=UTC)
JANUARY = Period(datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 2, 1, tzinfo=UTC))
FEBRUARY = Period(datetime(2026, 2, 1, tzinfo=UTC), datetime(2026, 3, 1, tzinfo=UTC))


def entry(
    credit_id: str, reference: str, amount: str = "600", *, currency: str = "MXN", at: datetime = NOON,
    kind: str = "credited", reverses: str = "",
) -> str:  # fmt: skip
    """A line of a statement."""
    return f"{kind},{credit_id},{reference},{amount},{currency},{instant_text(at)},{reverses}"


def reversal(credit_id: str, reference: str, reverses: str, amount: str = "600", *, at: datetime = NOON) -> str:
    """A line by which a credit is taken back."""
    return entry(credit_id, reference, amount, at=at, kind="reversed", reverses=reverses)


@dataclass
class Books:
    """A released run of one-member families, 600.00 MXN each, whose references are `a0…`, `a1…` and so on."""

    database: Database
    folder: Path
    programme: Programme
    run: Run
    batch: Batch
    lines: list[Disbursement]
    files: int = field(default=0)

    @classmethod
    def open(cls, database: Database, folder: Path, *, count: int = 5) -> "Books":
        """Nothing is called for yet."""
        programme = a_programme(database)
        an_issuer(database, programme, "https://issuer.example")
        families(database, programme, count, location=TIJUANA)
        run = a_released_run(database, programme, batch_lines=1_000)
        with database.reading() as tx:
            batch = tx.get(Batch, Batch.run_id == run.id)
            lines = tx.list(Disbursement, Disbursement.id >= batch.first_id, Disbursement.id <= batch.last_id)
        return cls(database, folder, programme, run, batch, lines)

    @staticmethod
    def reference(number: int) -> str:
        """Of a line."""
        return f"a{number:063}"

    def call(
        self, *numbers: int, outcome: AnswerOutcome | None = AnswerOutcome.CREDITED, at: datetime = NOON,
        answered_at: datetime | None = None,
    ) -> None:  # fmt: skip
        """The lines were sent at `at`, and answered a second later, or not at all."""
        with self.database.transaction() as tx:
            for number in numbers:
                intent = tx.add(
                    Intent(
                        disbursement_id=self.lines[number].id, batch_id=self.batch.id, kind=CallKind.SEND,
                        reference=self.reference(number), recorded_at=at,
                    )
                )  # fmt: skip
                if outcome is not None:
                    tx.add(
                        Answer(
                            intent_id=intent.id, outcome=outcome, credit_id=f"c{number}",
                            answered_at=answered_at or at + timedelta(seconds=1),
                        )
                    )  # fmt: skip

    def settle(self, *numbers: int) -> None:
        """The lines have their vouchers."""
        with self.database.transaction() as tx:
            for number in numbers:
                tx.add(Voucher(id=self.lines[number].id, batch_id=self.batch.id, key_version=1))

    def credit(self, *numbers: int, at: datetime = NOON) -> None:
        """Sent, credited and settled."""
        self.call(*numbers, at=at)
        self.settle(*numbers)

    def doubt(self, number: int, *, ended: CaseOutcome | None = None) -> int:
        """Sent, without a usable answer: the line is a case, or was one, of this number."""
        self.call(number, outcome=AnswerOutcome.UNKNOWN)
        state = CaseState.OPEN if ended is None else CaseState.CLOSED
        with self.database.transaction() as tx:
            case = Case(
                disbursement_id=self.lines[number].id, run_id=self.run.id, fund_id=self.batch.fund_id or 0,
                reason=CaseReason.UNKNOWN, state=state, reserved=True, attempts=1, opened_at=NOON, outcome=ended,
            )  # fmt: skip
            return tx.add(case).id

    def write(self, *rows: str) -> Path:
        """A statement's file."""
        self.files += 1
        path = self.folder / f"statement-{self.files}.csv"
        path.write_text("\n".join((",".join(COLUMNS), *rows)) + "\n")
        return path

    def import_(self, *rows: str, period: Period = JANUARY, dry_run: bool = False) -> StatementReport:
        """A statement of these rows."""
        return self.import_file(self.write(*rows), period=period, dry_run=dry_run)

    def import_file(self, path: Path, *, period: Period = JANUARY, dry_run: bool = False) -> StatementReport:
        """A statement's file."""
        return import_statement(self.database, path, period, programme=None, dry_run=dry_run)

    def open_differences(self) -> list[tuple[str, int | None, str]]:
        """Reason, number of the line, and the issuer's number of the entry."""
        numbers = {line.id: number for number, line in enumerate(self.lines)}
        with self.database.reading() as tx:
            return sorted(
                (view.reason, numbers.get(view.disbursement or 0), view.credit_id) for view in list_differences(tx)
            )
