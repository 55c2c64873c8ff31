"""`ncm-edge page`: the operator page, a process of its own beside the daemon."""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import sys
from typing import Any


def run(options: argparse.Namespace) -> int:
    """Serve until a signal. Returns 0 after a clean stop, 2 if the page may not or cannot start."""
    try:
        from edge.page import serve
    except ImportError as error:
        print(f"ncm-edge page needs {error.name}: pip install 'ncm-edge[page]'", file=sys.stderr)
        return 2
    logging.basicConfig(
        level=logging.INFO, stream=sys.stderr,
        format="%(message)s" if "JOURNAL_STREAM" in os.environ
        else "%(asctime)s %(levelname)-7s %(message)s",
    )  # fmt: skip
    arguments = ["--config", str(options.config.absolute())]
    for line in options.line or ():
        arguments += ["--line", line]
    for name in ("state", "runtime"):
        if (path := getattr(options, name)) is not None:
            arguments += [f"--{name}", str(path.absolute())]
    overrides: dict[str, Any] = {
        key: value for key in ("listen", "port") if (value := getattr(options, key)) is not None
    }
    try:
        asyncio.run(serve.run(arguments, overrides))
    except serve.CannotStart as error:
        if str(error):
            print(error, file=sys.stderr)
        return 2
    return 0
