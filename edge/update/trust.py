"""Who may sign: a chain of root documents from the pinned one, and the manifest under its end.

Signatures, thresholds and the rule "root N+1 is signed by the keys of N and by its own" are
python-tuf's (tuf.api.metadata: Root, Targets). There is no timestamp and no snapshot role, and the
expiry date of a document is never looked at: an appliance beside a PLC has no clock to trust.

Ours are the rules that python-tuf leaves to its users:
 - a document is read only in its one canonical spelling, and every signature in it has to be right,
   so that no flipped byte goes unnoticed;
 - Ed25519 only; one key is one key, under whatever id it is listed;
 - at least two root keys have to sign a root;
 - epoch and least release number never fall from one root to the next.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from securesystemslib.exceptions import Error as SigningError
from tuf.api.exceptions import RepositoryError
from tuf.api.metadata import Key, Metadata, Root, Signed, Targets
from tuf.api.serialization import DeserializationError

from edge.update.refusals import Code, Refused

ROOT_THRESHOLD = 2
EXTENSION = "x-ncm"
"""Our signed field inside python-tuf's documents."""
MAX_NUMBER = 2**53
_DIGITS = re.compile("[0-9a-f]{128}")
"""How the 64 bytes of an Ed25519 signature are written."""
_LOADING = (DeserializationError, RepositoryError, SigningError, ValueError, KeyError, TypeError,
            AttributeError, RecursionError)  # fmt: skip
"""What a document that is JSON but no metadata raises inside python-tuf."""


def canonical(value: Any) -> bytes:
    """The one spelling of a JSON document: sorted keys, no blanks, UTF-8."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def parse(data: bytes, what: str) -> dict[str, Any]:
    """A JSON object in canonical spelling, whole numbers only. Raises Refused."""

    def refuse(text: str) -> Any:
        raise ValueError(f"{text} is not permitted")

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) != len(pairs):
            raise ValueError("a key occurs twice")
        return found

    try:
        value = json.loads(
            data.decode("utf-8"), object_pairs_hook=unique, parse_float=refuse,
            parse_constant=refuse,
        )  # fmt: skip
        if not isinstance(value, dict):
            raise ValueError("expected an object")
        if canonical(value) != data:
            raise ValueError("not in canonical spelling")
    except (ValueError, RecursionError) as error:
        raise Refused(Code.BAD_DOCUMENT, f"{what}: {error}") from None
    return value


@dataclass(frozen=True, slots=True)
class TrustedRoot:
    """A root document that has been verified."""

    data: bytes
    root: Root
    epoch: int
    min_seq: int
    """Least release number that is accepted in this epoch."""

    @property
    def version(self) -> int:
        """Place in the chain, from 1."""
        return self.root.version


@dataclass(frozen=True, slots=True)
class Chain:
    """Verified roots, from the pinned one to the newest; never empty."""

    roots: tuple[TrustedRoot, ...]

    @property
    def newest(self) -> TrustedRoot:
        """The root whose keys count now."""
        return self.roots[-1]

    def extend(self, documents: Sequence[bytes]) -> Chain:
        """The chain with the newer roots among `documents`; older ones are passed over.

        Raises Refused; what was verified before the faulty one is lost with it, because a stick
        with a forged link proves nothing about the others.
        """
        chain = self
        for place, data in enumerate(documents, 1):
            what = f"root document {place}"
            version = parse(data, what).get("signed", {})
            number = version.get("version") if isinstance(version, dict) else None
            if isinstance(number, int) and number <= chain.newest.version:
                continue
            chain = Chain((*chain.roots, _next(chain.newest, data, what)))
        return chain

    def manifest(self, data: bytes) -> tuple[Targets, tuple[str, ...]]:
        """The release document and the names of those who signed it, if the newest root trusts it.

        Raises Refused: SIGNATURE, or KEY_REVOKED where only an earlier root would have done.
        """
        document = _metadata(data, Targets, "manifest")
        signed = document.signed
        assert isinstance(signed, Targets)
        for trusted in reversed(self.roots):
            found = trusted.root.get_verification_result(
                Targets.type, document.signed_bytes, document.signatures
            )
            if not found or set(document.signatures) != set(found.signed):
                continue
            if trusted is not self.newest:
                raise Refused(Code.KEY_REVOKED, f"trusted until root {trusted.version}")
            return signed, tuple(sorted(key_name(key) for key in found.signed.values()))
        who = ", ".join(keyid[:12] for keyid in document.signatures) or "nobody"
        raise Refused(Code.SIGNATURE, f"signed by {who}")

    def trusted_once(self, data: bytes) -> Targets:
        """As `manifest`, for what is installed: a root that counted at the time will do."""
        for count in range(len(self.roots), 0, -1):
            try:
                return Chain(self.roots[:count]).manifest(data)[0]
            except Refused as refused:
                if refused.code not in (Code.SIGNATURE, Code.KEY_REVOKED):
                    raise
        raise Refused(Code.SIGNATURE)


def pin(data: bytes) -> Chain:
    """The chain that begins with the provisioned root. Raises Refused(NOT_PROVISIONED)."""
    try:
        return Chain((_next(None, data, "trust/root.json"),))
    except Refused as refused:
        raise Refused(Code.NOT_PROVISIONED, f"{refused.name}: {refused.detail}") from None


def key_name(key: Key) -> str:
    """The name given to a key at the ceremony, else the start of its id."""
    name = key.unrecognized_fields.get("x-ncm-name")
    return name if isinstance(name, str) else key.keyid[:12]


def digest(data: bytes) -> str:
    """SHA-256, hexadecimal."""
    return hashlib.sha256(data).hexdigest()


def _next(before: TrustedRoot | None, data: bytes, what: str) -> TrustedRoot:
    document = _metadata(data, Root, what)
    root = document.signed
    assert isinstance(root, Root)
    if before is not None and root.version != before.version + 1:
        raise Refused(
            Code.ROOT_GAP, f"{what} is root {root.version}, known is root {before.version}"
        )
    _check_keys(root, what)
    previous = None if before is None else before.root
    found = root.get_root_verification_result(previous, document.signed_bytes, document.signatures)
    if not found or set(document.signatures) != set(found.signed):
        raise Refused(
            Code.ROOT_SIGNATURE,
            f"root {root.version}: {len(found.first.signed)} of {found.first.threshold} signatures "
            f"by the keys before, {len(found.second.signed)} of {found.second.threshold} by its own"
            f", {len(document.signatures) - len(found.signed)} wrong",
        )
    extension = root.unrecognized_fields.get(EXTENSION)
    fields = extension if isinstance(extension, dict) else {}
    epoch = whole(fields, "epoch", Code.ROOT_RULES)
    min_seq = whole(fields, "min_seq", Code.ROOT_RULES)
    if before is not None and (epoch, min_seq) < (before.epoch, before.min_seq):
        raise Refused(
            Code.ROOT_RULES,
            f"root {root.version} lowers epoch.number from {before.epoch}.{before.min_seq} to "
            f"{epoch}.{min_seq}",
        )
    return TrustedRoot(data, root, epoch, min_seq)


def _check_keys(root: Root, what: str) -> None:
    for keyid, key in root.keys.items():
        if (key.keytype, key.scheme) != ("ed25519", "ed25519"):
            raise Refused(Code.ROOT_RULES, f"{what}: key {keyid[:12]} is {key.keytype}")
    for name in (Root.type, Targets.type):
        role = root.roles[name]
        public = [root.keys[keyid].keyval.get("public") for keyid in role.keyids
                  if keyid in root.keys]  # fmt: skip
        if len(public) != len(role.keyids) or len(set(public)) != len(public):
            raise Refused(Code.ROOT_RULES, f"{what}: role {name} lists a key twice or without key")
    if root.roles[Root.type].threshold < ROOT_THRESHOLD:
        raise Refused(Code.ROOT_RULES, f"{what}: fewer than {ROOT_THRESHOLD} root keys must sign")


def _metadata(data: bytes, kind: type[Signed], what: str) -> Metadata[Any]:
    raw = parse(data, what)
    if set(raw) != {"signatures", "signed"}:
        raise Refused(Code.BAD_DOCUMENT, f"{what}: expected signatures and signed, nothing else")
    try:
        # python-tuf takes the keys it knows out of the dictionary it is given.
        document: Metadata[Any] = Metadata.from_dict(raw)
        # Nobody signs what stands inside a signature: a key's name and 128 digits, nothing else.
        named = all(
            isinstance(keyid, str) and not item.unrecognized_fields
            for keyid, item in document.signatures.items()
        )
        # A reader of hexadecimal passes over blanks and capitals: the same release, another file.
        spelt = all(_DIGITS.fullmatch(item.signature) for item in document.signatures.values())
    except _LOADING as error:
        raise Refused(Code.BAD_DOCUMENT, f"{what}: {error}") from None
    if not isinstance(document.signed, kind):
        raise Refused(Code.BAD_DOCUMENT, f"{what}: is a {document.signed.type} document")
    if not named:
        raise Refused(Code.BAD_DOCUMENT, f"{what}: a signature holds more than key and digits")
    if not spelt:
        raise Refused(Code.BAD_DOCUMENT, f"{what}: a signature is not 128 hexadecimal digits")
    if canonical(document.to_dict()) != data:
        raise Refused(Code.BAD_DOCUMENT, f"{what}: is read differently from how it is written")
    return document


def whole(fields: dict[str, Any], key: str, code: Code) -> int:
    """A whole number 0..2^53 of a signed document. Raises Refused(code)."""
    value = fields.get(key)
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= MAX_NUMBER:
        raise Refused(code, f"{key} = {value!r}, permitted is a whole number 0..2^53")
    return value
