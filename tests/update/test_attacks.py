"""Every attack is refused by its name, leaves its mark in the audit, and changes nothing."""

from __future__ import annotations

import contextlib
from pathlib import Path
from types import MappingProxyType

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edge.update import audit
from edge.update.refusals import TABLE, Code, Refused
from tests.update.attacks import ATTACKS, Scene
from tests.update.site import Appliance, Supplier


@pytest.fixture
def scene(appliance: Appliance, supplier: Supplier, tmp_path: Path) -> Scene:
    scene = Scene(appliance, supplier, tmp_path)
    for seq in (4, 5):
        path = scene.put(scene.good(seq))
        appliance.apply(path)
        path.unlink()
    return scene


def slots(appliance: Appliance) -> dict[str, bytes]:
    """Every file of every slot."""
    folder = appliance.store.slots
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


@pytest.mark.parametrize("name", ATTACKS)
def test_attack(name: str, scene: Scene) -> None:
    code, attack = ATTACKS[name]
    path = attack(scene)
    appliance = scene.appliance
    before = slots(appliance)
    with contextlib.suppress(Refused):
        told = appliance.store.record()
    with pytest.raises(Refused) as refused:
        appliance.apply(path)
    assert refused.value.code is code, str(refused.value)
    assert slots(appliance) == before
    if code is not Code.STATE_LOST:
        after = appliance.store.record()
        assert (after.active, after.previous, after.floor) == (
            told.active, told.previous, told.floor,
        )  # fmt: skip
    *_, last = audit.lines(appliance.audit.folder)
    assert (last["event"], last["code"]) == ("apply", int(code))
    assert audit.verify(appliance.audit.folder)[1] == []
    with contextlib.suppress(AttributeError):
        appliance.held.close()  # type: ignore[attr-defined]


def test_there_are_enough_attacks_and_every_code_has_one() -> None:
    assert len(ATTACKS) >= 30
    elsewhere = {
        Code.GRAPH, Code.MODEL,  # test_selftest.py
        Code.NO_PREVIOUS, Code.SLOT_DAMAGED,  # test_install.py
        Code.UNREADABLE,  # test_stick.py
        Code.TRIAL, Code.PROBATION,  # test_takeup.py
    }  # fmt: skip
    assert {code for code, _ in ATTACKS.values()} == set(Code) - elsewhere


def test_the_table_of_refusals_is_complete_and_can_be_an_exit_code() -> None:
    assert isinstance(TABLE, MappingProxyType)
    assert set(TABLE) == set(Code)
    assert all(10 <= code < 100 for code in Code)
    for row in TABLE.values():
        for text in (row.text, row.remedy):
            assert text[0].isupper()
            assert text.endswith(".")
    assert len({row.text for row in TABLE.values()}) == len(TABLE)


# Any byte of an update file that differs is noticed.


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory) -> tuple[Scene, bytes]:
    folder = tmp_path_factory.mktemp("flip")
    supplier = Supplier(folder / "keys")
    supplier.revoke("release-2")
    appliance = Appliance(state=folder / "state", pinned=supplier.folder / "root.json")
    return Scene(appliance, supplier, folder), supplier.release(6)


@settings(
    max_examples=400, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_any_flipped_byte_is_refused(target: tuple[Scene, bytes], data: st.DataObject) -> None:
    scene, good = target
    place = data.draw(st.integers(0, len(good) - 1))
    mask = data.draw(st.integers(1, 255))
    spoilt = bytearray(good)
    spoilt[place] ^= mask
    path = scene.put(bytes(spoilt))
    with pytest.raises(Refused):
        scene.appliance.installer.inspect(path)


def test_every_byte_of_the_documents(target: tuple[Scene, bytes]) -> None:
    """A step of 7 hits every kind of character; the lowest bit keeps JSON mostly JSON."""
    scene, good = target
    for place in range(0, len(good) - 3000, 7):
        spoilt = bytearray(good)
        spoilt[place] ^= 1 + (place % 2) * 0x1F
        with pytest.raises(Refused):
            scene.appliance.installer.inspect(scene.put(bytes(spoilt)))


def test_every_length(target: tuple[Scene, bytes]) -> None:
    scene, good = target
    for length in (*range(60), *range(60, len(good), 97)):
        with pytest.raises(Refused):
            scene.appliance.installer.inspect(scene.put(good[:length]))


def test_untouched_it_is_accepted(target: tuple[Scene, bytes]) -> None:
    scene, good = target
    assert scene.appliance.installer.inspect(scene.put(good)).manifest.place.seq == 6
