"""What the model's bundle says for people: validated hit rates, and the envelope of good batches.

The bundle that decides is named by the daemon (words.json). Only its card and its reference table
are read, and the table only if it is the one the card lists.
"""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from edge.core.card import CardError, ModelCard, from_dict
from edge.core.tags import FloatArray

SPREADS = 3.0
"""Half the width of the envelope, in spreads of the reference table."""
MAX_BYTES = 64 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Reference:
    """A bundle as the page knows it. K slots, P tags."""

    card: ModelCard
    low: FloatArray
    """float32[K, P]: lower edge of the envelope, engineering units."""
    high: FloatArray


def load(directory: Path) -> Reference | str:
    """The reference of a bundle, or why there is none."""
    try:
        card = from_dict(json.loads((directory / "card.json").read_text(encoding="utf-8")))
        path = directory / "reference.npz"
        if path.stat().st_size > MAX_BYTES:
            return f"{path}: too large"
        data = path.read_bytes()
        if hashlib.sha256(data).hexdigest() != card.files.get("reference.npz", "").lower():
            return f"{path}: not the file its card lists"
        with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
            loc, scale = (np.asarray(arrays[name], np.float32) for name in ("loc", "scale"))
        # A minute's lowest and highest value have references of their own: noise is within them.
        least, most = card.features.index("min"), card.features.index("max")
        half = SPREADS * scale
        return Reference(
            card=card, low=(loc - half)[..., least], high=(loc + half)[..., most]
        )
    except OSError as error:
        return f"{error.filename or directory}: {error.strerror or error}"
    except (CardError, ValueError, KeyError, IndexError, EOFError, zipfile.BadZipFile) as error:
        return f"{directory}: not a bundle of this release ({error})"


def about(card: ModelCard, warn_probability: float | None) -> dict[str, Any]:
    """Model, thresholds and hit rates as the browser wants them."""
    return {
        "name": card.name,
        "serial": card.serial,
        "notice": card.notice,
        "simulated": card.simulated,
        "threshold": card.threshold if warn_probability is None else warn_probability,
        "hits": [hit_rate(card, severity) for severity in range(4)],
    }


def hit_rate(card: ModelCard, severity: int) -> str:
    """How often a verdict of this severity was right in validation, as a sentence."""
    table = card.metrics.get("severity_confusion")
    data = " (simulated)" if card.simulated else ""
    try:
        said = [int(row[severity]) for row in table] if table else []
        of_level = sum(map(int, table[severity])) if table else 0
    except (TypeError, ValueError, IndexError):
        said = []
    if len(said) != 4 or not sum(said):
        return "The model card holds no validation of this severity."
    total = sum(said)
    if severity == 0:
        return (
            f"Validated{data}: of {total} batches called normal, {said[0]} were, and {said[3]} had "
            "a failure a day ahead."
        )
    return (
        f"Validated{data}: of {total} batches called severity {severity}, {total - said[0]} had a "
        f"defect, {said[severity]} exactly this one; {said[severity]} of {of_level} were found."
    )
