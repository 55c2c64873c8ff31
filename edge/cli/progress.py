"""A bar on a terminal for work that takes more than a moment; silent where nobody watches."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Sized
from typing import TypeVar

T = TypeVar("T")
WIDTH = 30


def bar(items: Iterable[T], what: str) -> Iterator[T]:
    """`items`, one by one, with a bar on stderr."""
    total = len(items) if isinstance(items, Sized) else 0
    watched = sys.stderr.isatty() and total > 1
    for done, item in enumerate(items):
        if watched:
            filled = WIDTH * done // total
            shown = "#" * filled + "." * (WIDTH - filled)
            print(f"\r{what} [{shown}] {done} of {total}", end="", file=sys.stderr, flush=True)
        yield item
    if watched:
        print(f"\r{' ' * (len(what) + WIDTH + 24)}\r", end="", file=sys.stderr, flush=True)
