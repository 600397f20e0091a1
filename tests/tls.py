"""An authority of the test's own, and servers with its certificates, as deploy/ configures them."""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.servers import postgresql_programs

FOLDER = Path(__file__).parents[1] / "deploy" / "postgresql"


@dataclass(frozen=True, slots=True)
class Certificate:
    """And its key."""

    file: Path
    key: Path


class Authority:
    """Signs certificates; made by the openssl that every Debian has."""

    def __init__(self, folder: Path, name: str) -> None:
        self._folder = folder
        self.certificate = Certificate(folder / f"{name}.crt", folder / f"{name}.key")
        self._request(self.certificate, name, "-x509", "-days", "2", "-addext", "basicConstraints=critical,CA:TRUE")

    def sign(self, name: str, *, address: str = "") -> Certificate:
        """For this name, and an IP address. The key is its reader's alone."""
        made = Certificate(self._folder / f"{name}.crt", self._folder / f"{name}.key")
        request, more = self._folder / f"{name}.csr", self._folder / f"{name}.ext"
        self._request(Certificate(request, made.key), name)
        more.write_text(f"subjectAltName=DNS:{name}" + (f",IP:{address}" if address else ""))
        openssl(
            "x509", "-req", "-in", str(request), "-CA", str(self.certificate.file), "-CAkey", str(self.certificate.key),
            "-CAcreateserial", "-days", "2", "-extfile", str(more), "-out", str(made.file),
        )  # fmt: skip
        return made

    def _request(self, made: Certificate, name: str, *more: str) -> None:
        openssl(
            "req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-subj", f"/CN={name}",
            "-keyout", str(made.key), "-out", str(made.file), *more,
        )  # fmt: skip
        made.key.chmod(0o600)


def openssl(*words: str) -> None:
    """One command of it."""
    subprocess.run(["openssl", *words], check=True, capture_output=True)


@contextmanager
def a_postgresql(port: int, server: Certificate, authority: Authority) -> Iterator[str]:
    """Debian's, as published, on the loopback. Yields the superuser's URL, by its socket."""
    home = Path(tempfile.mkdtemp(prefix="despensa-tls-"))
    programs, data = postgresql_programs("debian"), home / "data"
    user = "postgres" if os.geteuid() == 0 else None  # it refuses to run as root

    def run(program: str, *words: str) -> None:
        command = [str(programs / program), *words]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, user=user, cwd="/")

    try:
        if user:
            shutil.chown(home, user)
        run("initdb", "--auth=trust", "--encoding=utf8", "-U", "postgres", "-D", str(data))
        here = {"listen_addresses": "127.0.0.1", "port": str(port), "unix_socket_directories": str(home)}
        files = {"ssl_cert_file": server.file, "ssl_key_file": server.key, "ssl_ca_file": authority.certificate.file}
        for name, file in files.items():
            here[name] = str(shutil.copy(file, home / name))
            (home / name).chmod(0o600)
            if user:
                shutil.chown(home / name, user)
        with (data / "postgresql.conf").open("a") as settings:
            settings.write((FOLDER / "postgresql.conf").read_text())
            settings.write("".join(f"{name} = '{value}'\n" for name, value in here.items()))
        lines = (FOLDER / "pg_hba.conf").read_text().replace("10.20.0.0/16", "127.0.0.1/32").replace("peer", "trust")
        (data / "pg_hba.conf").write_text(lines)
        run("pg_ctl", "-w", "-D", str(data), "-l", str(home / "log"), "start")
        try:
            yield f"postgresql://postgres@/postgres?host={home}&port={port}"
        finally:
            run("pg_ctl", "-w", "-D", str(data), "-m", "immediate", "stop")
    finally:
        shutil.rmtree(home, ignore_errors=True)
