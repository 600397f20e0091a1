"""By what a city's figures are parted; apart from the reports, so that the command's help needs no database."""

from enum import StrEnum


class By(StrEnum):
    """What a city's row of `report month` is parted by."""

    LOCATION = "location"  #: not at all
    GROUP = "group"
    SUPPORT = "support"  #: the family's first month, its second, and so on
