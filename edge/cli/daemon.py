"""`ncm-edge run`: the daemon, under systemd or at a prompt. SIGHUP reloads, SIGTERM ends it."""

from __future__ import annotations

import asyncio
import faulthandler
import logging
import os
import signal
import sys
from collections.abc import Callable

from edge.app import App
from edge.config.types import Appliance
from edge.runtime.clock import SystemClock
from edge.runtime.loop import loop_factory
from edge.runtime.notify import Notifier
from edge.runtime.ringfile import RingBusy

log = logging.getLogger("ncm-edge")


def run(
    appliance: Appliance, load: Callable[[], Appliance] | None = None, *, verbose: bool = False
) -> int:
    """Run until a signal asks to stop; `load` reads the configuration anew for a SIGHUP.

    Returns 0 after a clean stop, 1 without its directories.
    """
    # As in the unit: rows, verdicts and model state are for the group, not for everybody.
    os.umask(0o027)
    # A reload asked for too early must not end the process: that is what SIGHUP does by default.
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    # A watchdog abort (SIGABRT) prints the Python stack of the hang into the journal.
    faulthandler.enable()
    configure_logging(verbose=verbose)
    for directory in (appliance.state_dir, appliance.runtime_dir):
        try:
            directory.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            print(
                f"{directory}: {error.strerror}; create it for this user, or name another with "
                "--state DIR and --runtime DIR",
                file=sys.stderr,
            )
            return 1
    with asyncio.Runner(loop_factory=loop_factory()) as runner:
        return runner.run(_serve(appliance, load))


async def _serve(appliance: Appliance, load: Callable[[], Appliance] | None) -> int:
    loop = asyncio.get_running_loop()
    app: App
    # Served once the first cycle is complete; building the App does not give the loop a turn.
    loop.add_signal_handler(signal.SIGHUP, lambda: app.ask_reload())
    try:
        app = App(appliance, clock=SystemClock(), notifier=Notifier(), load=load)
    except RingBusy as error:
        log.error("%s", error)
        return 1
    task = asyncio.create_task(app.run(), name="app")
    for signum in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(signum, _stop, task, signum)
    try:
        await task
    except asyncio.CancelledError:
        log.info("stopped")
    return 0


def _stop(task: asyncio.Task[None], signum: signal.Signals) -> None:
    log.info("%s: stopping", signum.name)
    task.cancel()


def configure_logging(*, verbose: bool) -> None:
    """Log to stderr; the journal adds its own time stamps."""
    in_journal = "JOURNAL_STREAM" in os.environ
    logging.basicConfig(
        level=logging.DEBUG if verbose else logging.INFO,
        format="%(message)s" if in_journal else "%(asctime)s %(levelname)-7s %(message)s",
        stream=sys.stderr,
    )
    # Both libraries log kilobytes for each failed request; the drivers log what matters.
    for name in ("asyncua", "pymodbus"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
