"""systemd's units under deploy/systemd, as written: what a unit says itself, and what all have in common."""

import shutil
from dataclasses import dataclass
from pathlib import Path

from tests.commands import ROOT

FOLDER = ROOT / "deploy" / "systemd"
COMMON = FOLDER / "despensa-.service.d" / "50-sandbox.conf"
PROGRAM = "/opt/despensa/.venv/bin/despensa"
SERVICES = tuple(sorted(path.name for path in FOLDER.glob("*.service")))
TIMERS = tuple(sorted(path.name for path in FOLDER.glob("*.timer")))
#: What a distributed installation puts beside each service.
DROP_INS = {
    "scheduler": ("servers.conf",),
    "worker@": ("worker.conf",),
    "run": ("servers.conf",),
    "backup": ("backup.conf",),
}
#: Under what systemd puts its own.
VENDOR = Path("/usr/lib/systemd/system")


@dataclass(frozen=True, slots=True)
class Unit:
    """The lines of a unit file, in order: section, setting, value."""

    lines: tuple[tuple[str, str, str], ...]

    def all(self, name: str) -> list[str]:
        """Every value of a setting."""
        return [value for _, setting, value in self.lines if setting == name]

    def get(self, name: str) -> str:
        """The one value of a setting. Raises ValueError if there is none, or another one."""
        (value,) = self.all(name)
        return value

    def codes(self, name: str) -> set[int]:
        """The exit codes that a setting lists."""
        return {int(code) for value in self.all(name) for code in value.split()}


def read_unit(name: str) -> Unit:
    """A unit; a service with what all have in common."""
    text = (FOLDER / name).read_text()
    return parse(text + (COMMON.read_text() if name.endswith(".service") else ""))


def parse(text: str) -> Unit:
    """Comments and empty lines mean nothing; no unit of ours continues a line."""
    section, lines = "", []
    for line in (each.strip() for each in text.splitlines()):
        if line.startswith("["):
            section = line.strip("[]")
        elif line and line[0] not in "#;":
            name, _, value = line.partition("=")
            lines.append((section, name.strip(), value.strip()))
    return Unit(tuple(lines))


def started(name: str) -> str:
    """A unit's name as systemd is asked for it: a template needs an instance."""
    return name.replace("@.", "@1.")


def unit_root(root: Path, folder: Path = FOLDER) -> Path:
    """A root in which a host's units, and what they execute, lie where README.md puts them."""
    units = root / "etc" / "systemd" / "system"
    units.mkdir(parents=True)
    for pattern in ("*.service", "*.timer", "*.target"):
        for path in folder.glob(pattern):
            shutil.copy(path, units)
    shutil.copytree(folder / COMMON.parent.name, units / COMMON.parent.name)
    for name, drop_ins in DROP_INS.items():
        place = units / f"despensa-{name}.service.d"
        place.mkdir()
        for drop_in in drop_ins:
            shutil.copy(folder / drop_in, place)
    for program in (PROGRAM, "/opt/despensa/deploy/systemd/tell-failure"):
        path = root / program.lstrip("/")
        path.parent.mkdir(parents=True)
        path.touch(mode=0o755)
    shutil.copytree(VENDOR, root / VENDOR.relative_to("/"), symlinks=True)
    return root
