"""The wrapper: what it does before there is an environment, and after."""

import hashlib
import importlib.util
import os
import shutil
import subprocess
import sys
from importlib.machinery import SourceFileLoader
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
#: The Python that an operator starts the wrapper with: the environment's own has no pip.
PYTHON = str(Path(sys.base_prefix) / "bin" / "python3")


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A checkout without an environment, whose lists are empty, so that nothing is fetched."""
    shutil.copy(ROOT / "despensa", tmp_path / "despensa")
    for lock in ("requirements.lock", "requirements-dev.lock"):
        (tmp_path / lock).write_text("# empty\n")
    (tmp_path / "console").mkdir()
    (tmp_path / "console" / "__init__.py").touch()
    (tmp_path / "console" / "main.py").write_text(
        "import sys\ndef main():\n    print('ran', *sys.argv[1:])\nif __name__ == '__main__':\n    main()\n"
    )
    return tmp_path


def wrapper(checkout: Path, *words: str, ci: bool) -> "subprocess.CompletedProcess[str]":
    """Started without a terminal."""
    environment = {name: value for name, value in os.environ.items() if name not in ("CI", "PYTHONPATH")}
    return subprocess.run(
        [PYTHON, str(checkout / "despensa"), *words],
        env={**environment, **({"CI": "true"} if ci else {})},
        stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False,
    )  # fmt: skip


def test_without_a_terminal_it_installs_nothing_and_names_the_line(checkout: Path) -> None:
    refused = wrapper(checkout, "run", "start", ci=False)

    assert refused.returncode == 2
    assert "hint: CI=1 ./despensa" in refused.stderr
    assert not (checkout / ".venv").exists()


def test_it_sets_up_once_and_hands_over(checkout: Path) -> None:
    first = wrapper(checkout, "run", "list", ci=True)
    second = wrapper(checkout, "run", "list", ci=False)

    assert (first.returncode, first.stdout) == (0, "ran run list\n"), first.stderr
    assert "setting up" in first.stderr
    assert (second.returncode, second.stdout, second.stderr) == (0, "ran run list\n", "")
    service = subprocess.run(
        [checkout / ".venv" / "bin" / "despensa", "worker"], cwd="/", env={"PATH": os.environ["PATH"]},
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert service.stdout == "ran worker\n"


def test_changed_list_and_interrupted_set_up_are_set_up_again(checkout: Path) -> None:
    wrapper(checkout, ci=True)
    (checkout / "requirements.lock").write_text("# changed\n")
    changed = wrapper(checkout, ci=True)
    (checkout / ".venv" / ".requirements.lock.installed").unlink()
    interrupted = wrapper(checkout, ci=True)

    assert "setting up" in changed.stderr
    assert "setting up" in interrupted.stderr
    assert wrapper(checkout, ci=False).returncode == 0


def test_missing_pip_is_named_with_the_line_that_mends_it(checkout: Path) -> None:
    without_pip = checkout / "isolated"
    without_pip.mkdir()
    (without_pip / "sitecustomize.py").write_text(
        "import importlib.util\nfind = importlib.util.find_spec\n"
        "importlib.util.find_spec = lambda name, *rest: None if name == 'pip' else find(name, *rest)\n"
    )

    refused = subprocess.run(
        [PYTHON, str(checkout / "despensa"), "demo"], env={**os.environ, "PYTHONPATH": str(without_pip)},
        stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False,
    )  # fmt: skip

    assert refused.returncode == 2
    assert "hint: apt-get install -y python3-pip" in refused.stderr


def test_each_debian_package_that_is_missing_is_installed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Whoever has the servers from an earlier day has no promtool yet."""
    loader = SourceFileLoader("wrapper", str(ROOT / "despensa"))
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader("wrapper", loader))  # type: ignore[arg-type]
    loader.exec_module(module)
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert {"redis-server", "prometheus"} <= module.DEBIAN_PACKAGES.keys()

    answers = []
    for missing in (None, *module.DEBIAN_PACKAGES):
        seen = {name: str(tmp_path / "nothing") if name == missing else "/" for name in module.DEBIAN_PACKAGES}
        monkeypatch.setattr(module, "DEBIAN_PACKAGES", seen)
        answers.append(module.install_debian_packages())

    assert answers == [0, *(2 for _ in seen)]


def test_no_package_is_built_from_its_source(checkout: Path, tmp_path: Path) -> None:
    """To build one is to run what it brings, as root on a host."""
    source = tmp_path / "eager-1.0"
    source.mkdir()
    (source / "pyproject.toml").write_text(
        '[build-system]\nrequires = []\nbuild-backend = "eager"\nbackend-path = ["."]\n'
        '[project]\nname = "eager"\nversion = "1.0"\n'
    )
    (source / "PKG-INFO").write_text("Metadata-Version: 2.1\nName: eager\nVersion: 1.0\n")
    (source / "eager.py").write_text(f"open({str(tmp_path / 'was here')!r}, 'w')\n")
    packed = Path(shutil.make_archive(str(source), "gztar", tmp_path, source.name))
    digest = hashlib.sha256(packed.read_bytes()).hexdigest()
    (checkout / "requirements.lock").write_text(f"eager==1.0 --hash=sha256:{digest}\n")

    failed = subprocess.run(
        [PYTHON, str(checkout / "despensa"), "demo"],
        env={**os.environ, "PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(tmp_path), "PIP_EXTRA_INDEX_URL": ""},
        stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False,
    )  # fmt: skip

    assert failed.returncode == 2
    assert not (tmp_path / "was here").exists()


def test_list_that_cannot_be_installed_leaves_no_stamp(checkout: Path) -> None:
    (checkout / "requirements.lock").write_text("no-such-package-of-despensa==1.0 --hash=sha256:" + "0" * 64 + "\n")

    failed = subprocess.run(
        [PYTHON, str(checkout / "despensa"), "demo"],
        env={**os.environ, "PIP_NO_INDEX": "1", "PIP_FIND_LINKS": "", "PIP_EXTRA_INDEX_URL": ""},
        stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False,
    )  # fmt: skip

    assert failed.returncode == 2
    assert not (checkout / ".venv" / ".requirements.lock.installed").exists()
