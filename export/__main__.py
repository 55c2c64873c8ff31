"""ncm-export: from recordings to a bundle. Each command is a module of export/cli.

Exit code 0; 2 with a message for a user's mistake; 130 when stopped.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence

from export.cli import (
    adapt,
    benchmark,
    bundle,
    data,
    evaluate,
    explain,
    keys,
    label,
    quantize,
    schedule,
    sign,
    simulate,
    train,
)

COMMANDS = (
    schedule, simulate, label, data, train, adapt, evaluate, explain, benchmark, quantize, bundle,
    keys, sign,
)  # fmt: skip
"""In the order of the work."""

EPILOG = """examples:
  ncm-export schedule ncm838 --out build/ncm838.csv        # 21 steps of a target composition
  ncm-export simulate --out build/twin                     # simulated batches, about 2 min
  ncm-export train --data build/twin --out build/ncm       # our recipe, about 3 min
  ncm-export evaluate build/ncm --data build/twin
  ncm-export bundle build/ncm --data build/twin --out firmware_config/models/ncm-1
  ncm-export keys init keys                                # once, see docs/updates.md
  ncm-export sign firmware_config/models/ncm-1 --key keys/private/release-1.pem \\
      --line ncm-1 --out ncm-1.ncm
  ncm-export train --data build/twin --recipe paper --out build/paper   # published baseline
  ncm-export train --recording export/plants/skab.toml --out build/skab # a real recording
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit code."""
    args = _parser().parse_args(argv)
    # Imported late: --help must not wait seconds for torch.
    from edge.config.faults import ConfigError
    from export.faults import ExportError

    try:
        args.call(args)
    except (ConfigError, ExportError) as error:
        print(error, file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        return 130
    except BrokenPipeError:
        # Whoever read us has seen enough; nothing more may be written, not even at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="ncm-export",
        description="Make a model bundle for ncm-edge: simulate, train, evaluate, quantise, pack.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    sub = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for module in COMMANDS:
        module.add(sub)
    return parser


if __name__ == "__main__":
    sys.exit(main())
