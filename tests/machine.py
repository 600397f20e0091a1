"""A Debian machine of a test's own: systemd as the first process of its namespaces, over this host's root file system.

What it writes is written into memory, and gone with it. Of the host's units it has none but the few named here, so that
nothing of the host is started a second time. The network is the host's.
"""

import shlex
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

from tests.commands import ROOT, Ended
from tests.processes import children_of, end
from tests.units import PROGRAM, VENDOR
from tests.waiting import until

NEEDS = "a machine of its own needs root with all capabilities, as on a virtual machine: sudo ./despensa test --all"
#: What a service of ours rests on. Not sysinit.target's own wants: they would set up the host's kernel.
UNITS = (
    "basic.target", "sysinit.target", "multi-user.target", "timers.target", "sockets.target", "shutdown.target",
    "network-online.target", "time-sync.target", "systemd-journald.service", "systemd-journald.socket",
    "systemd-journald-dev-log.socket",
)  # fmt: skip
NAMESPACES = (
    "unshare", "--fork", "--kill-child", "--pid", "--mount", "--propagation=private", "--uts", "--ipc",
)  # fmt: skip
ENVIRONMENT = {
    "container": "test",
    "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
    "SYSTEMD_UNIT_PATH": "/etc/systemd/system:/machine/units",
    "SYSTEMD_GENERATOR_PATH": "/machine/none",
    "SYSTEMD_ENVIRONMENT_GENERATOR_PATH": "/machine/none",
}
PYTHON = f"python{sys.version_info[0]}.{sys.version_info[1]}"
#: Into a control group of its own, which is the root of all that systemd makes there.
ENTER = """
set -eu
mount -t cgroup2 cgroup2 "$1"
mkdir "$1/$6"
echo 0 > "$1/$6/cgroup.procs"
umount "$1"
exec unshare --cgroup sh -c "$7" boot "$@"
"""
#: What systemd has tied to its groups would pile up in the kernel, until no other machine's can be tied to them.
LEAVE = """
mount -t cgroup2 cgroup2 "$1"
if [ -d "$1/$2" ]; then find "$1/$2" -depth -type d -exec rmdir {} +; fi
"""
BOOT = f"""
set -eu
mount -t tmpfs tmpfs "$1"
mkdir "$1/upper" "$1/work" "$1/root"
mount -t overlay overlay -o "lowerdir=/,upperdir=$1/upper,workdir=$1/work" "$1/root"
cd "$1/root"
mount -t proc proc proc
mount --bind proc/sys proc/sys
mount -o remount,bind,ro proc/sys
mount -t sysfs -o ro sysfs sys
mount -t cgroup2 cgroup2 sys/fs/cgroup
for folder in run tmp dev etc/systemd/system etc/despensa var/log/despensa opt; do
    mkdir -p $folder
    mount -t tmpfs -o mode=755 tmpfs $folder
done
chmod 1777 tmp
for node in null zero full random urandom tty; do
    touch dev/$node
    mount --bind /dev/$node dev/$node
done
mkdir -p var/lib/despensa dev/pts dev/shm opt/python
mount -t devpts -o newinstance,ptmxmode=666 devpts dev/pts
ln -s pts/ptmx dev/ptmx
mount --bind "$5" var/lib/despensa
mount --bind "$3" opt/python
cp -a "$2/." .
mount --bind "$4" opt/despensa/.venv/lib/{PYTHON}/site-packages
mkdir old
pivot_root . old
umount -l old
mount --make-rshared /
exec /lib/systemd/systemd --system --unit=basic.target --log-target=journal --show-status=no
"""


def seen_inside(path: Path) -> Path:
    """Where a machine has a file of this host: what packages bring lies in its own environment, wherever ours is."""
    packages = Path(sysconfig.get_path("purelib"))
    if not path.is_relative_to(packages):
        return path
    return Path(PROGRAM).parents[1] / "lib" / PYTHON / "site-packages" / path.relative_to(packages)


@dataclass(frozen=True, slots=True)
class Machine:
    """What a test does in it, as root."""

    pid: int  #: of its first process, as this host sees it
    said: Path  #: what systemd itself says
    state: Path  #: its /var/lib/despensa

    @classmethod
    @contextmanager
    def open(cls, folder: Path) -> Iterator["Machine"]:
        """A machine whose units of its own are none yet; despensa is in /opt/despensa."""
        _lay_out(folder / "files")
        for name in ("machine", "state"):
            (folder / name).mkdir()
        group = f"despensa-{uuid4().hex}"
        prefix, packages = Path(sys.base_prefix).resolve(), sysconfig.get_path("purelib")
        places = (folder / "machine", folder / "files", prefix, packages, folder / "state")
        with (folder / "boot.log").open("wb") as said:
            process = subprocess.Popen(
                [*NAMESPACES, "sh", "-c", ENTER, "enter", *places, group, BOOT],
                env=ENVIRONMENT, stdin=subprocess.DEVNULL, stdout=said, stderr=said, start_new_session=True,
            )  # fmt: skip
        try:
            until(lambda: process.poll() is not None or _is_up(process.pid), what="systemd to be up", within_s=60)
            assert process.poll() is None, f"{NEEDS}\n{(folder / 'boot.log').read_text()}"
            yield cls(children_of(process.pid)[0], folder / "boot.log", folder / "state")
        finally:
            end(process)
            leave = ["unshare", "--mount", "sh", "-euc", LEAVE, "leave", str(folder / "machine"), group]
            until(lambda: subprocess.run(leave, capture_output=True, check=False).returncode == 0, what="its end")

    def run(self, script: str, *, stdin: str = "") -> Ended:
        """A shell's commands, up to the first that fails."""
        return _inside(self.pid, "sh", "-euc", f"cd /\n{script}", stdin=stdin)

    def do(self, script: str) -> str:
        """As run, and nothing may fail. Returns what was said on standard output."""
        ended = self.run(script)
        assert ended.code == 0, f"{script}\n{ended.out}{ended.err}{self.journal()}"
        return ended.out.strip()

    def write(self, path: str, text: str, *, mode: str = "644", owner: str = "root") -> None:
        """A file, with its folder."""
        ended = self.run(f"install -D -m {mode} -o {owner} /dev/stdin {shlex.quote(path)}", stdin=text)
        assert ended.code == 0, ended.err

    def told(self, unit: str, *names: str) -> tuple[str, ...]:
        """What systemd knows of a unit."""
        said = self.do(f"systemctl show {unit} " + " ".join(f"-p {name}" for name in names))
        known = dict(line.split("=", 1) for line in said.splitlines())
        return tuple(known[name] for name in names)

    def journal(self) -> str:
        """The last that was said."""
        said = self.run("journalctl --no-pager -n 60 -o short-precise")
        return said.out + said.err + self.said.read_text()[-3_000:]


def _is_up(pid: int) -> bool:
    children = children_of(pid)
    return bool(children) and _inside(children[0], "systemctl", "is-active", "basic.target").code == 0


def _inside(pid: int, *words: str, stdin: str = "") -> Ended:
    command = ["nsenter", f"--target={pid}", "--mount", "--pid", "--cgroup", "--uts", "--ipc", *words]
    done = subprocess.run(
        command,
        env=_environment(ENVIRONMENT),
        input=stdin,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        cwd="/",
    )
    return Ended(done.returncode, done.stdout, done.stderr)


def _environment(given: Mapping[str, str]) -> dict[str, str]:
    return {**given, "LANG": "C.UTF-8", "SYSTEMD_PAGER": "", "SYSTEMD_COLORS": "0"}


def _lay_out(files: Path) -> None:
    """What is put over the host's root: the program, a command that runs it with this Python, systemd's own units."""
    program = files / PROGRAM.removeprefix("/")
    program.parent.mkdir(parents=True)
    program.write_text(
        "#!/bin/sh\n"
        "export LD_LIBRARY_PATH=/opt/python/lib PYTHONPATH=/opt/despensa\n"
        'exec /opt/despensa/.venv/bin/python -m console.main "$@"\n'
    )
    program.chmod(0o755)
    (program.parent / "python").symlink_to(f"/opt/python/bin/{PYTHON}")
    # Nothing of what this Python has besides: it would not be there on a host of ours.
    (program.parents[1] / "pyvenv.cfg").write_text("home = /opt/python/bin\ninclude-system-site-packages = false\n")
    (program.parents[1] / "lib" / PYTHON / "site-packages").mkdir(parents=True)
    for name in ("console", "scheduler", "workers", "models", "deploy"):
        shutil.copytree(ROOT / name, files / "opt" / "despensa" / name, ignore=shutil.ignore_patterns("__pycache__"))
    units = files / "machine" / "units"
    (units / "sysinit.target.wants").mkdir(parents=True)
    for name in UNITS:
        shutil.copy(VENDOR / name, units)
    for name in UNITS[-3:]:
        (units / "sysinit.target.wants" / name).symlink_to(f"../{name}")
