"""Fixtures of the system tests: an appliance on free ports, its state in a folder of the test."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from edge.config.types import Appliance
from tests.line import CONFIG, appliance_of


@pytest.fixture(scope="session")
def bundle() -> Path:
    """The shipped bundle of the demo line."""
    return CONFIG / "models" / "ncm-1"


@pytest.fixture
def appliance(tmp_path: Path, free_port: Callable[[], int], bundle: Path) -> Appliance:
    """One line with its bundle."""
    return appliance_of(tmp_path, free_port, bundle=bundle)


@pytest.fixture
def jumpy(tmp_path: Path, free_port: Callable[[], int], bundle: Path) -> Appliance:
    """The same with a threshold so low that any batch raises the flag, whatever the model."""
    return appliance_of(tmp_path, free_port, bundle=bundle, warn_probability=1e-6)
