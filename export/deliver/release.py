"""A bundle folder, signed: one file for the stick."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from tuf.api.metadata import Metadata, TargetFile, Targets

import edge
from edge.core import graph
from edge.core.card import CardError, ModelCard, from_dict
from edge.runtime import bundle as names
from edge.update import container, manifest
from edge.update.manifest import Floor, Manifest
from edge.update.refusals import Refused
from edge.update.trust import EXTENSION, Chain, canonical, digest
from export.deliver.keys import NEVER, PrivateKey
from export.faults import ExportError


class ReleaseError(ExportError):
    """The bundle cannot be released so."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """What a release is made for."""

    lines: tuple[str, ...]
    seq: int
    """Number of the release: has to grow with every one."""
    model_version: str
    issued: str = "unknown"
    """Date, as people read it."""
    app_min: str = edge.__version__
    app_max: str = ""


def make_release(
    folder: Path,
    out: Path,
    chain: Chain,
    signers: Sequence[PrivateKey],
    terms: Terms,
    progress: Callable[[str], None] = lambda _: None,
) -> Manifest:
    """Write the update file and judge it as an appliance would. Raises ReleaseError."""
    card = read_card(folder)
    files: dict[str, bytes] = {}
    for name in sorted({names.CARD, *card.files}):
        try:
            files[name] = (folder / name).read_bytes()
        except OSError as error:
            raise ReleaseError(f"{folder / name}: {error.strerror}; export the bundle again") from (
                error
            )
        progress(f"{name}: {len(files[name])} bytes, SHA-256 {digest(files[name])[:12]}...")
    try:
        nodes = graph.check(files[names.MODEL])
        progress(f"{names.MODEL}: {nodes} nodes, all of permitted operators")
    except (graph.GraphError, KeyError) as error:
        raise ReleaseError(f"{folder / names.MODEL}: {error}") from error
    data = sign_files(files, chain, signers, terms, manifest.tag_schema(card.tags, card.row_s))
    partial = out.with_name(out.name + ".partial")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        partial.write_bytes(data)
        partial.replace(out)
    except OSError as error:
        raise ReleaseError(f"{out}: {error.strerror}") from error
    return judge(data, chain)


def sign_files(
    files: dict[str, bytes],
    chain: Chain,
    signers: Sequence[PrivateKey],
    terms: Terms,
    tag_schema: str,
) -> bytes:
    """The update file as bytes. Raises ReleaseError if an appliance would not believe it."""
    roots = [root.data for root in chain.roots]
    targets = Targets(version=terms.seq, expires=NEVER)
    for name, content in files.items():
        targets.targets[name] = TargetFile.from_data(name, content, ["sha256"])
    about = Manifest(
        place=Floor(chain.newest.epoch, terms.seq),
        model_version=terms.model_version,
        issued=terms.issued,
        compatible=terms.lines,
        tag_schema=tag_schema,
        app_min=terms.app_min,
        app_max=terms.app_max,
        roots=tuple(digest(root) for root in roots),
        files=(),
        sha256="",
    )
    targets.unrecognized_fields[EXTENSION] = manifest.extension(about)
    document = Metadata(targets)
    for key in signers:
        document.sign(key.signer, append=True)
    documents = [canonical(document.to_dict()), *roots]
    data = container.head(documents) + b"".join(files[name] for name in sorted(files))
    judge(data, chain)
    return data


def judge(data: bytes, chain: Chain) -> Manifest:
    """Read an update file back by the appliance's rules. Raises ReleaseError."""
    view = memoryview(data)

    def read(count: int) -> bytes:
        nonlocal view
        part, view = bytes(view[:count]), view[count:]
        return part

    try:
        documents = container.read_documents(read, len(data))
        known = Chain(chain.roots[:1]).extend(documents[1:])
        targets, _ = known.manifest(documents[0])
        found = manifest.read(targets, documents[0])
        manifest.check_roots(found, documents[1:])
        container.check_size(len(data), documents, [file.size for file in found.files])
    except Refused as refused:
        raise ReleaseError(f"an appliance would refuse this: {refused}") from refused
    return found


def read_card(folder: Path) -> ModelCard:
    """The card of a bundle folder. Raises ReleaseError."""
    try:
        return from_dict(json.loads((folder / names.CARD).read_text(encoding="utf-8")))
    except (OSError, ValueError, CardError) as error:
        raise ReleaseError(
            f"{folder}: no bundle ({error}); make one with `ncm-export bundle`"
        ) from error
