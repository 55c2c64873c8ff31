"""What the daemon runs: the verified active slot, else what can be trusted, and it says so."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from edge.core.conditions import Condition
from edge.update import audit
from edge.update.source import Source, recheck, source
from tests.update.site import Appliance, Supplier

CONFIGURED = Path("configured")


def of(appliance: Appliance) -> Source:
    return source(appliance.state, "ncm-1", appliance.pinned, CONFIGURED)


@pytest.fixture
def installed(
    appliance: Appliance, supplier: Supplier, stick: Callable[[bytes], Path]
) -> Appliance:
    for seq in (4, 5):
        appliance.apply(stick(supplier.release(seq)))
    return appliance


def spoil(appliance: Appliance, which: str) -> None:
    slot = getattr(appliance.store.record(), which)
    (appliance.store.bundle(slot) / "model.onnx").write_bytes(b"other")


def test_nothing_installed(appliance: Appliance) -> None:
    assert of(appliance) == Source(CONFIGURED, None, "configured bundle", None, "")


def test_the_active_slot(installed: Appliance) -> None:
    found = of(installed)
    assert (found.release, found.fault) == ("release 1.5", "")
    assert (found.bundle / "model.onnx").is_file()


def test_a_damaged_slot_does_not_run(installed: Appliance) -> None:
    spoil(installed, "active")
    found = of(installed)
    assert found.release == "release 1.4"
    assert "model.onnx has another size" in found.fault
    spoil(installed, "previous")
    found = of(installed)
    assert (found.bundle, found.slot) == (CONFIGURED, None)
    assert found.fault.count("slot-damaged 76") == 2


def test_an_unproven_release_waits_beside_the_one_before(
    installed: Appliance, supplier: Supplier, stick: Callable[[bytes], Path]
) -> None:
    for seq in (6, 7):  # the first one is never seen at work, and is nothing to go back to
        installed.installer.apply(stick(supplier.release(seq)))
        assert of(installed).release == "release 1.5"
    assert [installed.installer.begin() for _ in range(2)] == [1, 2]
    installed.installer.prove("another")
    assert of(installed).release == "release 1.5"
    installed.installer.prove(installed.store.record().active)
    assert of(installed).release == "release 1.7"
    assert installed.installer.begin() == 0
    installed.installer.rollback()
    assert of(installed).release == "release 1.5"


def test_going_back_to_the_configuration_is_a_choice_not_a_fault(
    appliance: Appliance, supplier: Supplier, stick: Callable[[bytes], Path]
) -> None:
    appliance.apply(stick(supplier.release(1)))
    appliance.installer.rollback()
    assert of(appliance) == Source(CONFIGURED, None, "configured bundle", None, "")


def test_without_its_record_the_newest_sound_release_runs(installed: Appliance) -> None:
    for path in installed.store.line.glob("record.*"):
        path.write_bytes(b"")
    found = of(installed)
    assert found.release == "release 1.5"
    assert "state-lost 70" in found.fault


def test_without_a_root_of_trust_no_slot_runs(installed: Appliance) -> None:
    installed.pinned.unlink()
    found = of(installed)
    assert found.slot is None
    assert "not-provisioned" in found.fault


def test_the_daily_look(installed: Appliance) -> None:
    def look() -> dict[Condition, str]:
        return recheck(
            installed.state, "ncm-1", installed.pinned, of(installed).slot, installed.audit
        )

    assert look() == {}
    slot = of(installed).slot
    spoil(installed, "active")
    seen = recheck(installed.state, "ncm-1", installed.pinned, slot, installed.audit)
    assert set(seen) == {Condition.UPDATE_FAILED}
    told = [line["verdict"] for line in audit.lines(installed.audit.folder)]
    assert told[-2:] == ["sound", "slot-damaged"]
    installed.watch = lambda *_: (_ for _ in ()).throw(OSError(28, "No space left on device"))
    assert "No space left" in look()[Condition.STORAGE_FAULT]
