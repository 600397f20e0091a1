"""A PostgreSQL server of Debian's that archives, and that is recovered as deploy/postgresql/pitr.md says."""

import os
import pwd
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psycopg

from tests.commands import ROOT
from tests.servers import postgresql_programs
from tests.waiting import until

PAGE = ROOT / "deploy" / "postgresql" / "pitr.md"


def settings_of(heading: str) -> list[str]:
    """The settings that the page gives under a heading."""
    section = PAGE.read_text().partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    blocks = re.findall(r"^ *```\n(.*?)^ *```", section, flags=re.DOTALL | re.MULTILINE)
    return [line.strip() for block in blocks for line in block.splitlines() if re.match(r" *\w+ = ", line)]


@dataclass
class ArchivingServer:
    """One socket, and one data folder after the other behind it."""

    folder: Path
    data: Path

    @classmethod
    @contextmanager
    def open(cls) -> Iterator["ArchivingServer"]:
        """It answers; its folder is gone when the context ends."""
        folder = Path(tempfile.mkdtemp(prefix="despensa-pitr-"))
        server = cls(folder, folder / "first")
        try:
            server._own(folder)
            for name in ("wal", "base"):
                (folder / name).mkdir(mode=0o700)
                server._own(folder / name)
            server._run("initdb", "--auth=trust", "--encoding=utf8", "-U", "postgres", "-D", str(server.data))
            server._configure(settings_of("Archive"))
            server.start()
            yield server
        finally:
            server.stop()
            shutil.rmtree(folder, ignore_errors=True)

    @property
    def url(self) -> str:
        """Whichever data folder is behind it."""
        return f"postgresql://postgres@/postgres?host={self.folder}"

    def take_base(self) -> None:
        """As the page says."""
        (command,) = re.findall(r"^pg_basebackup (.*)$", PAGE.read_text(), flags=re.MULTILINE)
        words = command.replace("/srv/base/2026-12-01", str(self.folder / "base" / "one")).split()
        self._run("pg_basebackup", *words, "-h", str(self.folder), "-U", "postgres")

    def archive_all(self) -> None:
        """What was written so far is in the archive when this returns."""
        with psycopg.connect(self.url, autocommit=True) as connection:
            row = connection.execute("SELECT pg_walfile_name(pg_switch_wal())").fetchone()
        assert row is not None
        until((self.folder / "wal" / str(row[0])).exists, what="the segment in the archive")

    def recover(self, name: str, *, to: str = "", with_last_wal: bool = False) -> None:
        """Stop at once what runs, and begin from the base backup, up to an instant or to the end of the WAL."""
        lost, self.data = self.data, self.folder / name
        self._stop(lost)
        shutil.copytree(self.folder / "base" / "one", self.data)
        if with_last_wal:
            shutil.copytree(lost / "pg_wal", self.data / "pg_wal", dirs_exist_ok=True)
        lines = [line for line in settings_of("Recover") if to or not line.startswith("recovery_target_time")]
        self._configure([re.sub(r"(recovery_target_time = ).*", rf"\1'{to}'", line) for line in lines])
        (self.data / "recovery.signal").touch()
        for each in [self.data, *self.data.rglob("*")]:
            self._own(each)
        self.data.chmod(0o700)
        self.start()
        until(self._is_recovered, what="the end of the recovery")

    def start(self) -> None:
        """Returns when it answers."""
        options = f"-h '' -k {self.folder}"
        self._run("pg_ctl", "-w", "-D", str(self.data), "-l", str(self.folder / "log"), "-o", options, "start")

    def stop(self) -> None:
        """As a power failure does."""
        self._stop(self.data)

    def _stop(self, data: Path) -> None:
        if (data / "postmaster.pid").exists():
            self._run("pg_ctl", "-w", "-D", str(data), "-m", "immediate", "stop")

    def _is_recovered(self) -> bool:
        with psycopg.connect(self.url) as connection:
            return connection.execute("SELECT pg_is_in_recovery()").fetchone() == (False,)

    def _configure(self, lines: list[str]) -> None:
        with (self.data / "postgresql.conf").open("a") as file:
            file.writelines(f"{line.replace('/srv/wal', str(self.folder / 'wal'))}\n" for line in lines)

    def _run(self, program: str, *words: str) -> None:
        path = postgresql_programs("debian") / program
        subprocess.run([path, *words], check=True, stdout=subprocess.DEVNULL, user=self._user, cwd="/")

    def _own(self, path: Path) -> None:
        shutil.chown(path, self._user)

    @property
    def _user(self) -> str:
        """PostgreSQL refuses to run as root; Debian's package makes the user."""
        return "postgres" if os.geteuid() == 0 else pwd.getpwuid(os.geteuid()).pw_name
