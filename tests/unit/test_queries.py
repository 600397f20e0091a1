"""Every named query: one name, one purpose, the same on both databases."""

import importlib
import pkgutil

import pytest

import models
import scheduler
import workers
from models.storage import Query


def all_queries() -> list[tuple[str, Query]]:
    """Every Query of the packages, with the module that states it."""
    found = []
    for package in (models, scheduler, workers):
        for info in pkgutil.walk_packages(package.__path__, package.__name__ + "."):
            if "migrations" in info.name:
                continue
            module = importlib.import_module(info.name)
            found += [(info.name, value) for value in vars(module).values() if isinstance(value, Query)]
    return found


def test_names_are_stated_once() -> None:
    stated: dict[str, int] = {}
    for _, query in {id(query): (module, query) for module, query in all_queries()}.values():
        stated[query.name] = stated.get(query.name, 0) + 1

    assert len(stated) > 50
    assert {name for name, count in stated.items() if count > 1} == set()


def test_query_needs_its_purpose() -> None:
    with pytest.raises(ValueError, match="name"):
        Query("SELECT 1")


def test_parameter_in_a_purpose_line_is_text() -> None:
    """`:limit` there was once bound, and every statement refused."""
    query = Query("-- some_rows: up to :limit rows\nSELECT 1 LIMIT :limit")

    assert set(query.on("sqlite").compile().params) == {"limit"}
