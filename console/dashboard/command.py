"""`despensa dashboard`: serve the page over log files."""

from __future__ import annotations

import ipaddress
import socket
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from console.entry import note
from models.errors import Misconfigured, NotFound
from models.secret_files import read_secret

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import FrameType

TOKEN_CHARACTERS_MIN = 32


def dashboard(
    files: list[Path] = typer.Argument(
        None,
        metavar="[FILE|FOLDER]...",
        help="Logs, with what rotation made of them; a folder's *.jsonl*; without any, the log in the settings.",
    ),
    host: str = typer.Option("127.0.0.1", help="Address to listen on. Beyond the loopback a token is needed."),
    port: int = typer.Option(8080, min=0, max=65535, help="0 takes a free one."),
    token_file: Path | None = typer.Option(
        None, help="File (0600) with the token that readers must know: 32 characters at least."
    ),
) -> None:
    """A web page over the logs: months, runs, cases, stores, workers. It reads files, never a database."""
    paths = _paths(files or [])
    token = read_token(token_file) if token_file else ""
    if not token and not _is_loopback(host):
        raise Misconfigured(
            f"{host} can be reached from elsewhere: readers must know a token",
            hint="head -c 32 /dev/urandom | base64 > FILE; chmod 600 FILE; despensa dashboard --token-file FILE …",
        )
    _serve(paths, host=host, port=port, token=token)


def read_token(path: Path) -> str:
    """Raises Misconfigured where it is missing, others may read it, or it is too short."""
    made_by = f"head -c 32 /dev/urandom | base64 > {path}; chmod 600 {path}"
    token = read_secret(path, what="the token", hint=made_by).strip()
    if len(token) < TOKEN_CHARACTERS_MIN:
        raise Misconfigured(f"the token in {path} is shorter than {TOKEN_CHARACTERS_MIN} characters", hint=made_by)
    return token


def _paths(given: Sequence[Path]) -> list[Path]:
    from models.settings import read_settings

    missing = next((path for path in given if not path.exists()), None)
    if missing is not None:
        raise NotFound(f"there is no file {missing}", hint="name log files, or a folder with them")
    return list(given) or [read_settings().log]


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _serve(paths: Sequence[Path], *, host: str, port: int, token: str) -> None:
    import uvicorn

    from console.dashboard.board import Board
    from console.dashboard.server import Viewer, application

    listening = _listen(host, port)
    viewer = Viewer(Board(paths), clock=lambda: datetime.now(UTC))
    shown = f"[{host}]" if ":" in host else host
    note(f"reading {', '.join(str(path) for path in paths)}")
    note(f"http://{shown}:{listening.getsockname()[1]}/" + ("  (asks for the token)" if token else ""))
    if token:
        note("what is not on this host should come through TLS: a proxy in front of it, or an SSH tunnel")

    class Server(uvicorn.Server):
        """Ends its streams at once when it is told to end; they would be waited for otherwise."""

        def handle_exit(self, sig: int, frame: FrameType | None) -> None:
            viewer.stop()
            super().handle_exit(sig, frame)

    config = uvicorn.Config(
        application(viewer, host=shown, token=token), log_config=None, access_log=False, server_header=False,
        timeout_graceful_shutdown=2, lifespan="on",
    )  # fmt: skip
    with suppress(KeyboardInterrupt):  # uvicorn raises again, at the end, the signal that it was ended by
        Server(config).run(sockets=[listening])


def _listen(host: str, port: int) -> socket.socket:
    """Before anything is read, so that a port that is taken is said at once."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((host, port))
        listening.listen()  # who asks while the files are read is answered afterwards
    except OSError as error:
        listening.close()
        raise Misconfigured(
            f"cannot listen on {host}:{port}: {error.strerror or type(error).__name__}", hint="choose another --port"
        ) from None
    return listening
