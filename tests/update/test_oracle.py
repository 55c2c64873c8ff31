"""python-tuf's own client as a second opinion on signatures, thresholds and rotation.

The client wants timestamp and snapshot roles, which our documents leave without keys; the oracle is
given the same roots with one more key for those two. It and we have to agree on every combination
of signers, except where we are stricter on purpose: a signature that is wrong or of nobody is a
reason to refuse, where the client passes over it.
"""

from __future__ import annotations

import copy
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tuf.api.exceptions import RepositoryError
from tuf.api.metadata import Metadata, MetaFile, Root, Snapshot, TargetFile, Targets, Timestamp
from tuf.ngclient._internal.trusted_metadata_set import TrustedMetadataSet
from tuf.ngclient.config import EnvelopeType

from edge.update import trust
from edge.update.refusals import Refused
from edge.update.trust import EXTENSION, canonical
from export.deliver.keys import NEVER, PrivateKey, _named
from tests.update.site import Supplier

EVERYBODY = ("root-a", "root-b", "root-c", "release-1", "release-2", "stranger", "new")
people = st.sets(st.sampled_from(EVERYBODY), max_size=5)
# Half of the draws are near what is accepted: a random set of people nearly never is.
root_people = st.one_of(st.just({"root-a", "root-b"}), people)
release_people = st.sampled_from([{"release-1"}, {"release-1", "release-2"}]) | people


def stranger(name: str) -> PrivateKey:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    return _named(name, Ed25519PrivateKey.generate())


def signed(body: Any, signers: list[PrivateKey]) -> bytes:
    document = Metadata(body)
    for key in signers:
        document.sign(key.signer, append=True)
    return canonical(document.to_dict())


def with_oracle_key(root: Root, key: PrivateKey) -> Root:
    root = copy.deepcopy(root)
    for role in (Timestamp.type, Snapshot.type):
        root.add_key(key.signer.public_key, role)
    return root


@settings(max_examples=150, deadline=None,
          suppress_health_check=[HealthCheck.function_scoped_fixture])  # fmt: skip
@given(
    root_signers=root_people,
    release_signers=release_people,
    drop=st.sampled_from(["nothing", "root-c", "release-1", "release-2"]),
    add=st.sampled_from(["nothing", "root", "targets"]),
    step=st.sampled_from([1, 1, 1, 2]),
    release_threshold=st.sampled_from([1, 1, 2]),
    rotated=st.booleans(),
)
def test_the_client_agrees(
    supplier: Supplier,
    root_signers: set[str],
    release_signers: set[str],
    drop: str,
    add: str,
    step: int,
    release_threshold: int,
    rotated: bool,
) -> None:
    keys = {name: supplier.key(name) for name in EVERYBODY[:5]}
    keys |= {"stranger": stranger("stranger"), "new": stranger("new")}
    first = supplier.chain.newest.root
    root = copy.deepcopy(first)
    root.version += step
    for role in (Root.type, Targets.type):
        if drop != "nothing" and keys[drop].signer.public_key.keyid in root.roles[role].keyids:
            root.revoke_key(keys[drop].signer.public_key.keyid, role)
    if add != "nothing":
        root.add_key(keys["new"].signer.public_key, add)
    root.roles[Targets.type].threshold = release_threshold
    targets = Targets(version=3, expires=NEVER)
    targets.targets["a"] = TargetFile.from_data("a", b"a", ["sha256"])
    targets.unrecognized_fields[EXTENSION] = {}
    releases = signed(targets, [keys[name] for name in sorted(release_signers)])
    by = [keys[name] for name in sorted(root_signers)]

    ours = True
    try:
        chain = supplier.chain.extend([signed(root, by)] if rotated else [])
        chain.manifest(releases)
    except Refused:
        ours = False

    extra = stranger("oracle")
    theirs = True
    try:
        held = [keys[name] for name in ("root-a", "root-b", "root-c")]
        client = TrustedMetadataSet(
            signed(with_oracle_key(first, extra), held), EnvelopeType.METADATA
        )
        if rotated:
            client.update_root(signed(with_oracle_key(root, extra), by))
        stamp = Timestamp(expires=NEVER, snapshot_meta=MetaFile(1))
        client.update_timestamp(signed(stamp, [extra]))
        shot = Snapshot(expires=NEVER, meta={"targets.json": MetaFile(3)})
        client.update_snapshot(signed(shot, [extra]))
        client.update_targets(releases)
    except RepositoryError:
        theirs = False

    newest = root if rotated else first
    known_roots = {*first.roles[Root.type].keyids, *root.roles[Root.type].keyids}
    superfluous = (
        rotated and any(key.signer.public_key.keyid not in known_roots for key in by)
    ) or any(
        keys[name].signer.public_key.keyid not in newest.roles[Targets.type].keyids
        for name in release_signers
    )
    assert ours == (theirs and not superfluous)


def test_the_client_has_a_clock_and_we_have_none(supplier: Supplier) -> None:
    """The documented difference: an expired document is refused there and accepted here."""
    from datetime import UTC, datetime

    root = copy.deepcopy(supplier.chain.newest.root)
    root.expires = datetime(2001, 1, 1, tzinfo=UTC)
    data = signed(root, [supplier.key(name) for name in ("root-a", "root-b", "root-c")])
    assert trust.pin(data).newest.version == 1
    assert root.is_expired()
