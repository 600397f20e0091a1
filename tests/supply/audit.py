"""`./despensa audit`: whether any locked package has a known vulnerability; fails, too, where nothing could be audited.

pip-audit asks OSV (https://osv.dev, which holds PyPI's own advisories). A service that knows nothing answers as one
that knows of no fault. So each audit asks for a package, too, that is known to be vulnerable, and believes the rest of
the answer only if that one is reported.

Exit 0: every locked package was audited, and none is known to be vulnerable. 1: one is; a fix is named where there is
one. 2: the audit says nothing, since the service did not answer, or not for every package.
"""

import argparse
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import orjson

from tests.supply import DEV_LOCK, Locked, read_lock

#: Known to be vulnerable since 2020 (PYSEC-2020-96, arbitrary code execution). Locked nowhere.
CANARY = ("pyyaml", "5.3")
OSV_URL = "https://api.osv.dev/v1/query"
CLEAN, VULNERABLE, NOT_AUDITED = 0, 1, 2


def audit(lock: Path, *, osv_url: str) -> int:
    """Audit one lock, and say what came of it. Returns the exit code."""
    try:
        locked = list(read_lock(lock))
    except (OSError, ValueError) as error:
        return _fail(str(error))
    if not locked:
        return _fail(f"{lock.name} names no package")
    asked = {(package.name, package.version) for package in locked}
    if CANARY in asked:
        return _fail(f"{lock.name} holds {CANARY[0]} {CANARY[1]}, by which the service is tried")
    answered = _ask(locked, osv_url=osv_url)
    if answered is None:
        return _fail("pip-audit gave no answer (see above); is the advisory service reachable?")
    found = {
        (each["name"], each.get("version", "")): each.get("vulns", []) for each in answered if "skip_reason" not in each
    }
    if not found.get(CANARY):
        return _fail(f"the service does not know {CANARY[0]} {CANARY[1]} to be vulnerable: what else does it not know?")
    silent = sorted(asked - set(found))
    if silent:
        return _fail("not audited: " + ", ".join(f"{name} {version}" for name, version in silent))
    vulnerable = {key: vulns for key, vulns in found.items() if vulns and key != CANARY}
    for (name, version), vulns in sorted(vulnerable.items()):
        for each in vulns:
            fixed = ", ".join(each.get("fix_versions") or []) or "no version yet"
            _say(f"{name} {version}: {each['id']}, mended in {fixed}")
    _say(f"{lock.name}: {len(asked)} packages audited, {len(vulnerable)} known to be vulnerable")
    return VULNERABLE if vulnerable else CLEAN


def _ask(locked: Sequence[Locked], *, osv_url: str) -> list[dict[str, Any]] | None:
    """What pip-audit says of each package and of the canary; None where it says nothing that can be read."""
    pins = [f"{package.name}=={package.version}" for package in locked] + ["==".join(CANARY)]
    with tempfile.TemporaryDirectory() as folder:
        asked, answer = Path(folder) / "requirements.txt", Path(folder) / "answer.json"
        asked.write_text("\n".join(pins) + "\n")
        command = [
            *(sys.executable, "-m", "pip_audit", "--strict", "--disable-pip", "--no-deps", "-r", str(asked)),
            *("--vulnerability-service", "osv", "--osv-url", osv_url, "--cache-dir", str(Path(folder) / "cache")),
            *("--format", "json", "--output", str(answer), "--progress-spinner", "off", "--desc", "off"),
        ]
        subprocess.run(command, check=False)  # 1 where something is vulnerable: the canary always is
        if not answer.exists():
            return None
        dependencies: list[dict[str, Any]] = orjson.loads(answer.read_bytes())["dependencies"]
        return dependencies


def _fail(why: str) -> int:
    _say(f"nothing was audited: {why}")
    return NOT_AUDITED


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(prog="despensa audit", description=__doc__.partition("\n")[0])
    parser.add_argument("--osv-url", default=OSV_URL, help="where OSV is asked, a mirror for instance")
    parser.add_argument("lock", nargs="?", type=Path, default=DEV_LOCK, help="default: all that is installed anywhere")
    chosen = parser.parse_args()
    return audit(chosen.lock, osv_url=chosen.osv_url)


if __name__ == "__main__":
    sys.exit(main())
