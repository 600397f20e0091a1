"""deploy/SETTINGS.md is generated."""

from pathlib import Path

from console.config import settings_reference
from models.settings import PREFIX, Settings

PAGE = Path(__file__).parents[2] / "deploy" / "SETTINGS.md"


def test_settings_page_is_what_the_settings_say() -> None:
    """Mend it with: despensa config show --reference > deploy/SETTINGS.md."""
    assert PAGE.read_text() == settings_reference()


def test_every_setting_has_a_description_on_the_page() -> None:
    page = settings_reference()

    for name, field in Settings.model_fields.items():
        assert field.description
        assert f"| `{PREFIX}{name.upper()}` | {field.description} |" in page
