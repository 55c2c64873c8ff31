"""python-tuf's client in front of every attack of the table: who else would have refused it?

The client gets what an appliance has: the pinned root, the key documents and the release number it
knows, and the file on the stick, taken apart. It has no notion of a site, an epoch, a stick or a
self-test; those attacks are listed, with the reason why it lets them pass. Every other verdict is
the same, and nothing that it refuses passes here.
"""

from __future__ import annotations

import contextlib
import io
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest
from tuf.api.exceptions import BadVersionNumberError, LengthOrHashMismatchError, RepositoryError
from tuf.api.metadata import MetaFile, Snapshot, Targets, Timestamp
from tuf.api.serialization import DeserializationError
from tuf.ngclient._internal.trusted_metadata_set import TrustedMetadataSet
from tuf.ngclient.config import EnvelopeType

from edge.update.refusals import Refused
from edge.update.trust import Chain
from export.deliver.keys import NEVER, PrivateKey
from tests.update.attacks import ATTACKS, Scene, split
from tests.update.site import Appliance, Supplier
from tests.update.test_oracle import signed, stranger


@dataclass(frozen=True, slots=True)
class Known:
    """What the client has kept of earlier updates."""

    roots: tuple[bytes, ...]
    seq: int


def known(appliance: Appliance) -> Known:
    """Of what is left of the state: what is lost, the client does not miss."""
    store = appliance.store
    seq, roots = 0, [appliance.pinned.read_bytes()]
    with contextlib.suppress(Refused):
        seq = store.record().seq
    with contextlib.suppress(Refused):
        chain: Chain = store.chain()
        roots = [root.data for root in chain.roots]
    return Known(tuple(roots), seq)


def accepts(before: Known, data: bytes, key: PrivateKey) -> bool:
    """The client's verdict; `key` signs the two roles that our documents leave out."""
    try:
        documents, blobs = split(data)
        client = TrustedMetadataSet(before.roots[0], EnvelopeType.METADATA)
        for root in (*before.roots[1:], *documents[1:]):
            if json.loads(root)["signed"]["version"] > client.root.version:
                client.update_root(root)
        for role in (Timestamp.type, Snapshot.type):
            client.root.add_key(key.signer.public_key, role)
        seq = json.loads(documents[0])["signed"]["version"]
        for version in (1, 2):
            stamp = Timestamp(version=version, expires=NEVER, snapshot_meta=MetaFile(version))
            client.update_timestamp(signed(stamp, [key]))
        for version, number in ((1, before.seq), (2, seq)):
            meta = {"targets.json": MetaFile(max(1, number))}
            shot = Snapshot(version=version, expires=NEVER, meta=meta)
            # As the client does with the one it has kept: out of date, but known from now on.
            outdated = BadVersionNumberError if version == 1 else ()
            with contextlib.suppress(outdated):
                client.update_snapshot(signed(shot, [key]), trusted=version == 1)
        targets = client.update_targets(documents[0])
        assert isinstance(targets, Targets)
        for _, file in sorted(targets.targets.items()):
            file.verify_length_and_hashes(blobs[: file.length])
            blobs = blobs[file.length :]
    except (Refused, RepositoryError, DeserializationError, LengthOrHashMismatchError, ValueError,
            KeyError, TypeError, RecursionError):  # fmt: skip
        return False
    return True


_SITE = "knows signatures, not what a release was made for"
_MACHINE = "is done with the file before it meets this appliance"
_STICK = "reads the right bytes of a file, and does not ask what else it is"
_ORDER = "has numbers of one role, no epoch and no memory of what carries a number"
_LOST = "lost memory is a new client to it"
_KEYS = "leaves the rules for keys to its user: kind, thresholds, one person one key"
_SPELT = "reads every spelling of the same signed content"
_MIX = "takes the newest root from wherever it comes"
PASSES: Mapping[str, str] = {
    "replay on a new appliance, below the least number": _ORDER,
    "the active release again": _ORDER,
    "other content under an installed number": _ORDER,
    "fast-forward epoch by a release key": _ORDER,
    "number beyond every counter": _ORDER,
    "replay after the state was zeroed": _LOST,
    "revoked key after the keys were zeroed": _LOST,
    "a wrong signature beside a right one": "needs one right signature, and passes over the rest",
    "old root in front of a newer release": _MIX,
    "a root more than the release was signed with": _MIX,
    "new root with a threshold of one": _KEYS,
    "new root with one key under two ids": _KEYS,
    "new root with a key of another kind": _KEYS,
    "new root that lowers the epoch": _ORDER,
    "a key twice in a document": _SPELT,
    "blanks between the words": _SPELT,
    "an unsigned field beside the signed ones": _SPELT,
    "an unsigned field inside a signature": _SPELT,
    "a blank within a signature": _SPELT,
    "a manifest without files": _SITE,
    "a manifest that delegates": _SITE,
    "an unknown kind": _SITE,
    "a later format": _SITE,
    "one byte long": _STICK,
    "grown to 8 GiB": _STICK,
    "a symbolic link": _STICK,
    "pulled in mid-copy": _STICK,
    "for another line": _SITE,
    "for other tags": _SITE,
    "for other seconds per row": _SITE,
    "newer program required": _SITE,
    "older program required": _SITE,
    "self-test out of tolerance": _MACHINE,
    "full disk": _MACHINE,
    "read-only state": _MACHINE,
    "a disk that fails": _MACHINE,
    "another update at the same time": _MACHINE,
}
"""Refused here and accepted by the client, which ..."""


@pytest.fixture
def scene(supplier: Supplier, memory: Path) -> Iterator[Scene]:
    appliance = Appliance(state=memory / "state", pinned=supplier.folder / "root.json")
    scene = Scene(appliance, supplier, memory)
    for seq in (4, 5):
        appliance.apply(scene.put(scene.good(seq)))
    yield scene
    with contextlib.suppress(AttributeError):
        appliance.held.close()  # type: ignore[attr-defined]


def test_good_releases(scene: Scene) -> None:
    key = stranger("oracle")
    assert accepts(known(scene.appliance), scene.good(6), key)
    scene.supplier.revoke("release-2")
    assert accepts(known(scene.appliance), scene.good(6), key)


@pytest.mark.parametrize("name", ATTACKS)
def test_attack(name: str, scene: Scene) -> None:
    _, attack = ATTACKS[name]
    path = attack(scene)
    appliance = scene.appliance
    with path.open("rb") if path.is_file() else io.BytesIO() as stream:
        data = stream.read(1 << 20)
    theirs = appliance.pinned.exists() and accepts(known(appliance), data, stranger("oracle"))
    assert theirs == (name in PASSES), PASSES.get(name)


def test_no_reason_is_left_over() -> None:
    assert set(PASSES) <= set(ATTACKS)
