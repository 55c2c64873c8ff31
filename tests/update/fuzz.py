"""Spoilt update files: an endless, numbered sequence of mutations of valid ones.

Whatever the mutation, the outcome has to be a refusal: a file that is accepted although no holder
of a key made it, or any exception but `Refused`, is a finding. The kinds "signed" ask only for the
second: they are what a careless or hostile holder of a key could sign, and some of that is a good
release. Keys are new in every run, so a finding is kept as a file.
"""

from __future__ import annotations

import copy
import json
import random
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tuf.api.metadata import Metadata, Signed

from edge.update import container
from edge.update.refusals import Refused
from edge.update.trust import canonical
from export.deliver import keys
from tests.update.attacks import split
from tests.update.site import Appliance, Supplier

EDGES = (0, 1, 2, 7, 63, 64, 65, 255, 256, 65_535, 65_536, 65_537, 2**31 - 1, 2**31, 2**32 - 1)
WORDS: tuple[Any, ...] = (
    None, True, False, 0, 1, -1, 2**31, 2**53, 2**53 + 1, 2**64, 10**400, "", " ", "a", "é", "\0",
    "\ud7ff", "../x", "/", "ed25519", "root", "targets", "1.0.31", "x-ncm", "0" * 64, "f" * 128,
    [], [[]], {}, {"": 0}, [None] * 70, "A" * 300, "9999-12-31T00:00:00Z", "0000-00-00T00:00:00Z",
)  # fmt: skip


class Material:
    """What a mutation is made of: valid update files, and the keys that signed them."""

    def __init__(self, folder: Path) -> None:
        supplier = Supplier(folder / "keys")
        first = supplier.release(6)
        supplier.revoke("release-2")
        second = supplier.release(7)
        foreign = Supplier(folder / "foreign").release(8)
        self.valid = (first, second)
        self.all = (first, second, foreign)
        self.parts = {data: split(data) for data in self.all}
        self.release_key = supplier.key("release-1")
        self.root_keys: tuple[keys.PrivateKey, ...] = (
            supplier.key("root-a"), supplier.key("root-b"),
        )  # fmt: skip
        self.pinned = supplier.folder / "root.json"


@dataclass(frozen=True, slots=True)
class Spoilt:
    """A mutated update file."""

    kind: str
    data: bytes


Mutation = Callable[[random.Random, Material, bytes], bytes]


def flipped(rng: random.Random, _: Material, good: bytes) -> bytes:
    data = bytearray(good)
    for _place in range(rng.choice((1, 1, 1, 2, 8))):
        # Documents are a tenth of the file and most of what there is to go wrong.
        end = len(data) if rng.random() < 0.3 else min(len(data), 3000)
        data[rng.randrange(end)] ^= 1 << rng.randrange(8)
    return bytes(data)


def overwritten(rng: random.Random, _: Material, good: bytes) -> bytes:
    at, count = rng.randrange(len(good)), rng.choice((1, 2, 4, 16, 300))
    filling = rng.choice((bytes(count), b"\xff" * count, rng.randbytes(count)))
    return good[:at] + filling + good[at + count :]


def lengths(rng: random.Random, m: Material, good: bytes) -> bytes:
    """A length, the number of documents or the format says something else."""
    documents, _ = m.parts[good]
    field = rng.randrange(len(documents) + 2)
    data = bytearray(good)
    if field < 2:
        struct.pack_into(">H", data, 8 + 2 * field, rng.choice(EDGES) & 0xFFFF)
        return bytes(data)
    at = 12 + sum(4 + len(document) for document in documents[: field - 2])
    value = rng.choice((
        rng.choice(EDGES), len(documents[field - 2]) + rng.randint(-5, 5), rng.getrandbits(32),
    ))  # fmt: skip
    struct.pack_into(">I", data, at, value & 0xFFFFFFFF)
    return bytes(data)


def truncated(rng: random.Random, _: Material, good: bytes) -> bytes:
    return good[: rng.randrange(len(good))]


def extended(rng: random.Random, _: Material, good: bytes) -> bytes:
    more = rng.randbytes(rng.choice((1, 4, 512, 5000)))
    at = rng.choice((len(good), rng.randrange(len(good)), 0))
    return good[:at] + more + good[at:]


def spliced(rng: random.Random, m: Material, good: bytes) -> bytes:
    other = rng.choice(m.all)
    at = rng.randrange(len(good))
    return good[:at] + other[(at if rng.random() < 0.5 else rng.randrange(len(other))) :]


def rearranged(rng: random.Random, m: Material, good: bytes) -> bytes:
    """Documents and files twice, away, in another order, or of another release; lengths fit."""
    documents, blobs = list(m.parts[good][0]), m.parts[good][1]
    for _ in range(rng.choice((1, 1, 2, 3))):
        other, others = m.parts[rng.choice(m.all)]
        match rng.randrange(6):
            case 0:
                documents.insert(rng.randint(0, len(documents)), rng.choice(other))
            case 1 if documents:
                documents.pop(rng.randrange(len(documents)))
            case 2:
                rng.shuffle(documents)
            case 3:
                documents = (documents * rng.choice((2, 33)))[:70]
            case 4:
                blobs = rng.choice((others, blobs * 2, blobs[::-1], b""))
            case _ if documents:
                documents[rng.randrange(len(documents))] = rng.choice(other)
    return container.head(documents) + blobs


def _nodes(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    items = value.items() if isinstance(value, dict) else enumerate(value)
    found = [path] if path else []
    for key, child in items:
        if isinstance(child, dict | list):
            found += _nodes(child, (*path, key))
        else:
            found.append((*path, key))
    return found


def _changed(rng: random.Random, document: Any) -> Any:
    """A JSON document with one to three of its nodes changed."""
    value = copy.deepcopy(document)
    for _ in range(rng.choice((1, 1, 2, 3))):
        paths = _nodes(value)
        if not paths:
            break
        *above, last = rng.choice(paths)
        holder = value
        for key in above:
            holder = holder[key]
        match rng.randrange(6):
            case 0:
                del holder[last]
            case 1 if isinstance(holder, dict):
                holder[rng.choice(("", "x", "_type", "keyid", last + "2"))] = holder.pop(last)
            case 2 if isinstance(holder, list):
                holder.append(copy.deepcopy(holder[last]))
            case 3 if isinstance(holder[last], int):
                holder[last] += rng.choice((-1, 1, 2**31))
            case 4 if isinstance(holder[last], str) and holder[last]:
                at = rng.randrange(len(holder[last]))
                holder[last] = holder[last][:at] + rng.choice("0aZ/.-é") + holder[last][at + 1 :]
            case _:
                holder[last] = copy.deepcopy(rng.choice(WORDS))
    return value


def json_changed(rng: random.Random, m: Material, good: bytes) -> bytes:
    """Canonical JSON with right lengths, so that it is looked at closely; nobody signed it."""
    documents, blobs = list(m.parts[good][0]), m.parts[good][1]
    place = rng.randrange(len(documents))
    documents[place] = canonical(_changed(rng, json.loads(documents[place])))
    return container.head(documents) + blobs


_NESTED = tuple(b[0] * 30_000 + b[1] * 30_000 for b in ((b"[", b"]"), (b'{"a":', b"}")))


def json_torn(rng: random.Random, m: Material, good: bytes) -> bytes:
    """Text that is nearly JSON: duplicate keys, other spellings, fractions, depth, bad UTF-8."""
    documents, blobs = list(m.parts[good][0]), m.parts[good][1]
    place = rng.randrange(len(documents))
    text = documents[place]
    at = rng.randrange(len(text))
    other = rng.choice((b'"', b",", b":", b"{", b"}", b"[", b"]", b"1e9", b"1.0", b"NaN", b"-0",
                        b"\\u0000", b"\\ud800", b"\xff", b"\xc0\xaf", b" ", b"\n", b"9" * 5000,
                        b'"_type":"root",', b"\xef\xbb\xbf"))  # fmt: skip
    documents[place] = rng.choice((
        text[:at] + other + text[at + rng.choice((0, 1, 5)) :],
        text.replace(b'"', b'"signed":0,"', 1),
        json.dumps(json.loads(text), indent=rng.choice((None, 1))).encode(),
        rng.choice(_NESTED)[: container.MAX_DOCUMENT],
        text.decode().encode("utf-16"),
    ))  # fmt: skip
    return container.head(documents) + blobs


def _signed(
    rng: random.Random, m: Material, good: bytes, place: int, by: tuple[keys.PrivateKey, ...]
) -> bytes:
    """A changed document with signatures that are right over what it says."""
    documents, blobs = list(m.parts[good][0]), m.parts[good][1]
    body = _changed(rng, json.loads(documents[place])["signed"])
    if place:
        body["version"] = body.get("version") if rng.random() < 0.2 else place + 1
    try:
        document: Metadata[Signed] = Metadata.from_dict(
            {"signatures": [], "signed": copy.deepcopy(body)}
        )
        for key in by:
            document.sign(key.signer, append=True)
        data = canonical(document.to_dict())
    except Exception:  # python-tuf would not write this: sign the bytes by hand
        text = canonical(body)
        signatures = [key.signer.sign(text).to_dict() for key in by]
        data = canonical({"signatures": signatures, "signed": body})
    # A root is put behind those of the chain, so that it is news.
    documents[place : place + (place == 0)] = [data]
    if place:
        documents[place], documents[-1] = documents[-1], documents[place]
    return container.head(documents) + blobs


def manifest_signed(rng: random.Random, m: Material, good: bytes) -> bytes:
    return _signed(rng, m, good, 0, (m.release_key,))


def root_signed(rng: random.Random, m: Material, good: bytes) -> bytes:
    return _signed(rng, m, good, len(m.parts[good][0]) - 1, m.root_keys)


KINDS: Mapping[str, tuple[int, Mutation]] = {
    "flipped bits": (20, flipped),
    "overwritten bytes": (8, overwritten),
    "length fields": (10, lengths),
    "truncated": (6, truncated),
    "extended": (4, extended),
    "spliced": (8, spliced),
    "sections twice, away, swapped": (12, rearranged),
    "JSON changed": (16, json_changed),
    "JSON torn": (8, json_torn),
    "signed manifest": (5, manifest_signed),
    "signed root": (3, root_signed),
}
"""Kind -> (weight, how)."""
BY_A_HOLDER = frozenset({"signed manifest", "signed root"})


def spoilt(material: Material, seed: int, number: int) -> Spoilt:
    """Number `number` of the sequence; never one of the valid files."""
    rng = random.Random(f"{seed} {number}")
    weights = [weight for weight, _ in KINDS.values()]
    while True:
        kind = rng.choices(list(KINDS), weights)[0]
        data = KINDS[kind][1](rng, material, rng.choice(material.valid))
        if data not in material.valid:
            return Spoilt(kind, data)


def tried(appliance: Appliance, stick: Path, data: bytes) -> str:
    """The name of the refusal, or "accepted"; what else is raised goes through."""
    stick.write_bytes(data)
    try:
        appliance.installer.inspect(stick)
    except Refused as refused:
        str(refused)  # what people read has to be made of the same hostile text
        return refused.name
    return "accepted"
