"""`./despensa bench`: run one benchmark, or all, and print what they came to."""

import argparse
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

from tests.benchmarks.dashboard import dashboard
from tests.benchmarks.embedded import embedded
from tests.benchmarks.growth import growth
from tests.benchmarks.hosts import hosts
from tests.benchmarks.issuer import issuer
from tests.benchmarks.log import log
from tests.benchmarks.month import credit, month
from tests.benchmarks.months import MONTHS, MONTHS_MIN, months
from tests.benchmarks.site import Site
from tests.benchmarks.small import small
from tests.benchmarks.usual import usual

#: Families, where none are asked for; the others have FAMILIES.
FAMILIES_OF = {"growth": 3_000_000, "months": 100_000, "dashboard": 1_000_000}
FAMILIES = 350_000
BENCHMARKS: dict[str, Callable[..., None]] = {
    "credit": credit,
    "month": month,
    "usual": usual,
    "growth": growth,
    "months": months,
    "issuer": issuer,
    "hosts": hosts,
    "small": small,
    "log": log,
    "embedded": embedded,
    "dashboard": dashboard,
}


def main(arguments: list[str]) -> int:
    """Returns 0; a book that does not agree, or a server that is not durable, ends it with an assertion."""
    parser = argparse.ArgumentParser(prog="despensa bench", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(BENCHMARKS)}; all without one")
    others = ", ".join(f"{name}: {families:,}" for name, families in FAMILIES_OF.items())
    parser.add_argument("--families", type=int, help=f"in one month (default: {FAMILIES:,}; {others})")
    parser.add_argument("--rounds", type=int, default=3, help="each candidate once a round (default: %(default)s)")
    parser.add_argument("--months", type=int, default=MONTHS, help="of `months` (default: %(default)s)")
    parser.add_argument("--servers", choices=("wheels", "debian"), default="wheels", help="where they come from")
    chosen = parser.parse_args(arguments)
    unknown = set(chosen.names) - BENCHMARKS.keys()
    if unknown:
        parser.error(f"there is no benchmark {', '.join(sorted(unknown))}: there are {', '.join(BENCHMARKS)}")
    if chosen.months < MONTHS_MIN:
        parser.error(f"--months: at least {MONTHS_MIN} are compared")
    benchmarks: dict[str, Callable[..., None]] = {**BENCHMARKS, "months": partial(months, number=chosen.months)}
    with (
        tempfile.TemporaryDirectory(prefix="despensa-bench-") as folder,
        Site.open(Path(folder), servers_from=chosen.servers) as site,
    ):
        for name in chosen.names or BENCHMARKS:
            families = chosen.families or FAMILIES_OF.get(name, FAMILIES)
            _tell(f"── {name}: {families:,} families, {chosen.rounds} rounds")
            benchmarks[name](site, families=families, rounds=chosen.rounds, tell=_tell)
    return 0


def _tell(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
