"""From a described recording straight to a bundle: what a demonstration or a system test needs."""

from __future__ import annotations

import tempfile
from pathlib import Path

from edge.core.card import ModelCard
from export.data.recording import load_recording
from export.deliver.pack import make_bundle, save_trained
from export.learn.recipe import load_recipe
from export.learn.train import train


def bundle_from_recording(
    description: Path,
    out: dict[str, Path],
    *,
    data: Path | None = None,
    recipe: str = "continuous",
) -> dict[str, ModelCard]:
    """Train once on a recording's normal parts, write one bundle per wanted stretch.

    The bundles share one graph and differ in the reference, each learnt from the first rows of its
    own stretch, as after maintenance on site. Takes well under a minute for a few thousand rows.

    Args:
        description: TOML as in export/data/recording.py.
        out: stretch (e.g. "valve1/0") -> bundle directory.
        data: replaces the file named in the description.
        recipe: name or path.

    Raises:
        DatasetError, ConfigError, TrainingError, PackError: with the reason.
    """
    dataset = load_recording(description, data)
    trained = train(dataset, load_recipe(recipe), quiet=True)
    with tempfile.TemporaryDirectory() as work:
        folder = Path(work)
        save_trained(trained, dataset, folder)
        return {domain: make_bundle(folder, path, domain=domain) for domain, path in out.items()}
