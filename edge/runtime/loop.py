"""Which event loop the daemon runs on.

uvloop answers the same sockets with less than half of the CPU time; with tens of thousands of tags
that decides how many lines one core serves. At one line nobody notices, so it is an extra:
``pip install ncm-edge[uvloop]``.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable


def loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """uvloop's loop where it is installed; None means the one of asyncio."""
    try:
        import uvloop
    except ImportError:
        return None
    factory: Callable[[], asyncio.AbstractEventLoop] = uvloop.new_event_loop
    return factory
