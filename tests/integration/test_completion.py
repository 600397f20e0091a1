"""Completion, asked for as shells do: in a process, by their variables, and by a real bash."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.commands import ROOT


def completions(shell: str, typed: str) -> list[str]:
    """What a shell is answered for a line that ends at the cursor."""
    asked = {
        "bash": {"COMP_WORDS": typed, "COMP_CWORD": str(len(typed.split(" ")) - 1)},
        "zsh": {"_TYPER_COMPLETE_ARGS": typed},
        "fish": {"_TYPER_COMPLETE_ARGS": typed, "_TYPER_COMPLETE_FISH_ACTION": "get-args"},
    }[shell]
    done = subprocess.run(
        [sys.executable, "-m", "console.main"], cwd=ROOT, capture_output=True, text=True, check=False,
        env={**os.environ, **asked, "_DESPENSA_COMPLETE": f"complete_{shell}"},
    )  # fmt: skip
    assert done.stderr == ""
    return done.stdout.splitlines()


@pytest.mark.parametrize(
    ("typed", "offered"),
    [
        ("despensa run re", {"release", "retry", "resolve", "resume", "reconcile"}),
        ("despensa run cases --reason ", {"unknown", "rejected", "dead", "stopped"}),
        ("despensa run cases --wa", {"--waiting"}),
    ],
)
@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_shell_is_offered_what_can_follow(shell: str, typed: str, offered: set[str]) -> None:
    answered = "\n".join(completions(shell, typed))

    for word in offered:
        assert word in answered
    assert "discard" not in answered


def test_bash_itself_completes(tmp_path: Path) -> None:
    """With the script that `--show-completion` prints, sourced by a real bash."""
    command = tmp_path / "despensa"
    command.write_text(
        f'#!/bin/sh\ncd {ROOT} && exec {sys.executable} -c "from console.main import main; main()" "$@"\n'
    )
    command.chmod(0o755)
    script = """
        source <(_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION=1 despensa --show-completion bash)
        COMP_WORDS=(despensa run pa); COMP_CWORD=2
        _despensa_completion despensa pa run
        echo "${COMPREPLY[@]}"
    """
    environment = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"}

    done = subprocess.run(["bash", "-c", script], env=environment, capture_output=True, text=True, check=True)

    assert done.stdout == "pause\n"


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_is_installed_for_whoever_asks(shell: str, tmp_path: Path) -> None:
    environment = {**os.environ, "HOME": str(tmp_path), "_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1"}

    done = subprocess.run(
        [sys.executable, "-m", "console.main", "--install-completion", shell], cwd=ROOT, env=environment,
        capture_output=True, text=True, check=True,
    )  # fmt: skip

    written = "".join(path.read_text() for path in tmp_path.rglob("*") if path.is_file())
    assert f"{shell} completion installed" in done.stdout
    assert "_DESPENSA_COMPLETE" in written
