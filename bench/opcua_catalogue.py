"""The OPC UA fault catalogue, our driver and bare asyncua side by side.

Real asyncua servers and clients in virtual time; bare asyncua is used as its documentation shows
(`connect(auto_reconnect=True)`, `read_values`, a subscription handler, `set_security_string`). The
rows, and what counts as wrong, are in tests/drivers/opcua_catalogue.py.

    python bench/opcua_catalogue.py [NAME ...]

`wrong`: values vouched for more than they deserve; `held up`: longest poll, when longer than a row;
`back`: time from the end of the fault to the first poll with all values good, of 60 s at most. A
client fails a row by a wrong value, by not coming back, or by a poll that hangs for ten rows.
Exit code 1 when our driver fails one.
"""

from __future__ import annotations

import argparse
import logging
import socket
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from edge.runtime import virtual_time
from tests.drivers.opcua_catalogue import TABLE, Fault, Outcome, run
from tests.drivers.opcua_clients import Bare, Ours

ROW_S, HANG_S = 1.0, 10.0


def main() -> int:
    """Print the table; 1 if our driver delivered a wrong value."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("name", nargs="*", help="rows by their names (default: all)")
    wanted = parser.parse_args().name
    # The libraries would log every fault that is played to them.
    logging.disable(logging.CRITICAL)
    rows = [fault for fault in TABLE if not wanted or fault.name in wanted]
    if not rows:
        print(f"no such row; there are: {', '.join(f.name for f in TABLE)}", file=sys.stderr)
        return 2
    print(f"{'fault':23}{'what happens':66}{'ours':67}bare asyncua")
    ours_fails, bare_fails, ours_wrong = [], [], 0
    for fault in rows:
        ours, bare = _play(fault, Ours), _play(fault, Bare)
        ours_wrong += ours.wrong
        for outcome, fails in ((ours, ours_fails), (bare, bare_fails)):
            if _fails(fault, outcome):
                fails.append(fault.name)
        print(f"{fault.name:23}{fault.what:66}{_ours(fault, ours):67}{_text(fault, bare)}")
    print(f"\nours: {ours_wrong} wrong values in {len(rows)} rows", end="; ")
    print(f"fails {len(ours_fails)}: {', '.join(ours_fails) or 'none'}")
    print(f"bare asyncua: fails {len(bare_fails)}: {', '.join(bare_fails) or 'none'}")
    return 1 if ours_fails else 0


def _play(fault: Fault, make: type[Ours] | type[Bare]) -> Outcome:
    with tempfile.TemporaryDirectory() as folder:
        return virtual_time.run(run(fault, make, _free_port, Path(folder) / "pki"))


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _fails(fault: Fault, outcome: Outcome) -> bool:
    lost = fault.recovers and outcome.back_s is None
    return bool(outcome.wrong) or outcome.worst_s > HANG_S or lost


def _text(fault: Fault, outcome: Outcome) -> str:
    found = [f"{outcome.wrong} WRONG" if outcome.wrong else "0 wrong"]
    if outcome.worst_s > ROW_S:
        found.append(f"held up {outcome.worst_s:.0f} s")
    if fault.recovers:
        back = outcome.back_s
        found.append("NOT back" if back is None else f"back {back:.0f} s")
    return ", ".join(found)


def _ours(fault: Fault, outcome: Outcome) -> str:
    """As it was seen, not as the table wants it."""
    seen = sorted({(r.quality.name.lower(), r.reason.name.lower()) for r in outcome.readings})
    worst = [s for s in seen if s == (fault.quality.name.lower(), fault.reason.name.lower())]
    quality, reason = (worst or seen)[0]
    named = any(fault.condition in c for c in outcome.conditions)
    return f"{_text(fault, outcome)}; {quality} {reason}" + (f", {fault.condition}" * named)


if __name__ == "__main__":
    raise SystemExit(main())
