"""Load a bundle directory: every byte verified against its card, or a refusal that says why.

A bundle is card.json plus the files whose SHA-256 it lists. The graph is kept as the very bytes
that were hashed, so that what was verified is what runs, whatever happens to the file later.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

import numpy as np

from edge.core import graph
from edge.core.card import CardError, ModelCard, from_dict, mismatches
from edge.core.drift import DriftReference
from edge.core.tags import FloatArray
from edge.runtime.arrays import ArraysError, load

CARD = "card.json"
MODEL = "model.onnx"
REFERENCE = "reference.npz"
GOLDEN = "golden.npz"
DRIFT = "drift.npz"
REQUIRED = (MODEL, REFERENCE, GOLDEN, DRIFT)
MAX_FILE_BYTES = 64 << 20
"""No file of a bundle is near this; a larger one is not read into memory at all."""
MAX_FILES = 64
MAX_CARD_BYTES = 1 << 20


class RefusalKind(Enum):
    """What is wrong with a refused bundle."""

    MISSING = "missing"
    CORRUPT = "corrupt"
    MISMATCH = "mismatch"
    """Sound, but made for another line or another release."""


@dataclass(frozen=True, slots=True)
class BundleRefused:
    """The bundle must not run; `reason` names file, value, what is permitted and the remedy."""

    kind: RefusalKind
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadedBundle:
    """A verified bundle. K slots, P tags, F features, D pooled features."""

    directory: Path
    card: ModelCard
    model: bytes
    model_sha256: str
    loc: FloatArray
    """float32[K, P, F]: the reference, engineering units."""
    scale: FloatArray
    """float32[K, P, F], > 0."""
    golden: dict[str, FloatArray]
    """Input and expected output vectors by tensor name, B = 1, states zero."""
    drift: DriftReference
    """Mean and whitening of the pooled features on normal operation."""

    @property
    def slots(self) -> int:
        """K, rows of the reference table."""
        return int(self.loc.shape[0])

    def reference(self, batch_steps: Sequence[int]) -> tuple[FloatArray, FloatArray]:
        """(loc, scale) float32[N, P, F] for N model steps counted from the start of the batch."""
        rows = [self.card.slot(step, self.slots) for step in batch_steps]
        return self.loc[rows], self.scale[rows]


def load_bundle(
    directory: Path, tags: Sequence[tuple[str, str]] | None = None, row_s: float | None = None
) -> LoadedBundle | BundleRefused:
    """Load and verify a bundle.

    Args:
        directory: the bundle directory.
        tags: (name, unit) of the line in model order; None skips the comparison with a line.
        row_s: seconds per ring row of the line; None likewise.

    Returns:
        The bundle, or a refusal. Never raises for anything found on the disk.
    """
    try:
        return _load(directory, tags, row_s)
    except _Refuse as refuse:
        return BundleRefused(refuse.kind, refuse.reason)


class _Refuse(Exception):  # noqa: N818 - control flow, caught in this file
    def __init__(self, kind: RefusalKind, reason: str) -> None:
        self.kind, self.reason = kind, reason


def _load(
    directory: Path, tags: Sequence[tuple[str, str]] | None, row_s: float | None
) -> LoadedBundle:
    if not directory.is_dir():
        raise _Refuse(
            RefusalKind.MISSING,
            f"{directory}: no bundle directory; install a bundle or correct `bundle` in line.toml",
        )
    card = _card(directory)
    contents: dict[str, bytes] = {}
    for name in REQUIRED:
        if name not in card.files:
            raise _Refuse(
                RefusalKind.CORRUPT, f"{directory / CARD}: files does not list {name}; export again"
            )
    if len(card.files) > MAX_FILES:
        raise _Refuse(
            RefusalKind.CORRUPT,
            f"{directory / CARD}: lists {len(card.files)} files; permitted are {MAX_FILES}",
        )
    for name, digest in card.files.items():
        if Path(name).name != name or name in (CARD, "", ".", ".."):
            raise _Refuse(
                RefusalKind.CORRUPT,
                f'{directory / CARD}: files lists "{name}"; permitted is a plain file name',
            )
        data = _read(directory / name)
        found = hashlib.sha256(data).hexdigest()
        if found != digest.lower():
            raise _Refuse(
                RefusalKind.CORRUPT,
                f"{directory / name}: SHA-256 is {found[:12]}..., the card lists {digest[:12]}...; "
                "the file is damaged or was exchanged, copy the bundle again",
            )
        if name in REQUIRED:
            contents[name] = data
    try:
        # Before the runtime sees it: a model is data.
        graph.check(contents[MODEL])
    except graph.GraphError as error:
        raise _Refuse(
            RefusalKind.CORRUPT, f"{directory / MODEL}: cannot load the graph: {error}"
        ) from None
    wrong = [] if tags is None else mismatches(card, tags, card.row_s if row_s is None else row_s)
    if wrong:
        more = f" (and {len(wrong) - 8} more)" if len(wrong) > 8 else ""
        raise _Refuse(
            RefusalKind.MISMATCH,
            f'{directory}: bundle "{card.name}" was not made for this line: '
            + "; ".join(wrong[:8])
            + more,
        )
    reference = _arrays(directory / REFERENCE, contents[REFERENCE], ("loc", "scale"))
    drift = _arrays(directory / DRIFT, contents[DRIFT], ("mean", "whitening"))
    golden = _arrays(directory / GOLDEN, contents[GOLDEN], ("features", "valid", "loc", "scale"))
    loc, scale = reference["loc"], reference["scale"]
    row = (len(card.tags), len(card.features))
    if loc.ndim != 3 or loc.shape[1:] != row or loc.shape[0] < 1 or scale.shape != loc.shape:
        raise _Refuse(
            RefusalKind.CORRUPT,
            f"{directory / REFERENCE}: loc {list(loc.shape)} and scale {list(scale.shape)}; "
            f"permitted is [slots, {row[0]}, {row[1]}] for both",
        )
    if not float(scale.min()) > 0.0:
        raise _Refuse(
            RefusalKind.CORRUPT,
            f"{directory / REFERENCE}: smallest scale is {float(scale.min()):g}; "
            "permitted is above 0",
        )
    try:
        drift_reference = DriftReference(drift["mean"], drift["whitening"])
    except ValueError as error:
        raise _Refuse(
            RefusalKind.CORRUPT, f"{directory / DRIFT}: {error}; export the bundle again"
        ) from None
    return LoadedBundle(
        directory=directory,
        card=card,
        model=contents[MODEL],
        model_sha256=card.files[MODEL].lower(),
        loc=loc,
        scale=scale,
        golden=golden,
        drift=drift_reference,
    )


def _card(directory: Path) -> ModelCard:
    data = _read(directory / CARD, MAX_CARD_BYTES)
    try:
        return from_dict(json.loads(data.decode("utf-8")))
    except CardError as error:
        kind = RefusalKind.MISMATCH if "not supported" in str(error) else RefusalKind.CORRUPT
        raise _Refuse(kind, f"{directory}: {error}") from None
    except (ValueError, RecursionError) as error:
        raise _Refuse(
            RefusalKind.CORRUPT,
            f"{directory / CARD}: not valid JSON ({error}); copy the bundle again",
        ) from None


def _read(path: Path, limit: int = MAX_FILE_BYTES) -> bytes:
    try:
        size = path.stat().st_size
        if size > limit:
            raise _Refuse(
                RefusalKind.CORRUPT, f"{path}: {size} bytes; permitted is at most {limit}"
            )
        return path.read_bytes()
    except FileNotFoundError:
        raise _Refuse(
            RefusalKind.MISSING, f"{path}: file is missing; copy the whole bundle again"
        ) from None
    except OSError as error:
        raise _Refuse(
            RefusalKind.CORRUPT, f"{path}: cannot be read: {error.strerror or error}"
        ) from None


def _arrays(path: Path, data: bytes, needed: Sequence[str]) -> dict[str, FloatArray]:
    try:
        arrays = load(data)
    except ArraysError as error:
        raise _Refuse(RefusalKind.CORRUPT, f"{path}: {error}; export the bundle again") from None
    for name in needed:
        if name not in arrays:
            raise _Refuse(
                RefusalKind.CORRUPT, f'{path}: array "{name}" is missing; export the bundle again'
            )
    for name, array in arrays.items():
        if not np.isfinite(array).all():
            raise _Refuse(
                RefusalKind.CORRUPT,
                f'{path}: array "{name}" holds NaN or infinity; permitted are finite numbers',
            )
    return arrays
