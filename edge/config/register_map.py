"""Write the register map's documents: `python -m edge.config.register_map [repository root]`."""

from __future__ import annotations

import sys
from pathlib import Path

from edge.core import register_map

FILES = {
    Path("docs/register_map.md"): register_map.markdown,
    Path("firmware_config/register_map.csv"): register_map.csv,
}


def write(root: Path) -> None:
    """Regenerate every document below `root`; OSError if a file cannot be written."""
    for path, render in FILES.items():
        (root / path).write_text(render(), encoding="utf-8")


if __name__ == "__main__":
    write(Path(sys.argv[1]) if len(sys.argv) > 1 else Path())
