"""What was measured, and how it is printed. Candidates alternate in one run; ratios are taken round by round."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
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


S = TypeVar("S", bound=Sample)


def alternate(
    candidates: Mapping[str, Callable[[], S]], *, rounds: int, tell: Callable[[str], None]
) -> dict[str, list[S]]:
    """Each candidate once a round, in turn; every other round backwards, so that none always follows the same one."""
    samples: dict[str, list[S]] = {name: [] for name in candidates}
    for number, name in turns(candidates, rounds=rounds):
        sample = candidates[name]()
        samples[name].append(sample)
        tell(f"round {number}: {name}: {sample.rate:,.0f} families/s")
    return samples


def turns(candidates: Iterable[str], *, rounds: int) -> Iterator[tuple[int, str]]:
    """The order in which `alternate` has it, each with the number of its round, from 1 on."""
    names = list(candidates)
    for number in range(rounds):
        for name in names if number % 2 == 0 else names[::-1]:
            yield number + 1, name


def spread(values: Sequence[float], form: str = ",.0f") -> str:
    """Median and range."""
    return f"{median(values):{form}} ({min(values):{form}}–{max(values):{form}})"


def table(samples: Mapping[str, Sequence[Sample]], *, against: str) -> list[str]:
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
        lines.append(f"{name:<{width}}  {spread(rates):>30}  {spread(ratios, '.3f'):>24}  {cpu:>25}  {wal:>6,.0f}")
    return lines


def alternate_s(candidates: Mapping[str, Callable[[], float]], *, rounds: int) -> dict[str, list[float]]:
    """Seconds, as `alternate` has rates."""
    seconds: dict[str, list[float]] = {name: [] for name in candidates}
    for _, name in turns(candidates, rounds=rounds):
        seconds[name].append(candidates[name]())
    return seconds


def table_s(seconds: Mapping[str, Sequence[float]], *, against: str) -> list[str]:
    """A line for each candidate: median and range of its seconds, and of their ratio to those of `against`."""
    width = max(len(name) for name in seconds)
    lines = []
    for name, runs in seconds.items():
        ratios = [run / base for run, base in zip(runs, seconds[against], strict=True)]
        lines.append(f"{name:<{width}}  {spread(runs, '.3f'):>24} s  ratio {spread(ratios, '.2f')}")
    return lines
