"""What was measured, and how it is printed. Candidates alternate in one run; ratios are taken round by round."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import TypeVar


@dataclass(frozen=True, slots=True)
class Sample:
    """One run of one candidate, whose books were found in order."""

    families: int
    seconds: float
    postgresql_cpu_s: float
    worker_cpu_s: float  #: of workers and schedulers, or of whoever does their work
    wal_bytes: int

    @property
    def rate(self) -> float:
        """Families a second."""
        return self.families / self.seconds


SampleT = TypeVar("SampleT", bound=Sample)


def alternate(
    candidates: Mapping[str, Callable[[], SampleT]], *, rounds: int, tell: Callable[[str], None]
) -> dict[str, list[SampleT]]:
    """Each candidate once a round, in turn; every other round backwards, so that none always follows the same one."""
    samples: dict[str, list[SampleT]] = {name: [] for name in candidates}
    for number in range(rounds):
        names = list(candidates) if number % 2 == 0 else list(candidates)[::-1]
        for name in names:
            sample = candidates[name]()
            samples[name].append(sample)
            tell(f"round {number + 1}: {name}: {sample.rate:,.0f} families/s")
    return samples


def table(samples: Mapping[str, list[Sample]], *, against: str) -> list[str]:
    """A line for each candidate: median and range of its rate, of its ratio to `against`, and its cost a family."""
    width = max(len(name) for name in samples)
    head = (
        f"{'candidate':<{width}}  {'families/s: median (range)':>30}  {'ratio: median (range)':>24}"
        f"  {'CPU µs: PostgreSQL + ours':>25}  {'WAL B':>6}"
    )
    lines = [head, "-" * len(head)]
    for name, runs in samples.items():
        rates = [run.rate for run in runs]
        ratios = [run.rate / base.rate for run, base in zip(runs, samples[against], strict=True)]
        server, ours = (
            median(getattr(run, of) / run.families * 1e6 for run in runs) for of in ("postgresql_cpu_s", "worker_cpu_s")
        )
        wal = median(run.wal_bytes / run.families for run in runs)
        cpu = f"{server:,.0f} + {ours:,.0f}"
        lines.append(f"{name:<{width}}  {spread(rates, places=0):>30}  {spread(ratios):>24}  {cpu:>25}  {wal:>6,.0f}")
    return lines


def spread(values: Sequence[float], *, places: int = 3) -> str:
    """Median and range."""
    return f"{median(values):,.{places}f} ({min(values):,.{places}f}–{max(values):,.{places}f})"
