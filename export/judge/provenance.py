"""What a row was made of: hashes of the data it saw and of the code that can change it."""

from __future__ import annotations

import ast
import hashlib
import importlib.metadata
import platform
from collections.abc import Iterable
from functools import cache
from pathlib import Path

import numpy as np

from edge import __version__
from export.data.dataset import Batch
from export.judge.task import Fold

ROOT = Path(__file__).parents[2]
LIBRARIES = ("numpy", "torch", "scikit-learn", "lightgbm", "aeon", "skada", "monai", "captum")
RECIPES = ROOT / "export" / "recipes"


def fold_hash(fold: Fold) -> str:
    """Over every number and label of the task and of the test, and its roles."""
    task = fold.task
    digest = hashlib.sha256(repr((task.name, task.line, task.sources, task.targets)).encode())
    roles: list[tuple[str, Iterable[Batch]]] = [
        ("train", task.train),
        *((f"reference {d}", bs) for d, bs in sorted(task.reference.items())),
        ("calibrate", task.calibrate),
        ("unlabelled", task.unlabelled),
        ("test", fold.test),
    ]
    for role, samples in roles:
        digest.update(role.encode())
        for b in samples:
            digest.update(f"{b.domain}|{b.group}|{b.fault}|{b.first_step}".encode())
            for array in (b.features, b.valid, b.severity):
                digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()[:16]


@cache
def code_hash(module: str, options: str = "") -> str:
    """Over a module, all of this project that it imports, its options and the recipes."""
    files = sorted(closure(module) | closure("export.judge.worker"))
    if any(f.name == "recipe.py" for f in files):
        files += sorted(RECIPES.glob("*.toml"))
    digest = hashlib.sha256(options.encode())
    for file in files:
        digest.update(str(file.relative_to(ROOT)).encode())
        digest.update(_stripped(file))
    return digest.hexdigest()[:16]


@cache
def closure(module: str) -> frozenset[Path]:
    """Files of this project that a module needs, followed through its import statements."""
    found: set[Path] = set()
    todo = [module]
    while todo:
        name = todo.pop()
        file = _file(name)
        if file is None or file in found:
            continue
        found.add(file)
        for node in ast.walk(ast.parse(file.read_bytes())):
            if isinstance(node, ast.Import):
                todo += [a.name for a in node.names]
            elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
                todo += [node.module, *(f"{node.module}.{a.name}" for a in node.names)]
    # The table of methods changes with every new row; it changes no row.
    return frozenset(f for f in found if f != ROOT / "export" / "methods" / "__init__.py")


def versions() -> dict[str, str]:
    """Of this release, Python and the libraries that decide numbers."""
    out = {"ncm-edge": __version__, "python": platform.python_version()}
    for name in LIBRARIES:
        try:
            out[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            out[name] = "-"
    return out


def _file(module: str) -> Path | None:
    if not module.startswith(("export", "edge")):
        return None
    path = ROOT.joinpath(*module.split("."))
    for file in (path.with_suffix(".py"), path / "__init__.py"):
        if file.is_file():
            return file
    return None


def _stripped(file: Path) -> bytes:
    """The program without comments and layout, so that a reworded comment keeps the results."""
    if file.suffix != ".py":
        return file.read_bytes()
    return ast.dump(ast.parse(file.read_bytes())).encode()
