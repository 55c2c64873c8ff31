"""The commands that make a service of the program: their options, not what they do."""

from __future__ import annotations

import argparse
from pathlib import Path, PurePosixPath
from typing import Any

INSTALL = """examples:
  ncm-edge install --dry-run                 every file and command, nothing done
  sudo /opt/ncm-edge/bin/ncm-edge install    account, units, stick import, address filter; enabled
  sudo ncm-edge install --network            after other addresses in line.toml
  sudo ncm-edge install --uninstall          configuration and state stay
  ncm-edge install --root /mnt/image --site plant/   into an image, with the plant's configuration

A configuration that is there is never touched. Exit codes: 0 done; 1 a command or the disk failed,
run it again; 2 a mistake, or not possible here (nothing was done).
"""


def add(commands: Any) -> None:
    """Register the commands."""
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
        offline=options.offline, start=options.start, downgrade=options.downgrade, network_only=options.network,
    )  # fmt: skip
