"""A supplier for the session, an appliance and a stick for each test."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.update.site import Appliance, Supplier


@pytest.fixture(scope="session")
def _origin(tmp_path_factory: pytest.TempPathFactory) -> Supplier:
    return Supplier(tmp_path_factory.mktemp("supplier") / "keys")


@pytest.fixture
def supplier(_origin: Supplier, tmp_path: Path) -> Supplier:
    """A supplier of one's own: keys may be rotated."""
    shutil.copytree(_origin.folder, tmp_path / "keys")
    own = object.__new__(Supplier)
    own.folder, own.chain = tmp_path / "keys", _origin.chain
    return own


@pytest.fixture
def appliance(supplier: Supplier, tmp_path: Path) -> Appliance:
    """Provisioned with the supplier's first root; nothing installed."""
    return Appliance(state=tmp_path / "state", pinned=supplier.folder / "root.json")


@pytest.fixture
def stick(tmp_path: Path) -> Callable[[bytes], Path]:
    """Puts a file on the stick and returns its path."""

    def put(data: bytes) -> Path:
        path = tmp_path / "stick" / "update.ncm"
        path.parent.mkdir(exist_ok=True)
        path.unlink(missing_ok=True)
        path.write_bytes(data)
        return path

    return put


@pytest.fixture
def memory(tmp_path: Path) -> Iterator[Path]:
    """A folder in memory where there is one: thousands of flushes, and no disk is being tested."""
    shared = Path("/dev/shm")
    if not (shared.is_dir() and os.access(shared, os.W_OK)):
        yield tmp_path
        return
    with tempfile.TemporaryDirectory(dir=shared) as folder:
        yield Path(folder)
