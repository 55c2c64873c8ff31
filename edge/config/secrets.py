"""Files that must not be read by everybody: private keys and passwords.

A group may read them, because a key that belongs to root and to the service's group is how a plant
keeps the service from changing its own key.
"""

from __future__ import annotations

import stat
from pathlib import Path

OTHERS = stat.S_IRWXO


def private_fault(path: Path) -> str:
    """What is wrong with a file that holds a secret, with the remedy; "" if nothing is."""
    fault = file_fault(path)
    if fault:
        return fault
    mode = stat.S_IMODE(path.stat().st_mode)
    if mode & OTHERS:
        return f"{path} has mode {mode:04o}: every user of this machine may use it; chmod 600 it"
    return ""


def file_fault(path: Path) -> str:
    """What is wrong with a file that must be readable; "" if nothing is."""
    try:
        with path.open("rb"):
            return ""
    except OSError as error:
        why = error.strerror or str(error)
        return f"{path} cannot be read ({why}); correct the path, or owner and mode of the file"
