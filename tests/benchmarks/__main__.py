"""`./despensa bench`: run one benchmark, or all, and print what they came to."""

import argparse
import sys
import tempfile
from pathlib import Path

from tests.benchmarks.month import credit, month
from tests.benchmarks.site import Site
from tests.benchmarks.usual import usual

BENCHMARKS = {"credit": credit, "month": month, "usual": usual}


def main(arguments: list[str]) -> int:
    """Returns 0; a book that does not agree, or a server that is not durable, ends it with an assertion."""
    parser = argparse.ArgumentParser(prog="despensa bench", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(BENCHMARKS)}; all without one")
    parser.add_argument("--families", type=int, default=350_000, help="in one month (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=3, help="each candidate once a round (default: %(default)s)")
    parser.add_argument("--servers", choices=("wheels", "debian"), default="wheels", help="where they come from")
    chosen = parser.parse_args(arguments)
    unknown = set(chosen.names) - BENCHMARKS.keys()
    if unknown:
        parser.error(f"there is no benchmark {', '.join(sorted(unknown))}: there are {', '.join(BENCHMARKS)}")
    with (
        tempfile.TemporaryDirectory(prefix="despensa-bench-") as folder,
        Site.open(Path(folder), servers_from=chosen.servers) as site,
    ):
        for name in chosen.names or BENCHMARKS:
            _tell(f"── {name}: {chosen.families:,} families, {chosen.rounds} rounds")
            BENCHMARKS[name](site, families=chosen.families, rounds=chosen.rounds, tell=_tell)
    return 0


def _tell(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
