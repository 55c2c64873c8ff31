"""The commands of signed model updates: their options, not what they do."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from edge.config.types import Appliance

Load = Callable[..., "Appliance"]
"""The configuration that the options name; `state_dir` and `runtime_dir` may be given instead."""



def add(commands: Any, site: argparse.ArgumentParser, load: Load) -> None:
    """Register the commands; `load` reads the configuration the options name."""
    update = commands.add_parser(
        "update", parents=[site], help="signed model updates from a stick",
        description="Exit code 0, 2 for a mistake in the command, else the refusal's number.",
    )  # fmt: skip
    update.add_argument(
        "action", choices=("inspect", "apply", "status", "rollback", "repair", "codes"),
        help="inspect, apply: the update on a stick; rollback: the previous model; repair: state "
        "that was lost; codes: every refusal with its number",
    )  # fmt: skip
    update.add_argument("path", type=Path, nargs="?", help="update file, or folder with one")
    update.add_argument("--state", type=Path, metavar="DIR", help="instead of state_dir")
    update.add_argument("--json", action="store_true", help="machine-readable")
    update.add_argument("--floor", metavar="EPOCH.NUMBER", help="repair: least release to accept")
    update.set_defaults(function=lambda options: _update(options, load))

    audit = commands.add_parser(
        "audit", parents=[site], help="verify the hash chain of the update audit"
    )
    audit.add_argument("--state", type=Path, metavar="DIR", help="instead of state_dir")
    audit.add_argument("--json", action="store_true", help="print its lines")
    audit.set_defaults(function=lambda options: _audit(options, load))


def _update(options: argparse.Namespace, load: Load) -> int:
    from edge.cli import update

    if options.action == "codes":
        return update.codes()
    if (options.path is None) == (options.action in ("inspect", "apply")):
        print(
            "inspect and apply want the path of an update file or of a stick; status, rollback and "
            f"repair want none: ncm-edge update {options.action}", file=sys.stderr,
        )  # fmt: skip
        return 2
    appliance = load(options, state_dir=options.state)
    call = {
        "inspect": lambda: update.inspect(appliance, options.path, as_json=options.json),
        "apply": lambda: update.apply(appliance, options.path),
        "status": lambda: update.status(appliance, as_json=options.json),
        "rollback": lambda: update.rollback(appliance),
        "repair": lambda: update.repair(appliance, options.floor),
    }
    return call[options.action]()


def _audit(options: argparse.Namespace, load: Load) -> int:
    from edge.cli import update

    return update.audit(load(options, state_dir=options.state), as_json=options.json)
