"""Tier 2 runs only where it is asked for; a supplier for each test."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.update.site import Supplier


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Tier 2 takes minutes: it is asked for by name."""
    if "tier2" in config.getoption("markexpr"):
        return
    for item in items:
        if item.get_closest_marker("tier2") is not None:
            item.add_marker(pytest.mark.skip(reason="takes minutes; asked for with `-m tier2`"))


@pytest.fixture
def supplier(tmp_path: Path) -> Supplier:
    """Keys and releases of one's own."""
    return Supplier(tmp_path / "keys")
