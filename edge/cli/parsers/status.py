"""The options of `ncm-edge status`, and its watch."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from edge.config.types import Appliance

Load = Callable[[argparse.Namespace], "Appliance"]

ABOUT = """\
What the running daemon says of itself (docs/status.md). Exit code: the most urgent NE 107 number
of the lines (0 normal, 1 failure, 2 function check, 3 off-spec, 4 maintenance required); 1 also
without a daemon, for silence is never good news.
"""
EXAMPLES = """examples:
  ncm-edge status || echo look at it         for a script or a monitoring agent
  ncm-edge status --line ncm-1 --watch       one line, again every second
  ncm-edge status --json | jq .mqtt          one section of the document
"""


def add(commands: Any, site: argparse.ArgumentParser, load: Load) -> None:
    """Register the command; `load` reads the configuration the options name."""
    status = commands.add_parser(
        "status", parents=[site], help="what the daemon says; exit code = NE 107",
        description=ABOUT, epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    status.add_argument(
        "--runtime", type=Path, metavar="DIR", help="instead of the configured runtime_dir"
    )
    form = status.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="machine-readable; docs/status.md")
    form.add_argument("--metrics", action="store_true", help="as Prometheus text")
    status.add_argument(
        "--watch", action="store_true", help="print again every second until stopped; "
        "with --json one document a line"
    )  # fmt: skip
    status.set_defaults(function=lambda options: _status(options, load))


def _status(options: argparse.Namespace, load: Load) -> int:
    from edge.cli import status

    runtime_dir = options.runtime or load(options).runtime_dir
    code = status.NOT_RUNNING
    try:
        while True:
            code = status.run(
                runtime_dir, as_json=options.json, as_metrics=options.metrics,
                only=tuple(options.line or ()), one_line=options.watch,
            )  # fmt: skip
            if not options.watch:
                return code
            sys.stdout.flush()  # a pipe would otherwise see nothing for minutes
            time.sleep(1.0)
    except KeyboardInterrupt:
        return code  # of what was seen last: also a watch ends with the NE 107 number
