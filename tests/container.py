"""The image, built from its Dockerfile by Buildah and run by runc: no Docker engine is asked for.

What it is built on cannot be pulled where tests run. A bare Debian with Python and pip stands in for it.
"""

import json
import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.commands import ROOT

DOCKERFILE = ROOT / "deploy" / "container" / "Dockerfile"
STAND_IN = "localhost/stand-in"
IN_IT = "python3,python3-pip,ca-certificates"
IN_MEMORY = "/tmp"  # noqa: S108  # of the container
#: What this host knows of the way to packages, for the build alone.
OF_HOST = ("etc/resolv.conf", "etc/pip.conf", "etc/ssl/certs/ca-certificates.crt")


@dataclass(frozen=True, slots=True)
class Image:
    """What Buildah made of a stage."""

    root: Path
    config: dict[str, Any]  #: as Docker has it: Env, Entrypoint, User, Healthcheck, …

    @property
    def uid(self) -> int:
        """Of whoever runs in it."""
        return int(self.config["User"].split(":")[0])


class Builder:
    """Buildah, with all that it keeps in a folder of its own."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        storage = folder / "storage.conf"
        storage.write_text(f'[storage]\ndriver = "vfs"\nrunroot = "{folder}/run"\ngraphroot = "{folder}/graph"\n')
        self._environment = {**os.environ, "CONTAINERS_STORAGE_CONF": str(storage)}

    def make_stand_in(self) -> None:
        """Takes minutes, and a network."""
        assert shutil.which("debootstrap"), "debootstrap is missing: ./despensa test --all installs it"
        root = self._folder / "debian"
        subprocess.run(["debootstrap", "--variant=minbase", f"--include={IN_IT}", "bookworm", str(root)], check=True)
        (root / "usr/local/bin/python").symlink_to("/usr/bin/python3")
        for name in OF_HOST:
            if (Path("/") / name).exists():
                shutil.copy(Path("/") / name, root / name)
        (self._folder / "Stand-in").write_text("FROM scratch\nCOPY . /\n")
        self._run(
            "bud", "--isolation", "chroot", "--file", str(self._folder / "Stand-in"), "--tag", STAND_IN, str(root)
        )

    def build(self, stage: str) -> Image:
        """One stage of the Dockerfile, over the stand-in."""
        self._run(
            *("bud", "--isolation", "chroot", "--format", "docker", "--build-arg", f"BASE={STAND_IN}"),
            *("--ignorefile", f"{DOCKERFILE}.dockerignore", "--file", str(DOCKERFILE)),
            *("--target", stage, "--tag", f"localhost/{stage}", str(ROOT)),
        )
        container = self._run("from", f"localhost/{stage}")
        described = json.loads(self._run("inspect", "--type", "image", f"localhost/{stage}"))
        return Image(Path(self._run("mount", container)), described["Docker"]["config"])

    def _run(self, *words: str) -> str:
        done = subprocess.run(["buildah", *words], env=self._environment, check=False, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout.strip()


@dataclass(frozen=True, slots=True)
class Container:
    """A service in runc."""

    name: str
    process: "subprocess.Popen[bytes]"
    config: dict[str, Any]

    def execute(self, *words: str) -> "subprocess.CompletedProcess[str]":
        """A command in it, as its user, to the end."""
        environment = [word for each in self.config["Env"] for word in ("--env", each)]
        command = ["runc", "exec", *environment, "--user", self.config["User"], self.name, *words]
        return subprocess.run(command, check=False, capture_output=True, text=True)

    def is_well(self) -> bool:
        """What the image's health check says."""
        test = self.config["Healthcheck"]["Test"]
        assert test[0] == "CMD"
        return self.execute(*test[1:]).returncode == 0

    def stop(self, *, within_s: float) -> int:
        """By the image's signal; its exit code."""
        subprocess.run(["runc", "kill", self.name, self.config.get("StopSignal", "SIGTERM")], check=True)
        return self.process.wait(within_s)


@contextmanager
def started(
    image: Image, folder: Path, *words: str, environment: Mapping[str, str], volumes: Mapping[str, Path],
    output: Path = Path(os.devnull), entrypoint: Sequence[str] | None = None,
) -> Iterator[Container]:  # fmt: skip
    """A container of it, as Compose and Kubernetes are told to run it.

    Root read-only, no capability, no new privilege, /tmp in memory; of the host it sees the volumes, and the network.
    """
    folder.mkdir()
    own = [f"{name}={value}" for name, value in environment.items()]
    config = image.config | {"Env": [*image.config["Env"], *own]}
    (folder / "config.json").write_text(json.dumps(_bundle(image, config, words, volumes, entrypoint)))
    name = f"despensa-{os.getpid()}-{folder.name}"
    command = ["runc", "run", "--bundle", str(folder), name]
    with output.open("wb") as out, (folder / "stderr").open("wb") as errors:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out, stderr=errors)
    try:
        yield Container(name, process, config)
    finally:
        subprocess.run(["runc", "delete", "--force", name], check=False, capture_output=True)
        process.kill()
        process.wait()


def _bundle(
    image: Image, config: Mapping[str, Any], words: Sequence[str], volumes: Mapping[str, Path],
    entrypoint: Sequence[str] | None,
) -> dict[str, Any]:  # fmt: skip
    """What the OCI runtime is given."""
    uid, gid = (int(number) for number in config["User"].split(":"))
    memory = ("nosuid", "nodev")
    mounts = [
        {"destination": "/proc", "type": "proc", "source": "proc"},
        {"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "mode=755", "size=64k"]},
        {"destination": "/dev/shm", "type": "tmpfs", "source": "shm", "options": [*memory, "mode=1777", "size=64m"]},  # noqa: S108  # of the container
        {"destination": IN_MEMORY, "type": "tmpfs", "source": "tmpfs", "options": [*memory, "mode=1777", "size=64m"]},
        *(
            {"destination": at, "type": "bind", "source": str(source), "options": ["rbind", "rw"]}
            for at, source in volumes.items()
        ),
    ]
    return {
        "ociVersion": "1.0.2",
        "root": {"path": str(image.root), "readonly": True},
        "process": {
            "terminal": False,
            "user": {"uid": uid, "gid": gid},
            "args": [*(entrypoint or config.get("Entrypoint") or ()), *(words or config.get("Cmd") or ())],
            "env": config["Env"],
            "cwd": config.get("WorkingDir") or "/",
            "capabilities": {kind: [] for kind in ("bounding", "effective", "permitted", "ambient")},
            "noNewPrivileges": True,
        },
        "mounts": mounts,
        "linux": {"namespaces": [{"type": kind} for kind in ("mount", "pid", "ipc", "uts")]},
    }
