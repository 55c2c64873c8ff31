"""`ncm-edge hmi`: everything the engineer of the HMI needs, generated from the code that runs."""

from __future__ import annotations

import sys
from pathlib import Path

from edge.core import hmi, register_map, structured_text

DOCUMENTS = {
    "register_map.md": register_map.markdown,
    "register_map.csv": register_map.csv,
    "faceplate.md": hmi.faceplate_markdown,
    "alarms.md": hmi.alarms_markdown,
    "alarms.csv": hmi.alarms_csv,
    "FB_EdgeAdvisor.st": structured_text.function_block,
}
"""File -> what makes its text."""


def run(folder: Path) -> int:
    """Write the package into `folder`."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, make in DOCUMENTS.items():
            (folder / name).write_text(make(), encoding="utf-8")
            print(folder / name)
    except OSError as error:
        print(f"{error.filename}: {error.strerror}; name another folder with --out",
              file=sys.stderr)  # fmt: skip
        return 2
    return 0
