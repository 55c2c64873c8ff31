"""The attacks, as a table: name -> (code it must be refused with, how it is done).

Every attack starts from an appliance on which release 4 and then release 5 were installed, and ends
with what is put in front of it.
"""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from securesystemslib.signer import SSlibKey
from tuf.api.metadata import Delegations, Key, Metadata, Root, TargetFile, Targets

from edge.update import container
from edge.update.refusals import Code
from edge.update.trust import EXTENSION, canonical
from export.deliver import keys
from tests.update.site import Appliance, Supplier, content


@dataclass
class Scene:
    """What an attacker has."""

    appliance: Appliance
    supplier: Supplier
    folder: Path
    """Of the test; may hold anything."""

    def put(self, data: bytes, name: str = "update.ncm") -> Path:
        path = self.folder / "stick" / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(data)
        return path

    def good(self, seq: int = 6, *signers: str, **terms: Any) -> bytes:
        return self.supplier.release(seq, *signers, **terms)

    def stranger(self) -> Supplier:
        return Supplier(self.folder / "stranger")


def split(data: bytes) -> tuple[list[bytes], bytes]:
    """(documents, everything behind them)."""
    view = memoryview(data)

    def read(count: int) -> bytes:
        nonlocal view
        part, view = bytes(view[:count]), view[count:]
        return part

    documents = container.read_documents(read, len(data))
    return documents, bytes(view)


def resigned(s: Scene, change: Callable[[Targets], None], *signers: str) -> bytes:
    """A release changed by somebody who holds a release key."""
    documents, blobs = split(s.good())
    document = Metadata[Targets].from_bytes(documents[0])
    change(document.signed)
    document.signatures.clear()
    for name in signers or ("release-1",):
        document.sign(s.supplier.key(name).signer, append=True)
    return container.head([canonical(document.to_dict()), *documents[1:]]) + blobs


def about(**fields: Any) -> Callable[[Targets], None]:
    """Change fields of x-ncm."""

    def change(targets: Targets) -> None:
        targets.unrecognized_fields[EXTENSION] |= fields

    return change


def edited(data: bytes, change: Callable[[bytes], bytes], place: int = 0) -> bytes:
    """A document changed without signing it again."""
    documents, blobs = split(data)
    documents[place] = change(documents[place])
    return container.head(documents) + blobs


def named(name: str) -> Callable[[Scene], Path]:
    """A file of that name in the signed manifest."""

    def attack(s: Scene) -> Path:
        def change(targets: Targets) -> None:
            targets.targets[name] = TargetFile.from_data(name, b"x", ["sha256"])

        return s.put(resigned(s, change))

    return attack


def root_with(
    s: Scene, change: Callable[[Root], None], *signers: str, version: int | None = None
) -> bytes:
    """A release whose stick carries a next root made by hand."""
    root = Root.from_dict(json.loads(s.supplier.chain.newest.data)["signed"])
    root.version = version or root.version + 1
    change(root)
    document = Metadata(root)
    for name in signers or ("root-a", "root-b"):
        document.sign(s.supplier.key(name).signer, append=True)
    documents, blobs = split(s.good())
    return container.head([*documents, canonical(document.to_dict())]) + blobs


def thin(root: Root) -> None:
    root.roles["root"].threshold = 1


def lower(root: Root) -> None:
    root.unrecognized_fields[EXTENSION]["epoch"] = 0


def foreign_key_type(root: Root) -> None:
    root.keys["0" * 64] = Key.from_dict(
        "0" * 64, {"keytype": "rsa", "scheme": "rsassa-pss-sha256", "keyval": {"public": "x"}}
    )


def twice(root: Root) -> None:
    """One public key under two ids: two signatures of one person."""
    keyid = root.roles["root"].keyids[0]
    key = root.keys[keyid]
    other = SSlibKey("f" * 64, key.keytype, key.scheme, key.keyval)
    root.keys[other.keyid] = other
    root.roles["root"].keyids.append(other.keyid)


def nothing(_: Any) -> None:
    """No change."""


def signatures(change: Callable[[list[dict[str, str]]], Any]) -> Callable[[bytes], bytes]:
    """Change the list of signatures of a document."""

    def edit(data: bytes) -> bytes:
        document = json.loads(data)
        change(document["signatures"])
        return canonical(document)

    return edit


def stale_rotation(s: Scene) -> Path:
    """A root 2 of its own beside the one that was accepted, with a release of the old key."""
    before = s.good(8)
    s.supplier.revoke("release-1")
    s.appliance.apply(s.put(s.good(6, "release-2")))
    return s.put(before)


def gap(s: Scene) -> Path:
    s.supplier.revoke("release-2")
    s.supplier.chain = keys.rotate(
        s.supplier.folder, [s.supplier.key("root-a"), s.supplier.key("root-b")], replace="root-c"
    )
    documents, blobs = split(s.good())
    return s.put(container.head([documents[0], documents[1], documents[3]]) + blobs)


def old_root(s: Scene) -> Path:
    """Root 1 only, and a manifest that says so, after root 2 was accepted: still a good release
    of a key that counts, but the mix of its documents has been changed by hand."""
    s.supplier.revoke("release-2")
    s.appliance.apply(s.put(s.good(6)))
    documents, blobs = split(s.good(7))
    return s.put(container.head(documents[:2]) + blobs)


def zeroed(s: Scene) -> Path:
    for path in s.appliance.store.line.glob("record.*"):
        path.write_bytes(bytes(path.stat().st_size))
    return s.put(s.good(3))


def zeroed_keys(s: Scene) -> Path:
    thief = s.good(9)
    s.supplier.revoke("release-1")
    s.appliance.apply(s.put(s.good(6, "release-2")))
    for path in s.appliance.store.trust.iterdir():
        path.write_bytes(bytes(path.stat().st_size))
    return s.put(thief)


def clock(wall_s: float) -> Callable[[Scene], Path]:
    """The wall clock says nonsense: neither an old release passes for it, nor a new one fails."""

    def attack(s: Scene) -> Path:
        s.appliance.wall_s = wall_s
        s.appliance.apply(s.put(s.good(6)))
        return s.put(s.good(5))

    return attack


def below_the_least(s: Scene) -> Path:
    """An old stick in front of an appliance that has never seen a release."""
    s.supplier.revoke("release-2", min_seq=10)
    s.appliance.state = s.folder / "new"
    return s.put(s.good(9))


def delegating(targets: Targets) -> None:
    targets.delegations = Delegations({}, {})


def folder(s: Scene) -> Path:
    (s.folder / "folder.ncm").mkdir()
    (s.folder / "folder.ncm" / "x.ncm").mkdir()
    return s.folder / "folder.ncm"


def link(s: Scene) -> Path:
    path = s.put(b"", "a.ncm")
    path.unlink()
    path.symlink_to(s.put(s.good(), "real.bin"))
    return path


def fifo(s: Scene) -> Path:
    path = s.folder / "pipe.ncm"
    os.mkfifo(path)
    return path


def unix_socket(s: Scene) -> Path:
    path = s.folder / "s.ncm"
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(os.path.relpath(path))
    return path


def two(s: Scene) -> Path:
    s.put(s.good(6), "one.ncm")
    return s.put(s.good(7), "two.NCM").parent


def litter_only(s: Scene) -> Path:
    s.put(b"\0\5\x16\7", "._update.ncm")
    return s.put(b"", ".hidden.ncm").parent


def failing(error: int, operation: str = "write") -> Callable[[Scene], Path]:
    """The disk answers with an error as soon as the copy begins."""

    def attack(s: Scene) -> Path:
        def watch(what: str, path: Path, _: Path | None) -> None:
            if what == operation and "incoming" in str(path):
                raise OSError(error, os.strerror(error), str(path))

        s.appliance.watch = watch
        return s.put(s.good())

    return attack


def site(**change: Any) -> Callable[[Scene], Path]:
    """A good release in front of another appliance."""

    def attack(s: Scene) -> Path:
        s.appliance.site = replace(s.appliance.site, **change)
        s.appliance.state = s.folder / "other"
        return s.put(s.good())

    return attack


def mix(s: Scene) -> Path:
    """The manifest of release 7 with the files of release 6."""
    (documents, _), (_, blobs) = split(s.good(7)), split(s.good(6))
    return s.put(container.head(documents) + blobs)


def huge(s: Scene) -> Path:
    path = s.put(s.good())
    os.truncate(path, 8 << 30)
    return path


def no_root(s: Scene) -> Path:
    s.appliance.pinned.unlink()
    return s.put(s.good())


def pulled(s: Scene) -> Path:
    """The file shrinks while it is read."""
    path = s.put(s.good())

    def watch(what: str, at: Path, _: Path | None) -> None:
        if what == "create" and "incoming" in str(at):
            os.truncate(path, 100)

    s.appliance.watch = watch
    return path


def document(text: bytes) -> Callable[[Scene], Path]:
    """Something else in the place of the manifest."""
    return lambda s: s.put(edited(s.good(), lambda _: text))


def no_self_test(s: Scene) -> Path:
    from edge.update.refusals import Refused

    def fails(_: Path) -> str:
        raise Refused(Code.SELF_TEST, "differs by 0.3")

    s.appliance.self_test = fails
    return s.put(s.good())


def busy(s: Scene) -> Path:
    import fcntl

    stream = (s.appliance.store.root / "lock").open("a")
    fcntl.flock(stream, fcntl.LOCK_EX)
    s.appliance.held = stream  # type: ignore[attr-defined]
    return s.put(s.good())


Attack = tuple[Code, Callable[[Scene], Path]]
ATTACKS: Mapping[str, Attack] = {
    # The order of releases.
    "replay of an older release": (Code.ROLLBACK, lambda s: s.put(s.good(3))),
    "replay of the previous release": (Code.ROLLBACK, lambda s: s.put(s.good(4))),
    "replay on a new appliance, below the least number": (Code.ROLLBACK, below_the_least),
    "the active release again": (Code.ALREADY_ACTIVE, lambda s: s.put(s.good(5))),
    "other content under an installed number": (
        Code.SAME_NUMBER, lambda s: s.put(s.good(5, files=content(99))),
    ),
    "fast-forward epoch by a release key": (
        Code.EPOCH, lambda s: s.put(resigned(s, about(epoch=2))),
    ),
    "number beyond every counter": (
        Code.BAD_MANIFEST,
        lambda s: s.put(resigned(s, lambda t: setattr(t, "version", 2**53 + 1))),
    ),
    "replay after the state was zeroed": (Code.STATE_LOST, zeroed),
    "revoked key after the keys were zeroed": (Code.TRUST_LOST, zeroed_keys),
    "replay with the clock at 1970": (Code.ROLLBACK, clock(0.0)),
    "replay with the clock at 2040": (Code.ROLLBACK, clock(2.2e9)),
    "replay with a clock that went back": (Code.ROLLBACK, clock(1.0e9)),
    # Signatures and keys.
    "signed by a stranger": (Code.SIGNATURE, lambda s: s.put(s.stranger().release(6))),
    "signed by a root key": (
        Code.SIGNATURE, lambda s: s.put(resigned(s, nothing, "root-a")),
    ),
    "not signed at all": (
        Code.SIGNATURE, lambda s: s.put(edited(s.good(), signatures(list.clear))),
    ),
    "one signature twice": (
        Code.BAD_DOCUMENT,
        lambda s: s.put(edited(s.good(), signatures(lambda found: found.append(found[0])))),
    ),
    "a wrong signature beside a right one": (
        Code.SIGNATURE,
        lambda s: s.put(edited(s.good(6, "release-1", "release-2"),
                               signatures(lambda f: f[1].update(sig="00" * 64)))),
    ),
    "stale rotation: key revoked since": (Code.KEY_REVOKED, stale_rotation),
    "old root in front of a newer release": (Code.ROOT_MIX, old_root),
    "new root signed by one of two": (
        Code.ROOT_SIGNATURE, lambda s: s.put(root_with(s, nothing, "root-a")),
    ),
    "new root signed by release keys": (
        Code.ROOT_SIGNATURE, lambda s: s.put(root_with(s, nothing, "release-1", "release-2")),
    ),
    "new root of a stranger": (
        Code.ROOT_SIGNATURE,
        lambda s: s.put(
            container.head([*split(s.good())[0], s.stranger().revoke("release-2").newest.data])
        ),
    ),
    "new root with a threshold of one": (
        Code.ROOT_RULES, lambda s: s.put(root_with(s, thin)),
    ),
    "new root with one key under two ids": (
        Code.ROOT_RULES, lambda s: s.put(root_with(s, twice)),
    ),
    "new root with a key of another kind": (
        Code.ROOT_RULES, lambda s: s.put(root_with(s, foreign_key_type)),
    ),
    "new root that lowers the epoch": (Code.ROOT_RULES, lambda s: s.put(root_with(s, lower))),
    "missing link of the chain": (Code.ROOT_GAP, gap),
    "a root document where the manifest belongs": (
        Code.BAD_DOCUMENT,
        lambda s: s.put(edited(s.good(), lambda _: s.supplier.chain.newest.data)),
    ),
    "a manifest where a root document belongs": (
        Code.BAD_DOCUMENT,
        lambda s: s.put(container.head([split(s.good())[0][0]] * 2)),
    ),
    "a root more than the release was signed with": (
        Code.ROOT_MIX, lambda s: s.put(root_with(s, nothing)),
    ),
    "no root of trust provisioned": (Code.NOT_PROVISIONED, no_root),
    # Documents.
    "a key twice in a document": (
        Code.BAD_DOCUMENT,
        lambda s: s.put(edited(s.good(), lambda d: d.replace(b'{"_type"', b'{"_type":1,"_type"'))),
    ),
    "NaN in a document": (Code.BAD_DOCUMENT, document(b'{"signatures":NaN,"signed":1}')),
    "a fraction in a document": (Code.BAD_DOCUMENT, document(b'{"signatures":1.5,"signed":1}')),
    "a number of 5000 digits": (Code.BAD_DOCUMENT, document(b'{"a":' + b"9" * 5000 + b"}")),
    "nesting of 20,000 levels": (Code.BAD_DOCUMENT, document(b"[" * 20_000)),
    "a document that is no UTF-8": (Code.BAD_DOCUMENT, document(b'{"a":"\xff"}')),
    "a document of the wrong shape": (Code.BAD_DOCUMENT, document(b'{"signatures":1,"signed":2}')),
    "blanks between the words": (
        Code.BAD_DOCUMENT, lambda s: s.put(edited(s.good(), lambda d: d.replace(b":", b": ", 1))),
    ),
    "an unsigned field beside the signed ones": (
        Code.BAD_DOCUMENT, lambda s: s.put(edited(s.good(), lambda d: b'{"a":1,' + d[1:])),
    ),
    "an unsigned field inside a signature": (
        Code.BAD_DOCUMENT,
        lambda s: s.put(edited(s.good(), signatures(lambda f: f[0].update(a=1)))),
    ),
    "a signature that names no key": (
        Code.BAD_DOCUMENT,
        lambda s: s.put(edited(s.good(), signatures(lambda f: f[0].update(keyid=None)))),
    ),
    "a blank within a signature": (
        Code.BAD_DOCUMENT,
        lambda s: s.put(edited(
            s.good(),
            signatures(lambda f: f[0].update(sig=f[0]["sig"][:20] + " " + f[0]["sig"][20:])),
        )),
    ),
    # Names and sizes in a signed manifest: a supplier's slip must not write elsewhere either.
    "path traversal": (Code.BAD_NAME, named("../../../etc/passwd")),
    "absolute path": (Code.BAD_NAME, named("/etc/passwd")),
    "folder in a name": (Code.BAD_NAME, named("a/b")),
    "hidden name": (Code.BAD_NAME, named(".git")),
    "name with a zero byte": (Code.BAD_NAME, named("a\0b")),
    "two names that differ in case": (Code.BAD_NAME, named("CARD.json")),
    "a file of 1 TB announced": (
        Code.TOO_LARGE,
        lambda s: s.put(resigned(s, lambda t: setattr(t.targets["card.json"], "length", 1 << 40))),
    ),
    "a manifest without files": (
        Code.BAD_MANIFEST, lambda s: s.put(resigned(s, lambda t: t.targets.clear())),
    ),
    "a manifest that delegates": (
        Code.BAD_MANIFEST, lambda s: s.put(resigned(s, delegating)),
    ),
    "an unknown kind": (Code.FORMAT, lambda s: s.put(resigned(s, about(kind="firmware")))),
    "a later format": (Code.FORMAT, lambda s: s.put(resigned(s, about(format=2)))),
    # The container.
    "truncated in the head": (Code.TRUNCATED, lambda s: s.put(s.good()[:9])),
    "truncated in a document": (Code.TRUNCATED, lambda s: s.put(s.good()[:400])),
    "one byte short": (Code.TRUNCATED, lambda s: s.put(s.good()[:-1])),
    "an empty file": (Code.TRUNCATED, lambda s: s.put(b"")),
    "one byte long": (Code.TRAILING_DATA, lambda s: s.put(s.good() + b"\0")),
    "grown to 8 GiB": (Code.TOO_LARGE, huge),
    "a ZIP archive": (Code.NOT_A_BUNDLE, lambda s: s.put(b"PK\3\4" + bytes(5000))),
    "a later container": (Code.FORMAT, lambda s: s.put(container.MAGIC + b"\0\2\0\2" + bytes(9))),
    "a document of 4 GB announced": (
        Code.BAD_DOCUMENT, lambda s: s.put(container.MAGIC + b"\0\1\0\2" + b"\xff" * 9),
    ),
    "65,000 documents announced": (
        Code.BAD_DOCUMENT, lambda s: s.put(container.MAGIC + b"\0\1\xfe\0" + bytes(9)),
    ),
    "the files of another release": (Code.HASH, mix),
    "one bit of the model": (
        Code.HASH, lambda s: s.put(s.good()[:-1] + bytes([s.good()[-1] ^ 1])),
    ),
    # The stick.
    "a symbolic link": (Code.NOT_A_FILE, link),
    "a folder in the place of the file": (Code.NOT_A_FILE, folder),
    "a pipe": (Code.NOT_A_FILE, fifo),
    "a socket": (Code.NOT_A_FILE, unix_socket),
    "a device node": (Code.NOT_A_FILE, lambda s: Path("/dev/zero")),
    "two bundles": (Code.TWO_BUNDLES, two),
    "nothing but litter of other systems": (Code.NO_BUNDLE, litter_only),
    "no such file": (Code.NO_BUNDLE, lambda s: s.folder / "none.ncm"),
    "pulled in mid-copy": (Code.TRUNCATED, pulled),
    # What it was made for.
    "for another line": (Code.WRONG_LINE, site(line="ncm-2")),
    "for other tags": (Code.TAG_SCHEMA, site(tags=(("FI-101.PV", "kg/h"), ("TI-102.PV", "K")))),
    "for other seconds per row": (Code.TAG_SCHEMA, site(row_s=2.0)),
    "newer program required": (Code.APP_TOO_OLD, lambda s: s.put(s.good(app_min="0.2"))),
    "older program required": (Code.APP_TOO_NEW, lambda s: s.put(s.good(app_max="0.0.9"))),
    # This appliance.
    "self-test out of tolerance": (Code.SELF_TEST, no_self_test),
    "full disk": (Code.DISK_FULL, failing(28)),
    "read-only state": (Code.READ_ONLY, failing(30, "create")),
    "a disk that fails": (Code.STORAGE, failing(5, "fsync")),
    "another update at the same time": (Code.BUSY, busy),
}  # fmt: skip

