"""The commands that tell and write what is known: their options, not what they do."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from edge.config.types import Appliance

Load = Callable[[argparse.Namespace], "Appliance"]

HISTORY = """examples:
  ncm-edge history list                      every batch, its worst severity, whether exported
  ncm-edge history show 42                   one batch: verdicts, conditions, trim dialogue
  ncm-edge history verify                    was the log changed? exit code 1 if it was
  ncm-edge history list --file history.sqlite.bad-1
"""
ARCHIVE = """examples:
  ncm-edge archive --out /media/usb/archive  every finished batch that was not exported yet
  ncm-edge archive 42 --out archive          this one, again
  ncm-export label archive --log maintenance.csv && ncm-export data archive/plant.toml
"""


REPORT = """examples:
  ncm-edge report 42                         batch-42.html: one file, no request leaves it
  ncm-edge report 42 --line ncm-1 --out /media/usb/42.html
"""


HMI = """examples:
  ncm-edge hmi --out docs/hmi                Markdown to read, CSV and a flow to import
  ncm-edge hmi --config /etc/ncm-edge --line ncm-1 --out hmi
                                             addresses and component names of that line
  ncm-edge hmi --twin 1503 --out hmi         to try it: with `ncm-edge twin --panel 1503`
"""


def add(commands: Any, site: argparse.ArgumentParser, load: Load) -> None:
    """Register the commands; `load` reads the configuration the options name."""
    file = argparse.ArgumentParser(add_help=False, parents=[site])
    file.add_argument("--file", type=Path, metavar="FILE",
                      help="this history instead of the configured one")  # fmt: skip
    file.add_argument(
        "--key", type=int, metavar="N",
        help="which of several batches of one number (`history list --json` tells)",
    )  # fmt: skip

    history = _command(commands, "history", file, "what was kept: batches, events, the log's chain",
                       HISTORY)  # fmt: skip
    history.add_argument("action", choices=("list", "show", "verify"))
    history.add_argument("batch", type=int, nargs="?", help="batch number, for show")
    history.add_argument("--json", action="store_true", help="machine-readable")
    history.add_argument("--head", metavar="HEAD", help="verify: a head noted earlier")
    history.set_defaults(function=lambda options: _history(options, load))

    archive = _command(commands, "archive", file, "finished batches as Parquet, for training",
                       ARCHIVE)  # fmt: skip
    archive.add_argument("batch", type=int, nargs="?", help="batch number (default: all new ones)")
    archive.add_argument("--out", type=Path, required=True, metavar="DIR", help="archive folder")
    archive.add_argument("--again", action="store_true", help="also those exported before")
    archive.set_defaults(function=lambda options: _archive(options, load))

    report = _command(commands, "report", file, "one batch as a page to print, file or send",
                      REPORT)  # fmt: skip
    report.add_argument("batch", type=int, help="batch number")
    report.add_argument("--out", type=Path, metavar="FILE", help="default: batch-NUMBER.html")
    report.set_defaults(function=lambda options: _report(options, load))

    hmi = commands.add_parser(
        "hmi", parents=[site], help="register map, faceplate, alarm list and flow for the HMI",
        description="Writes what an HMI is built from, generated from this program: documents, "
        "lists to import, and the faceplate of the configured lines as a Node-RED flow.",
        epilog=HMI, formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    hmi.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder to write")
    hmi.add_argument(
        "--twin", type=int, metavar="PORT",
        help="the flow is for the panel of `ncm-edge twin --panel PORT` on this machine: its keys "
        "work although every output is marked as simulated",
    )  # fmt: skip
    hmi.set_defaults(function=lambda options: _hmi(options, load))


def _command(
    commands: Any, name: str, parent: argparse.ArgumentParser, text: str, examples: str
) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = commands.add_parser(
        name, parents=[parent], help=text, description=text[0].upper() + text[1:] + ".",
        epilog=examples, formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    return parser


def _path(options: argparse.Namespace, load: Load) -> Path:
    from edge.cli.history import path_of

    # A history given by name needs no configuration: it may be another appliance's.
    return options.file if options.file is not None else path_of(load(options), None)


def _history(options: argparse.Namespace, load: Load) -> int:
    from edge.cli import history

    return history.history(_path(options, load), options)


def _archive(options: argparse.Namespace, load: Load) -> int:
    from edge.cli import history

    appliance = load(options)
    return history.archive(
        history.path_of(appliance, options.file), appliance, options.config, options
    )


def _report(options: argparse.Namespace, load: Load) -> int:
    from edge.cli import history

    appliance = load(options)
    return history.report(history.path_of(appliance, options.file), appliance, options)


def _hmi(options: argparse.Namespace, load: Load) -> int:
    from edge.cli import hmi

    return hmi.run(options.out, load(options).lines, twin_port=options.twin)
