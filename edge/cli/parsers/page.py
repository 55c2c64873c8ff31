"""The options of `ncm-edge page`."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

EXAMPLES = """examples:
  ncm-edge page --config /etc/ncm-edge       http://127.0.0.1:8480/ on this machine
  ncm-edge page --port 9000
  ssh -L 8480:localhost:8480 edge-1          see the page of an appliance from elsewhere

Any address but loopback needs [page] of appliance.toml: docs/page.md.
"""


def add(commands: Any, site: argparse.ArgumentParser) -> None:
    """Register the command."""
    page = commands.add_parser(
        "page", parents=[site], help="the operator page; read-only, beside the daemon",
        description="Serves the operator page: it reads the daemon's status file and history, and "
        "changes nothing. It may start before the daemon, and stay when that stops.",
        epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    page.add_argument("--listen", metavar="ADDRESS", help="instead of [page] listen")
    page.add_argument("--port", type=_port, help="instead of [page] port")
    page.add_argument("--state", type=Path, metavar="DIR", help="instead of state_dir")
    page.add_argument("--runtime", type=Path, metavar="DIR", help="instead of runtime_dir")
    page.set_defaults(function=_page)


def _port(text: str) -> int:
    if not (text.isascii() and text.isdigit() and 1 <= int(text) <= 65535):
        raise argparse.ArgumentTypeError(f"{text!r}: expected a TCP port, 1 to 65535")
    return int(text)


def _page(options: argparse.Namespace) -> int:
    from edge.cli.page import run

    return run(options)
