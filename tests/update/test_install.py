"""The ordinary life of an appliance: install, update, go back, change keys, repair."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from edge.update.audit import lines, verify
from edge.update.refusals import Code, Refused
from tests.update.site import Appliance, Supplier

Put = Callable[[bytes], Path]


def test_install_update_and_go_back(appliance: Appliance, supplier: Supplier, stick: Put) -> None:
    assert appliance.active is None
    for seq in (1, 2, 5):
        assert appliance.apply(stick(supplier.release(seq))).place.seq == seq
        assert appliance.active == seq
    assert len(list(appliance.store.slots.iterdir())) == 2
    appliance.installer.rollback()
    assert appliance.active == 2
    # Forward again, by the command or by the stick that is still there.
    appliance.installer.rollback()
    assert appliance.active == 5
    appliance.installer.rollback()
    assert appliance.verdict(stick(supplier.release(5))) is None
    assert appliance.active == 5
    # The floor has not moved down.
    assert appliance.verdict(stick(supplier.release(3))) is Code.ROLLBACK
    assert verify(appliance.audit.folder)[1] == []
    told = [(line["event"], line["verdict"]) for line in lines(appliance.audit.folder)]
    assert told[-1] == ("apply", "rollback")
    assert told[0] == ("apply", "done")


def test_back_to_the_bundle_of_the_configuration(
    appliance: Appliance, supplier: Supplier, stick: Put
) -> None:
    with pytest.raises(Refused) as refused:
        appliance.installer.rollback()
    assert refused.value.code is Code.NO_PREVIOUS
    appliance.apply(stick(supplier.release(1)))
    assert appliance.installer.rollback() == "configured bundle"
    assert appliance.active is None


def test_inspect_writes_nothing(appliance: Appliance, supplier: Supplier, stick: Put) -> None:
    supplier.revoke("release-2")
    found = appliance.installer.inspect(stick(supplier.release(4)))
    assert (found.manifest.place.seq, found.signers, found.new_roots) == (4, ("release-1",), (2,))
    assert not appliance.state.exists()


def test_a_revocation_holds_even_if_its_release_is_refused(
    appliance: Appliance, supplier: Supplier, stick: Put
) -> None:
    old = supplier.chain
    appliance.apply(stick(supplier.release(1)))
    supplier.revoke("release-1")
    other_line = supplier.release(2, "release-2", lines=("ncm-9",))
    assert appliance.verdict(stick(other_line)) is Code.WRONG_LINE
    assert appliance.store.chain().newest.version == 2
    thief = supplier.release(3, "release-1", chain=old)
    assert appliance.verdict(stick(thief)) is Code.KEY_REVOKED
    # What was installed under the old key runs on.
    assert appliance.active == 1
    assert appliance.verdict(stick(supplier.release(4, "release-2"))) is None


def test_fast_forward_and_the_way_back(
    appliance: Appliance, supplier: Supplier, stick: Put
) -> None:
    appliance.apply(stick(supplier.release(2**53, "release-1")))
    assert appliance.verdict(stick(supplier.release(9))) is Code.ROLLBACK
    supplier.revoke("release-1", raise_epoch=True)
    assert appliance.verdict(stick(supplier.release(1, "release-2"))) is None
    assert appliance.active == 1


def test_a_damaged_active_slot_is_healed_by_its_stick(
    appliance: Appliance, supplier: Supplier, stick: Put
) -> None:
    appliance.apply(stick(supplier.release(1)))
    appliance.apply(stick(supplier.release(2)))
    assert appliance.verdict(stick(supplier.release(2))) is Code.ALREADY_ACTIVE
    store = appliance.store
    active = store.record().active
    assert active is not None
    (store.bundle(active) / "model.onnx").write_bytes(b"other")
    with pytest.raises(Refused) as refused:
        _ = appliance.active
    assert refused.value.code is Code.SLOT_DAMAGED
    assert appliance.verdict(stick(supplier.release(2))) is None
    assert appliance.active == 2
    appliance.installer.rollback()
    assert appliance.active == 1


def test_one_damaged_copy_of_the_record_is_no_loss(
    appliance: Appliance, supplier: Supplier, stick: Put
) -> None:
    appliance.apply(stick(supplier.release(7)))
    for name in ("record.0.json", "record.1.json"):
        (appliance.store.line / name).write_bytes(b"\0" * 100)
        assert appliance.active == 7
        assert appliance.verdict(stick(supplier.release(6))) is Code.ROLLBACK
        assert appliance.verdict(stick(supplier.release(7))) is Code.ALREADY_ACTIVE


@pytest.mark.parametrize("lost", ["zeroed", "removed"])
def test_lost_memory_refuses_until_it_is_repaired(
    appliance: Appliance, supplier: Supplier, stick: Put, lost: str
) -> None:
    supplier.revoke("release-2")
    appliance.apply(stick(supplier.release(6)))
    appliance.apply(stick(supplier.release(7)))
    store = appliance.store
    for path in (*store.line.glob("record.*"), *store.trust.glob("*")):
        path.write_bytes(b"\0" * path.stat().st_size) if lost == "zeroed" else path.unlink()
    for seq in (5, 8):
        assert appliance.verdict(stick(supplier.release(seq))) is Code.STATE_LOST
    with pytest.raises(Refused) as refused:
        appliance.installer.rollback()
    assert refused.value.code is Code.STATE_LOST
    appliance.installer.repair()
    assert appliance.store.chain().newest.version == 2
    assert appliance.active == 7
    assert appliance.verdict(stick(supplier.release(5))) is Code.ROLLBACK
    appliance.installer.rollback()
    assert appliance.active == 6
    assert appliance.verdict(stick(supplier.release(8))) is None


def test_repair_without_evidence_asks_for_the_floor(
    appliance: Appliance, supplier: Supplier, stick: Put
) -> None:
    from edge.update.manifest import Floor

    appliance.apply(stick(supplier.release(7)))
    for path in appliance.store.line.rglob("*"):
        if path.is_file():
            path.write_bytes(b"")
    with pytest.raises(Refused) as refused:
        appliance.installer.repair()
    assert "--floor" in refused.value.detail
    appliance.installer.repair(Floor(1, 7))
    assert appliance.verdict(stick(supplier.release(6))) is Code.ROLLBACK
    assert appliance.verdict(stick(supplier.release(8))) is None


def test_a_model_that_fails_its_self_test_changes_nothing(
    appliance: Appliance, supplier: Supplier, stick: Put
) -> None:
    appliance.apply(stick(supplier.release(1)))

    def fails(bundle: Path) -> str:
        raise Refused(Code.SELF_TEST, "differs by 0.3")

    appliance.self_test = fails
    assert appliance.verdict(stick(supplier.release(2))) is Code.SELF_TEST
    assert appliance.active == 1
    from tests.update.site import passes

    appliance.self_test = passes
    assert appliance.verdict(stick(supplier.release(2))) is None
