"""`ncm-edge reload`: have the running daemon take its configuration anew, and tell the outcome."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from edge.runtime import status as status_file

TAKEN, NO_DAEMON, REFUSED = 0, 1, 2
PATIENCE_S = 60.0
"""A dry read takes seconds, a new model's self-test more."""


def run(
    runtime_dir: Path,
    *,
    now_s: Callable[[], float] = time.time,
    pause: Callable[[float], None] = time.sleep,
) -> int:
    """Ask with SIGHUP and wait for the answer in the status file.

    Returns 0 when the new configuration runs, 2 when it was refused and the old one goes on, 1 when
    nobody was there to ask or to answer.
    """
    path = runtime_dir / status_file.FILE_NAME
    asked_s = now_s()
    try:
        document = status_file.read(runtime_dir)
        pid, written_s = int(document["pid"]), float(document["written_s"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        return _nobody(
            f"{path}: {_words(error)}; is ncm-edge running, in this version and with this runtime "
            "directory? (systemctl status ncm-edge; --runtime DIR)"
        )
    if not -status_file.STALE_S <= asked_s - written_s <= status_file.STALE_S:
        return _nobody(f"{path}: written {asked_s - written_s:.0f} s ago; the daemon does not run")
    try:
        os.kill(pid, signal.SIGHUP)
    except ProcessLookupError:
        return _nobody(f"{path}: process {pid} is gone; start it (systemctl start ncm-edge)")
    except PermissionError:
        return _nobody(f"process {pid} belongs to another user; use sudo systemctl reload ncm-edge")
    while now_s() - asked_s < PATIENCE_S:
        answer = _answer(runtime_dir, asked_s)
        if answer is not None:
            return _tell(answer)
        pause(0.2)
    return _nobody(
        f"no answer within {PATIENCE_S:.0f} s; see ncm-edge status and journalctl -u ncm-edge"
    )


def _answer(runtime_dir: Path, asked_s: float) -> dict[str, Any] | None:
    """The outcome of a reload that read its files after we asked; None while there is none."""
    try:
        found = status_file.read(runtime_dir)["reload"]
        return found if float(found.get("started_s") or 0.0) >= asked_s else None
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None  # it may be stopping; the patience decides


def _tell(answer: dict[str, Any]) -> int:
    text = str(answer["text"])
    if answer["outcome"] == "accepted":
        print(f"reloaded: {text}")
        return TAKEN
    print(f"{text}\nrefused: the old configuration goes on", file=sys.stderr)
    return REFUSED


def _nobody(text: str) -> int:
    print(text, file=sys.stderr)
    return NO_DAEMON


def _words(error: Exception) -> str:
    if isinstance(error, FileNotFoundError):
        return "not there"
    return f"{error.strerror or error}" if isinstance(error, OSError) else f"no status ({error!r})"
