"""Our driver against every row of the OPC UA fault catalogue: zero wrong values."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

from edge.cli.quiet import quiet
from tests.drivers.opcua_catalogue import TABLE, Fault, run
from tests.drivers.opcua_clients import Ours

POLL_S = 1.0


@pytest.mark.parametrize("fault", TABLE, ids=lambda fault: fault.name)
def test_no_wrong_value_and_the_fault_is_named(
    virtual: Callable[[Coroutine[Any, Any, Any]], Any],
    free_port: Callable[[], int],
    tmp_path: Path,
    fault: Fault,
) -> None:
    with quiet("asyncua"):
        outcome = virtual(run(fault, Ours, free_port, tmp_path / "pki"))
    assert outcome.wrong == 0
    assert (fault.quality, fault.reason) in {(r.quality, r.reason) for r in outcome.readings}
    assert fault.condition is None or any(fault.condition in c for c in outcome.conditions)
    if fault.recovers:
        assert outcome.back_s is not None
        assert outcome.back_s <= 2.5 + POLL_S
    assert outcome.worst_s <= 0.8 + 0.05
