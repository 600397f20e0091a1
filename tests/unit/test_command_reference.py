"""The page of commands is the command tree's."""

from console.command_reference import PAGE, reference


def test_reference_page_is_up_to_date() -> None:
    assert PAGE.read_text() == reference(), "regenerate: python -m console.command_reference"


def test_every_command_of_the_design_that_is_there_says_what_it_does() -> None:
    page = reference()

    for command in (
        "demo", "doctor", "config show", "config check", "db upgrade", "db check", "keys init", "import PATH",
        "run start", "run list", "run plan", "run approve", "run release", "run status", "run cases", "run retry",
        "run resolve", "run pause", "run resume", "run discard", "run cancel", "run reconcile", "voucher show",
        "voucher export", "store list", "store test", "store resend", "store secret", "worker", "scheduler",
        "simulate stores", "logs tail", "logs totals", "logs verify", "logs emit", "logs schema",
    ):  # fmt: skip
        assert f"## `despensa {command}" in page, command
    assert "\n\n\n" not in page, "a command without a docstring"
