"""A real recording through real Modbus into the whole daemon; the flags are read from block W."""

from __future__ import annotations

import pytest

from bench.skab_replay import DATA, run


@pytest.mark.data
@pytest.mark.system
@pytest.mark.skipif(not DATA.is_file(), reason=f"the SKAB recording is not at {DATA}")
def test_the_daemon_flags_the_anomalies_of_a_real_rig_in_the_registers() -> None:
    found = run(["valve1/3"], DATA)["valve1/3"]
    assert found.without_output < 60, "the output must be valid from the first model steps on"
    # The rows of the anomaly are a third of the file: a flag at random has this precision.
    share = (found.true + found.missed) / (found.true + found.missed + found.false + found.quiet)
    assert found.recall > 0.6
    assert found.precision > 1.3 * share
