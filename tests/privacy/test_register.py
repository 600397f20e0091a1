"""The register of what is stored names every field there is, with its reason, and none that is not there."""

import re
from pathlib import Path

from models.tables import Table

PAGE = Path(__file__).parents[2] / "deploy" / "PRIVACY.md"
ROW = re.compile(r"^\| (?P<fields>`[^|]+`) \| (?P<whom>[^|]+) \| (?P<why>[^|]+) \|$", re.M)
#: Tables of which every field tells of a family: what joins to it does.
OF_FAMILIES = {"household", "enrolment", "disbursement", "voucher", "intent", "answer"}


def registered() -> dict[str, tuple[str, str]]:
    """Of whom each field tells, and why it is stored; a field that stands twice is a fault of the page."""
    found: dict[str, tuple[str, str]] = {}
    for row in ROW.finditer(PAGE.read_text()):
        for field in re.findall(r"`([^`]+)`", row["fields"]):
            assert field not in found, field
            found[field] = (row["whom"].strip(), row["why"].strip())
    return found


def stored() -> set[str]:
    """Every column of the schema."""
    return {f"{name}.{column.name}" for name, table in Table.metadata.tables.items() for column in table.columns}


def test_every_stored_field_has_its_reason() -> None:
    """A field that nobody can say a reason for is not to be stored."""
    assert stored() - registered().keys() == set()
    assert registered().keys() - stored() == set()
    assert all(why and whom in ("family", "few", "staff", "-") for whom, why in registered().values())


def test_fields_of_families_are_called_so() -> None:
    told = registered()

    assert {told[field][0] for field in stored() if field.partition(".")[0] in OF_FAMILIES} == {"family"}
    assert told["run_group.families"][0] == "few"
    assert {field for field in stored() if field.endswith(("_by", ".operator"))} == {
        field for field, (whom, _) in told.items() if whom == "staff" and field != "journal.fields"
    }
