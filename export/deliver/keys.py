"""The keys that sign releases, and the chain of root documents that says which of them count.

A key folder:

    private/NAME.pem     private keys, mode 0600, encrypted if a passphrase was given; to be moved
                         to media that are kept apart
    1.root.json, 2. ...  the chain, public; root.json is a copy of the first, for the appliances

Root keys sign key documents only, two of three; a release key signs releases, one of two is enough.
"""

from __future__ import annotations

import copy
import os
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from securesystemslib.signer import CryptoSigner, SSlibKey
from tuf.api.metadata import Metadata, Root, Targets

from edge.update import trust
from edge.update.refusals import Refused
from edge.update.trust import EXTENSION, Chain, canonical, key_name
from export.faults import ExportError

ROOT_KEYS, RELEASE_KEYS = ("root-a", "root-b", "root-c"), ("release-1", "release-2")
NEVER = datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)
"""Expiry of every document: no appliance looks at it, other readers of the format do."""
ROLES = {"root": Root.type, "release": Targets.type}


class KeyFileError(ExportError):
    """A key or a key folder cannot be used."""


@dataclass(frozen=True, slots=True)
class PrivateKey:
    """A private key and the public half with its name."""

    name: str
    signer: CryptoSigner


def init(folder: Path, passphrase: bytes | None = None) -> Chain:
    """Make three root keys, two release keys and the first root document.

    Raises KeyFileError where the folder holds a chain already: a second first root would be a
    stranger to every appliance.
    """
    if list(folder.glob("*.root.json")) or (folder / "private").exists():
        raise KeyFileError(
            f"{folder}: holds keys already; use another folder, or `ncm-export keys rotate`"
        )
    keys = {name: _generate(folder, name, passphrase) for name in (*ROOT_KEYS, *RELEASE_KEYS)}
    root = Root(version=1, expires=NEVER, consistent_snapshot=False)
    root.unrecognized_fields[EXTENSION] = {"epoch": 1, "min_seq": 0}
    root.roles[Root.type].threshold = trust.ROOT_THRESHOLD
    for name, key in keys.items():
        root.add_key(key.signer.public_key, ROLES[name.split("-")[0]])
    data = _signed(root, [keys[name] for name in ROOT_KEYS])
    chain = trust.pin(data)
    _write(folder / "1.root.json", data)
    _write(folder / "root.json", data)
    return chain


def chain_of(folder: Path) -> Chain:
    """The chain of a key folder, verified from root 1 on. Raises KeyFileError."""
    paths = sorted(folder.glob("[1-9]*.root.json"), key=lambda path: int(path.name.split(".")[0]))
    if not paths:
        raise KeyFileError(f"{folder}: holds no 1.root.json; make keys with `ncm-export keys init`")
    try:
        return trust.pin(paths[0].read_bytes()).extend([path.read_bytes() for path in paths[1:]])
    except (Refused, OSError) as error:
        raise KeyFileError(f"{folder}: {error}") from error


def load_key(path: Path, passphrase: bytes | None = None) -> PrivateKey:
    """A private key from its PEM file. Raises KeyFileError."""
    try:
        mode = path.stat().st_mode & 0o077
        if mode:
            raise KeyFileError(f"{path}: others may read this private key; chmod 600 {path}")
        private = serialization.load_pem_private_key(path.read_bytes(), passphrase)
    except OSError as error:
        raise KeyFileError(f"{path}: {error.strerror}; give the medium with this key") from error
    except TypeError as error:
        raise KeyFileError(f"{path}: {error}; see --passphrase") from error
    except ValueError as error:
        raise KeyFileError(f"{path}: no private key, or another passphrase: {error}") from error
    if not isinstance(private, Ed25519PrivateKey):
        raise KeyFileError(f"{path}: is no Ed25519 key")
    return _named(path.stem, private)


def is_encrypted(path: Path) -> bool:
    """Whether a passphrase has to be asked for. An unreadable file says False here."""
    try:
        return b"ENCRYPTED" in path.read_bytes()
    except OSError:
        return False


def rotate(
    folder: Path,
    signers: Sequence[PrivateKey],
    *,
    replace: str,
    passphrase: bytes | None = None,
) -> Chain:
    """The next root: a new key in the place of `replace`. Raises KeyFileError."""
    chain = chain_of(folder)
    role = _role_of(chain, replace)
    word = next(word for word, kind in ROLES.items() if kind == role)
    stem, number = f"{word}-v{chain.newest.version + 1}", 1
    while (folder / "private" / f"{stem}-{number}.pem").exists():
        number += 1
    new = _generate(folder, f"{stem}-{number}", passphrase)
    root = _successor(chain, drop=replace)
    root.add_key(new.signer.public_key, role)
    try:
        return _publish(folder, chain, root, [*signers, *([new] if role == Root.type else [])])
    except KeyFileError:
        (folder / "private" / f"{new.name}.pem").unlink()
        raise


def revoke(
    folder: Path,
    signers: Sequence[PrivateKey],
    *,
    name: str,
    raise_epoch: bool = False,
    min_seq: int | None = None,
) -> Chain:
    """The next root without the key `name`. Raises KeyFileError.

    Args:
        folder: the key folder.
        signers: root keys, as many as the threshold asks for.
        name: the key to drop.
        raise_epoch: begin the numbers of releases anew; the only way back after a thief has signed
            a release with the highest number.
        min_seq: least release number accepted from now on.
    """
    chain = chain_of(folder)
    root = _successor(chain, drop=name)
    place = root.unrecognized_fields[EXTENSION]
    if raise_epoch:
        place |= {"epoch": place["epoch"] + 1, "min_seq": 0}
    if min_seq is not None:
        place["min_seq"] = min_seq
    return _publish(folder, chain, root, signers)


def names(chain: Chain, role: str) -> list[str]:
    """Names of the keys that count for a role now, in order."""
    root = chain.newest.root
    return [key_name(root.keys[keyid]) for keyid in root.roles[role].keyids]


def _successor(chain: Chain, drop: str) -> Root:
    role = _role_of(chain, drop)
    root = copy.deepcopy(chain.newest.root)
    root.version += 1
    keyid = next(keyid for keyid in root.roles[role].keyids if key_name(root.keys[keyid]) == drop)
    root.revoke_key(keyid, role)
    return root


def _role_of(chain: Chain, name: str) -> str:
    for role in ROLES.values():
        if name in names(chain, role):
            return role
    known = [*names(chain, Root.type), *names(chain, Targets.type)]
    raise KeyFileError(f'no key "{name}" counts now; permitted: {", ".join(known)}')


def _publish(folder: Path, chain: Chain, root: Root, signers: Sequence[PrivateKey]) -> Chain:
    for role in ROLES.values():
        if len(root.roles[role].keyids) < root.roles[role].threshold:
            raise KeyFileError(f"too few {role} keys would be left; use `ncm-export keys rotate`")
    permitted = set(chain.newest.root.roles[Root.type].keyids) | set(root.roles[Root.type].keyids)
    data = _signed(root, [key for key in signers if key.signer.public_key.keyid in permitted])
    try:
        extended = chain.extend([data])
    except Refused as refused:
        raise KeyFileError(
            f"{refused.detail or refused.name}; sign with two of {', '.join(names(chain, 'root'))}:"
            " --key FILE --key FILE"
        ) from refused
    _write(folder / f"{root.version}.root.json", data)
    return extended


def _signed(root: Root, signers: Sequence[PrivateKey]) -> bytes:
    document = Metadata(root)
    for key in signers:
        document.sign(key.signer, append=True)
    return canonical(document.to_dict())


def _generate(folder: Path, name: str, passphrase: bytes | None) -> PrivateKey:
    private = Ed25519PrivateKey.generate()
    protection = (
        serialization.BestAvailableEncryption(passphrase)
        if passphrase
        else serialization.NoEncryption()
    )
    pem = private.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, protection
    )
    directory = folder / "private"
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL
        with os.fdopen(os.open(directory / f"{name}.pem", flags, 0o600), "wb") as stream:
            stream.write(pem)
    except OSError as error:
        raise KeyFileError(f"{directory}: {error.strerror}") from error
    return _named(name, private)


def _named(name: str, private: Ed25519PrivateKey) -> PrivateKey:
    public = SSlibKey.from_crypto(private.public_key())
    public.unrecognized_fields["x-ncm-name"] = name
    return PrivateKey(name, CryptoSigner(private, public))


def _write(path: Path, data: bytes) -> None:
    try:
        path.write_bytes(data)
    except OSError as error:
        raise KeyFileError(f"{path}: {error.strerror}") from error
