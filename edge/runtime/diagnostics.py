"""How well the plant is being read, as plain JSON values: rows, poll groups, links, units.

Sections of the status document (`edge.runtime.report`); every key is explained in docs/status.md,
and a test keeps it so: whoever reads the document may rely on them.
"""

from __future__ import annotations

from dataclasses import fields
from typing import Any

from edge.core.histogram import Histogram
from edge.drivers.base import LinkCounters, RequestCounters
from edge.runtime.poll import Poller


def acquisition(poller: Poller) -> dict[str, Any]:
    """Rows and poll groups of one line."""
    return {
        **_counters(poller.counters),
        "groups": [
            {
                "name": poll.group.name,
                "link": poll.driver.name,
                "poll_s": poll.group.poll_s,
                "reduce": poll.group.reduce,
                **_counters(poll.counters),
            }
            for poll in poller.groups
        ],
    }


def link(name: str, counters: LinkCounters) -> dict[str, Any]:
    """One link, and each unit behind it."""
    return {
        "name": name,
        **_counters(counters),
        "units": [unit(number, found) for number, found in sorted(counters.units.items())],
    }


def unit(unit_id: int, counters: RequestCounters) -> dict[str, Any]:
    """One Modbus unit."""
    return {"unit_id": unit_id, **_counters(counters)}


def histogram(found: Histogram) -> dict[str, Any]:
    """A histogram with the two percentiles people ask for; ms are null before the first."""
    return {
        "count": found.count,
        "sum_s": found.sum_s,
        "p50_ms": found.quantile(0.5) * 1000,
        "p99_ms": found.quantile(0.99) * 1000,
        "worst_ms": found.worst_s * 1000,
        "buckets": list(found.counts),
    }


def _counters(counters: Any) -> dict[str, Any]:
    # Shallow: `asdict` copies deeply, and this runs for every link of the appliance each second.
    values = {field.name: getattr(counters, field.name) for field in fields(counters)}
    return {k: histogram(v) if isinstance(v, Histogram) else v for k, v in values.items()}
