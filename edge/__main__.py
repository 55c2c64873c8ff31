"""ncm-edge: one subcommand, one function. Exit codes: 0 fine, 1 not fine, 2 a user's mistake."""

from __future__ import annotations

import argparse
import math
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from edge import __version__
from edge.cli.parsers import certificate, page, records, service, status, updates

if TYPE_CHECKING:
    from edge.config.types import Appliance

DEFAULT_CONFIG = Path("firmware_config")

EXAMPLES = """examples:
  ncm-edge demo                              the simulated line with a corroding NaOH feed
  ncm-edge check --config /etc/ncm-edge      every fault of the configuration at once
  ncm-edge tags --errors                     live tag table, only what is not good
  ncm-edge run --config /etc/ncm-edge        the daemon, as systemd starts it
  ncm-edge reload --config /etc/ncm-edge     have the daemon take changed files, or say why not
  ncm-edge status --watch                    what the daemon says; exit code = NE 107 number
  ncm-edge certificate --show                certificates of OPC UA links, days left
  ncm-edge history list                      what was kept: batches, worst severity, exports
  ncm-edge archive --out /media/usb/archive  finished batches as Parquet, to learn from
  ncm-edge update apply /run/ncm-edge-stick  a signed model from a stick
  sudo ncm-edge install                      a systemd service, hardened; --dry-run shows it
  sudo ncm-edge backup /mnt/edge-1.backup    state and configuration, while the daemon runs
  ncm-edge replay rig.csv --line rig         a recording served as a PLC over Modbus TCP
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point of the console script; returns the exit code."""
    options = _parser().parse_args(argv)
    try:
        code = int(options.function(options))
        sys.stdout.flush()
    except KeyboardInterrupt:
        return 130
    except (BrokenPipeError, BaseExceptionGroup) as error:
        # `ncm-edge tags | head` closes our output early; that is no fault of anybody. What is
        # still in the buffer must not be tried again when the interpreter ends.
        if isinstance(error, BaseExceptionGroup) and error.split(BrokenPipeError)[1] is not None:
            raise
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    return code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="ncm-edge",
        description="Inference appliance beside the PLC of a cathode-precursor line.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"ncm-edge {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    place = argparse.ArgumentParser(add_help=False)
    place.add_argument(
        "--config", type=Path, default=DEFAULT_CONFIG, metavar="DIR",
        help="configuration directory (default: %(default)s)",
    )  # fmt: skip
    site = argparse.ArgumentParser(add_help=False, parents=[place])
    site.add_argument(
        "--line", action="append", metavar="NAME",
        help="only this line; may be repeated (default: the lines of appliance.toml)",
    )  # fmt: skip

    run = commands.add_parser(
        "run", parents=[site], help="the daemon", description="Poll, infer, publish, until stopped."
    )
    run.add_argument(
        "--state", type=Path, metavar="DIR", help="instead of the configured state_dir"
    )
    run.add_argument("--runtime", type=Path, metavar="DIR", help="instead of runtime_dir")
    run.add_argument("--verbose", action="store_true", help="log debug messages too")
    run.set_defaults(function=_run)

    reload = commands.add_parser(
        "reload", parents=[place], help="have the running daemon take its configuration anew",
        description="Asks the running daemon (SIGHUP) to read its configuration again. It is "
        "checked, new links are connected and read once, and then it is swapped in between two "
        "rows; on any fault all of it is refused and the old one goes on. Exit code: 0 taken, "
        "2 refused (with every fault), 1 no daemon.",
        epilog="examples:\n"
        "  ncm-edge check --config /etc/ncm-edge && ncm-edge reload --config /etc/ncm-edge\n"
        "  sudo systemctl reload ncm-edge             the same from another account\n",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    reload.add_argument(
        "--runtime", type=Path, metavar="DIR", help="instead of the configured runtime_dir"
    )
    reload.set_defaults(function=_reload)

    demo = commands.add_parser(
        "demo", parents=[place], help="the appliance at work on the digital twin",
        description="Starts the simulated line on real Modbus TCP and OPC UA servers on loopback, "
        "runs the daemon on it in accelerated time, and reads the flags back from the PLC.",
    )  # fmt: skip
    demo.add_argument("--keep", action="store_true", help="go on until the batch ends")
    demo.add_argument(
        "--seed", type=int, default=7, help="seed of the batch (default: %(default)s)"
    )
    demo.add_argument("--fault", default="F03", help="fault of the twin's library, or none")
    demo.add_argument(
        "--severity", type=int, choices=(1, 2, 3), default=3, help="D-3 is 1, D-1 is 3"
    )
    demo.add_argument(
        "--speed", type=_rate, default=600.0, help="at most this many times real time"
    )
    demo.set_defaults(function=_demo)

    check = commands.add_parser(
        "check", parents=[site], help="report every fault of the configuration"
    )
    check.set_defaults(function=_check)

    tags = commands.add_parser(
        "tags", parents=[site], help="commissioning: every tag live, with raw words and word orders"
    )
    tags.add_argument("--errors", action="store_true", help="only tags that are not good")
    tags.add_argument("--watch", action="store_true", help="print again every second until stopped")
    tags.add_argument("--json", action="store_true", help="machine-readable")
    tags.set_defaults(function=_tags)

    replay = commands.add_parser(
        "replay", parents=[site], help="serve a recording as a PLC over Modbus TCP",
        description="Serves the rows of a CSV or Parquet recording as the PLC of a line.",
    )  # fmt: skip
    replay.add_argument("recording", type=Path, help="CSV, CSV.gz or Parquet, a column per tag")
    replay.add_argument(
        "--where", metavar="COLUMN=VALUE", help="only rows with this value, e.g. file=valve1/0"
    )
    replay.add_argument(
        "--speed", type=_rate, default=1.0, help="rows per second (default: %(default)s)"
    )
    replay.set_defaults(function=_replay)

    twin = commands.add_parser(
        "twin", parents=[site], help="serve the simulated line, for commissioning"
    )
    twin.add_argument("--seed", type=int, default=7)
    twin.add_argument(
        "--fault", default="none", help="fault id of the library, e.g. F03 (default: none)"
    )
    twin.add_argument("--severity", type=int, choices=(1, 2, 3), default=3)
    twin.add_argument("--speed", type=_rate, default=1.0, help="plant seconds per second")
    twin.add_argument("--panel", type=int, metavar="PORT", help="serve an HMI there: docs/hmi.md")
    twin.set_defaults(function=_twin)

    certificate.add_parser(commands, place)

    status.add(commands, site, _load)
    page.add(commands, site)
    records.add(commands, site, _load)
    updates.add(commands, site, _load)
    service.add(commands, place, _load)
    return parser


def _rate(text: str) -> float:
    """A speed factor: any finite number above 0."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not (math.isfinite(value) and value > 0):
        raise argparse.ArgumentTypeError(f"{text!r}: expected a number above 0, e.g. 60")
    return value


# Each function imports what it needs: `ncm-edge check` must answer on a box without a runtime.


def _loader(options: argparse.Namespace, **overrides: Path | None) -> Callable[[], Appliance]:
    """What reads the configuration these options name, now and at each reload."""
    from edge.config.load import load

    line = getattr(options, "line", None)  # not every command asks for one
    lines = tuple(line) if line else None
    given = {name: path for name, path in overrides.items() if path is not None}
    return lambda: load(options.config, lines=lines, **given)


def _load(options: argparse.Namespace, **overrides: Path | None) -> Appliance:
    from edge.config.faults import ConfigError

    try:
        return _loader(options, **overrides)()
    except ConfigError as error:
        print(error, file=sys.stderr)
        raise SystemExit(2) from None


def _run(options: argparse.Namespace) -> int:
    from edge.cli.daemon import run

    overrides = {"state_dir": options.state, "runtime_dir": options.runtime}
    appliance = _load(options, **overrides)
    return run(appliance, _loader(options, **overrides), verbose=options.verbose)


def _reload(options: argparse.Namespace) -> int:
    from edge.cli.reload import run

    # Without --runtime the files are read here too: their faults are a refusal, told at once.
    runtime_dir = options.runtime or _load(options).runtime_dir
    if options.runtime is None:
        _warn_of_the_filter(options, sys.stderr)
    return run(runtime_dir)


def _demo(options: argparse.Namespace) -> int:
    from edge.cli.demo import run

    return run(
        options.config, seed=options.seed, fault=options.fault, severity=options.severity,
        speed=options.speed, keep=options.keep,
    )  # fmt: skip


def _check(options: argparse.Namespace) -> int:
    from edge.config.check import check

    code, text = check(options.config, lines=tuple(options.line) if options.line else None)
    print(text, file=sys.stderr if code else sys.stdout)
    if not code:
        _warn_of_the_filter(options, sys.stdout)
    return code


def _warn_of_the_filter(options: argparse.Namespace, stream: TextIO) -> None:
    """Say that the address filter of this machine knows other devices than the configuration."""
    from edge.cli.install import network_warning

    stale = network_warning(options.config)
    if stale:
        print(f"warning: {stale}", file=stream)


def _tags(options: argparse.Namespace) -> int:
    from edge.cli.tags import run

    return run(_load(options), errors=options.errors, watch=options.watch, as_json=options.json)


def _replay(options: argparse.Namespace) -> int:
    from edge.cli import serve

    return serve.replay(_load(options), options.recording, where=options.where, speed=options.speed)


def _twin(options: argparse.Namespace) -> int:
    from edge.cli import serve

    return serve.twin(
        _load(options), seed=options.seed, fault=options.fault, severity=options.severity,
        speed=options.speed, panel_port=options.panel,
    )  # fmt: skip


if __name__ == "__main__":
    raise SystemExit(main())
