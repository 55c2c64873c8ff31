"""What several commands share: a command's parser, the choice of data, the label of a result."""

from __future__ import annotations

import argparse
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from export.data.dataset import Dataset

Commands = Any
"""What argparse's add_subparsers returns."""


def command(
    sub: Commands,
    name: str,
    run: Callable[[argparse.Namespace], None],
    text: str,
    *examples: str,
) -> argparse.ArgumentParser:
    """The parser of one command, with examples under its help."""
    parser: argparse.ArgumentParser = sub.add_parser(
        name,
        help=text,
        description=text,
        epilog="examples:\n" + "\n".join(f"  {line}" for line in examples),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.set_defaults(call=run)
    return parser


def add_data(parser: argparse.ArgumentParser, required: bool = True) -> None:
    """--data or --recording, and --file."""
    group = parser.add_mutually_exclusive_group(required=required)
    group.add_argument("--data", type=Path, help="dataset directory written by simulate")
    group.add_argument("--recording", type=Path, help="TOML description of a recording")
    parser.add_argument("--file", type=Path, help="replaces the file named in the description")


def add_device(parser: argparse.ArgumentParser) -> None:
    """--device; `export.learn.device.choose` explains a wrong one."""
    parser.add_argument(
        "--device",
        default="auto",
        metavar="auto|cpu|cuda[:N]",
        help="where to compute (default: auto, a GPU if torch sees one, else the CPU)",
    )


def load_data(args: argparse.Namespace) -> Dataset:
    """The dataset or recording the arguments name. Raises DatasetError, ConfigError."""
    from export.data.dataset import load_dataset
    from export.data.recording import load_recording

    if args.recording is not None:
        return load_recording(args.recording, args.file)
    return load_dataset(args.data)


def add_config(parser: argparse.ArgumentParser) -> None:
    """--config; `config_of` says which directory it is."""
    parser.add_argument(
        "--config", type=Path, metavar="DIR",
        help="configuration directory of the line (default: the one the recording's description "
        "names, else firmware_config)",
    )  # fmt: skip


def config_of(args: argparse.Namespace) -> Path:
    """The configuration directory; call it after `load_data`, which checks the description."""
    if args.config is not None:
        return Path(args.config)
    if args.recording is not None:
        named = tomllib.loads(args.recording.read_text(encoding="utf-8")).get("config")
        if named:
            return Path(args.recording.parent / named)
    return Path("firmware_config")


def label(simulated: bool) -> str:
    """In front of every result."""
    return "simulated data: " if simulated else "recorded data: "
