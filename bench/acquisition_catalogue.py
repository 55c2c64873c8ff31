"""The fault catalogue side by side: this appliance's driver and bare client libraries.

    python bench/acquisition_catalogue.py            # the table, about a minute
    python bench/acquisition_catalogue.py --json     # the same for machines

Each entry is a device that misbehaves in one way (tests/drivers/faults_modbus.py). It is played in
virtual time against real sockets. "0 wrong" means that no value was ever delivered as good that is
not the register's; the seconds are those of the longest poll. To try another client, give it the
methods of tests/drivers/catalogue_modbus.Client and add it to CLIENTS.
"""

from __future__ import annotations

import json
import logging
import socket
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

from edge.runtime import virtual_time
from tests.drivers.catalogue_modbus import (
    BLOCKS,
    TIMEOUT_S,
    Bare,
    Client,
    Ours,
    Played,
    matches,
    play,
)
from tests.drivers.faults_modbus import FAULTS

CLIENTS: dict[str, tuple[type[Client], float]] = {
    # One time-out for each of the two units; and what four tries for every request promise.
    "ours": (Ours, 2 * TIMEOUT_S + 0.01),
    "bare pymodbus": (Bare, 4 * TIMEOUT_S * len(BLOCKS) + 0.01),
}


def free_port() -> int:
    """A port nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def verdict(done: Played, bound_s: float) -> str:
    """One cell of the table."""
    failed = done.failures(bound_s)
    if failed:
        return "; ".join(failed)
    named = ", ".join(sorted(r.name for r in done.reasons))
    back = "" if not done.back_s else f", back after {done.back_s:.0f} s"
    return f"0 wrong{f' ({named})' if named else ''}, {done.slowest_s:.2f} s{back}"


def main() -> int:
    logging.disable(logging.CRITICAL)
    table: list[dict[str, str]] = []
    failures = dict.fromkeys(CLIENTS, 0)
    wrong = dict.fromkeys(CLIENTS, 0)
    unnamed = 0
    for fault in FAULTS:
        cells = {"fault": fault.name}
        for name, (client, bound_s) in CLIENTS.items():
            done = virtual_time.run(play(fault, client(), free_port()))
            cells[name] = verdict(done, bound_s)
            failures[name] += bool(done.failures(bound_s))
            wrong[name] += done.wrong
            unnamed += name == "ours" and not matches(fault, done)
        table.append(cells)
    if "--json" in sys.argv:
        print(json.dumps({"table": table, "failed": failures, "wrong_values": wrong}, indent=2))
    else:
        print("| " + " | ".join(table[0]) + " |")
        print("|---" * len(table[0]) + "|")
        for cells in table:
            print("| " + " | ".join(cells.values()) + " |")
        for name in CLIENTS:
            print(
                f"\n{name}: {failures[name]} of {len(FAULTS)} entries failed, "
                f"{wrong[name]} wrong values",
                end="",
            )
        print(f"\nours: {unnamed} entries without the quality and condition they must have")
    return int(failures["ours"] > 0 or unnamed > 0)


if __name__ == "__main__":
    sys.exit(main())
