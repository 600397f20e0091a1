"""A bare Debian 12 with python3 and pip alone: set-up and demo. Takes minutes and a network: run by hand, as root."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.hand
@pytest.mark.timeout(3600)
def test_demo_runs_in_a_bare_debian_root(tmp_path: Path) -> None:
    """`./despensa test -m hand tests/acceptance/test_bare_debian.py`"""
    if shutil.which("debootstrap") is None or os.geteuid() != 0:
        pytest.fail("this test needs root and debootstrap: apt-get install -y debootstrap")
    root = tmp_path / "debian"
    subprocess.run(
        ["debootstrap", "--variant=minbase", "--include=python3,python3-pip,ca-certificates", "bookworm", str(root)],
        check=True,
    )
    tracked = subprocess.check_output(["git", "ls-files"], cwd=ROOT, text=True).split()
    for name in tracked:
        (root / "srv" / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, root / "srv" / name)
    for name in ("etc/resolv.conf", "etc/ssl/certs/ca-certificates.crt"):  # the network as this host has it
        shutil.copy(Path("/") / name, root / name)

    done = subprocess.run(["chroot", str(root), "/srv/despensa", "demo"], stdin=subprocess.DEVNULL, check=False)

    assert done.returncode == 0
