"""Run the demo and keep its screen as a picture: docs/demo.svg.

python bench/demo_picture.py
"""

from __future__ import annotations

import io
import re
import subprocess
import sys
from pathlib import Path

from rich.console import Console
from rich.text import Text

ROOT = Path(__file__).resolve().parent.parent


def main() -> int:
    """Write the picture; the demo's exit code."""
    done = subprocess.run(
        [sys.executable, "-m", "edge", "demo"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    lines = done.stdout.splitlines()
    console = Console(record=True, width=168, file=io.StringIO())
    for line in [*lines[:6], "   ...", *lines[-34:]]:
        style = "bold red" if ">>" in line else "green" if line.startswith("  ok") else ""
        console.print(Text(line, style=style), soft_wrap=True)
    picture = console.export_svg(title="make demo (simulated plant)")
    # The picture must not fetch fonts from anywhere.
    picture = re.sub(r"@font-face \{.*?\}", "", picture, flags=re.DOTALL)
    (ROOT / "docs" / "demo.svg").write_text(picture, encoding="utf-8")
    print(done.stdout)
    return done.returncode


if __name__ == "__main__":
    raise SystemExit(main())
