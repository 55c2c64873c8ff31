"""sd_notify in a page: readiness, watchdog and status text to systemd, nothing when not under it.

Own code because the small published one drops the watchdog ping together with a STATUS text it
cannot encode, and an appliance must not be restarted for speaking the plant's language. The ping is
a datagram of its own, never blocking and never failing the caller.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Mapping


class Notifier:
    """The service manager's ear. All methods are no-ops without ``NOTIFY_SOCKET``."""

    def __init__(self, environ: Mapping[str, str] = os.environ) -> None:
        path = environ.get("NOTIFY_SOCKET", "")
        # A leading "@" is systemd's way to write the NUL of an abstract socket name.
        self._address = "\0" + path[1:] if path.startswith("@") else path
        pid = environ.get("WATCHDOG_PID")
        usec = environ.get("WATCHDOG_USEC", "0")
        watched = pid in (None, "", str(os.getpid())) and usec.isdigit()
        self.watchdog_s = int(usec) / 1e6 if watched else 0.0
        """The manager's watchdog limit in seconds; 0 when it does not watch this process."""

    def ready(self, status: str) -> None:
        """Start-up is complete: acquisition runs and block W is published (or known impossible)."""
        self._send("READY=1")
        self.status(status)

    def reloading(self) -> None:
        """A reload has begun; `ready` ends it, whatever its outcome."""
        # The manager compares this with its own kernel clock, to tell this reload from an older.
        now_us = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
        self._send(f"RELOADING=1\nMONOTONIC_USEC={now_us}")

    def watchdog(self) -> None:
        """Feed the watchdog. Call only after a completed poll-and-verdict cycle."""
        if self.watchdog_s:
            self._send("WATCHDOG=1")

    def status(self, text: str) -> None:
        """One line for `systemctl status`."""
        self._send("STATUS=" + text.replace("\n", " "))

    def stopping(self) -> None:
        """A clean stop has begun."""
        self._send("STOPPING=1")

    def _send(self, message: str) -> None:
        if not self._address:
            return
        flags = socket.SOCK_DGRAM | getattr(socket, "SOCK_CLOEXEC", 0)
        try:
            with socket.socket(socket.AF_UNIX, flags) as sock:
                sock.setblocking(False)
                sock.sendto(message.encode("utf-8", "replace"), self._address)
        except OSError:
            # A full or vanished socket, or no file descriptor left, costs one ping; the next
            # cycle sends another.
            return
