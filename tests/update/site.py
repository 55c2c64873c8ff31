"""A supplier and an appliance, without a model: the content of the files does not matter here.

The supplier holds keys and signs releases; `Appliance` is a state directory with an installer whose
self-test always passes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from edge.update.audit import Audit
from edge.update.disk import Disk, Watch
from edge.update.install import Installer
from edge.update.manifest import Manifest, Site, tag_schema
from edge.update.refusals import Code, Refused
from edge.update.store import Store
from edge.update.trust import Chain
from export.deliver import keys
from export.deliver.release import Terms, sign_files

TAGS = (("FI-101.PV", "kg/h"), ("TI-102.PV", "°C"))
SITE = Site(line="ncm-1", tags=TAGS, row_s=1.0, app_version="0.1.0")
SCHEMA = tag_schema(TAGS, 1.0)


def content(seq: int) -> dict[str, bytes]:
    """Files that differ from release to release."""
    return {"card.json": b"card %d" % seq, "model.onnx": b"m" * 3000 + b"%d" % seq}


class Supplier:
    """Keys, chain and releases."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.chain = keys.init(folder)

    def key(self, name: str) -> keys.PrivateKey:
        return keys.load_key(self.folder / "private" / f"{name}.pem")

    def revoke(self, name: str, *signers: str, **more: Any) -> Chain:
        held = [self.key(signer) for signer in signers or ("root-a", "root-b")]
        self.chain = keys.revoke(self.folder, held, name=name, **more)
        return self.chain

    def release(
        self,
        seq: int,
        *signers: str,
        chain: Chain | None = None,
        files: dict[str, bytes] | None = None,
        schema: str = SCHEMA,
        **terms: Any,
    ) -> bytes:
        """An update file; `terms` as in `Terms`."""
        about = {"lines": ("ncm-1",), "model_version": f"model {seq}", "app_min": "0.1.0"} | terms
        return sign_files(
            files or content(seq),
            chain or self.chain,
            [self.key(name) for name in signers or ("release-1",)],
            Terms(seq=seq, **about),
            schema,
        )  # fmt: skip


def passes(bundle: Path) -> str:
    """A self-test without a model."""
    assert (bundle / "model.onnx").is_file()
    return "cpu"


@dataclass
class Appliance:
    """A state directory and what works on it."""

    state: Path
    pinned: Path
    site: Site = SITE
    self_test: Callable[[Path], str] = passes
    watch: Watch = field(default=lambda *_: None)
    wall_s: float = 1.8e9

    @property
    def store(self) -> Store:
        return Store(self.state, self.site.line, self.pinned, Disk(self.watch))

    @property
    def audit(self) -> Audit:
        return Audit(self.state / "update" / "audit", lambda: self.wall_s, Disk(self.watch))

    @property
    def installer(self) -> Installer:
        return Installer(self.store, self.site, self.self_test, self.audit)

    def apply(self, path: Path) -> Manifest:
        """Install, and let the daemon find that it is good."""
        found = self.installer.apply(path)
        self.installer.prove(found.slot)
        return found

    def verdict(self, path: Path) -> Code | None:
        """What becomes of an update: None, or the code of its refusal."""
        try:
            self.apply(path)
        except Refused as refused:
            return refused.code
        return None

    @property
    def active(self) -> int | None:
        """Release number of the active slot, verified as the daemon would."""
        store = self.store
        record = store.record()
        if record.active is None:
            return None
        return store.verify(record.active, store.chain()).place.seq
