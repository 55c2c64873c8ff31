"""The commands that make a service of the program: their options, not what they do."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from edge.config.types import Appliance

Load = Callable[..., "Appliance"]
PARTS = ("configuration", "history", "slots")

INSTALL = """examples:
  ncm-edge install --dry-run                 every file and command, nothing done
  sudo /opt/ncm-edge/bin/ncm-edge install    account, units, stick import, address filter; enabled
  sudo ncm-edge install --network            after other addresses in line.toml
  sudo ncm-edge install --uninstall          configuration and state stay
  ncm-edge install --root /mnt/image --site plant/   into an image, with the plant's configuration

A configuration that is there is never touched. Exit codes: 0 done; 1 a command or the disk failed,
run it again; 2 a mistake, or not possible here (nothing was done).
"""


BACKUP = """examples:
  sudo ncm-edge backup /mnt/edge-1.backup --config /etc/ncm-edge
  sudo ncm-edge backup /mnt/edge-1.backup --without history

Taken while the daemon runs. The file holds private keys and passwords: mode 600, keep it locked up.
Exit codes: 0 done; 1 not written, or written without what is named; 2 a mistake.
"""
RESTORE = """examples:
  sudo ncm-edge restore /mnt/edge-1.backup --config /etc/ncm-edge --dry-run
  sudo systemctl stop ncm-edge && sudo ncm-edge restore /mnt/edge-1.backup --config /etc/ncm-edge

The floor of updates never falls, and what is here is kept beside what is restored.
Exit codes: 0 done; 1 the disk failed, run it again; 2 a mistake; 3 the file is damaged or is no
backup; 4 the daemon runs; 5 it would weaken the trust of this appliance.
"""
INVENTORY = """examples:
  ncm-edge inventory --config /etc/ncm-edge
  ncm-edge inventory --json --config /etc/ncm-edge > edge-1.json
  ncm-edge inventory --sbom > sbom.cdx.json   software bill of materials, CycloneDX
"""


def add(commands: Any, place: argparse.ArgumentParser, load: Load) -> None:
    """Register the commands; `load` reads the configuration the options name."""
    _add_install(commands)
    backup = commands.add_parser(
        "backup", parents=[place],
        help="floor, keys, slots, audit, configuration, history: one file",
        description="Writes one file from which this appliance can be made again.",
        epilog=BACKUP, formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    restore = commands.add_parser(
        "restore", parents=[place], help="a backup back onto this appliance",
        description="Checks all of a backup, then restores it. The daemon must be stopped.",
        epilog=RESTORE, formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    for parser in (backup, restore):
        parser.add_argument("file", type=Path, metavar="FILE")
        parser.add_argument(
            "--without", action="append", choices=PARTS, default=[], help="may be repeated"
        )
        parser.add_argument("--state", type=Path, metavar="DIR", help="instead of state_dir")
    restore.add_argument("--dry-run", action="store_true", help="check, and say what would be done")
    backup.set_defaults(function=lambda options: _backup(options, load))
    restore.set_defaults(function=_restore)

    inventory = commands.add_parser(
        "inventory", parents=[place], help="versions, hashes, units, ports; bill of materials",
        description="What this appliance consists of, for the plant's IT.",
        epilog=INVENTORY, formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    form = inventory.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="machine-readable")
    form.add_argument("--sbom", action="store_true", help="CycloneDX JSON")
    inventory.set_defaults(function=lambda options: _inventory(options, load))


def _add_install(commands: Any) -> None:
    install = commands.add_parser(
        "install", help="the systemd service of this machine, or of an image",
        description="Installs account, units, stick import, address filter and documents, and "
        "enables the service. Running it again brings it up to date.",
        epilog=INSTALL, formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    install.add_argument("--dry-run", action="store_true", help="show everything, do nothing")
    install.add_argument(
        "--root", type=Path, default=Path("/"), metavar="DIR", help="file system of an image"
    )
    install.add_argument(
        "--offline", action="store_true", help="this machine is an image being built: enable only"
    )
    what = install.add_mutually_exclusive_group()
    what.add_argument("--uninstall", action="store_true", help="remove all but data")
    what.add_argument(
        "--network", action="store_true", help="only the address filter, from the configuration"
    )
    what.add_argument("--start", action="store_true", help="and (re)start the service")
    install.add_argument(
        "--site", type=Path, metavar="DIR",
        help="configuration to begin with where /etc/ncm-edge has none (default: the example)",
    )  # fmt: skip
    install.add_argument(
        "--program", type=PurePosixPath, metavar="PATH",
        help="program the units start (default: this one; with --root /opt/ncm-edge/bin/ncm-edge)",
    )  # fmt: skip
    install.add_argument("--downgrade", action="store_true", help="over a newer version")
    install.set_defaults(function=_install)


def _install(options: argparse.Namespace) -> int:
    from edge.cli import install

    root = options.root.resolve()
    if options.uninstall:
        return install.uninstall(root=root, dry_run=options.dry_run, offline=options.offline)
    return install.install(
        root=root, site=options.site, program=options.program, dry_run=options.dry_run,
        offline=options.offline, start=options.start, downgrade=options.downgrade,
        network_only=options.network,
    )  # fmt: skip


def _backup(options: argparse.Namespace, load: Load) -> int:
    from edge.cli import backup
    from edge.runtime.clock import SystemClock

    return backup.backup(
        load(options, state_dir=options.state), options.config, options.file,
        without=frozenset(options.without), clock=SystemClock(),
    )  # fmt: skip


def _restore(options: argparse.Namespace) -> int:
    from edge.cli import backup
    from edge.runtime.clock import SystemClock

    return backup.restore(
        options.file, options.config, state=options.state, without=frozenset(options.without),
        dry_run=options.dry_run, clock=SystemClock(),
    )  # fmt: skip


def _inventory(options: argparse.Namespace, load: Load) -> int:
    from edge.cli import inventory
    from edge.runtime.clock import SystemClock

    appliance = load(options)
    if options.sbom:
        return inventory.sbom(appliance, SystemClock())
    return inventory.inventory(appliance, options.config, SystemClock(), as_json=options.json)
