"""What an appliance may be after it was cut off in an update: the one thing all cut tests ask."""

from __future__ import annotations

from pathlib import Path

from edge.update import audit
from edge.update.refusals import Code
from tests.update.site import Appliance


def finished(appliance: Appliance, stick: Path, old: int | None, new: int = 6) -> str:
    """Check that old or new runs, going back is possible, and the stick finishes the job.

    `old`: the release that was active before; where it is 5, release 4 was there before it.
    Returns "old" or "new", what was found active.
    """
    found = appliance.active
    assert found in (old, new)
    store = appliance.store
    if old == 5:
        previous = store.record().previous
        assert previous is not None
        assert store.verify(previous, store.chain()).place.seq == (4 if found == 5 else 5)
    assert audit.verify(appliance.audit.folder)[1] == []
    verdict = appliance.verdict(stick)
    assert verdict is (Code.ALREADY_ACTIVE if found == new else None)
    assert appliance.active == new
    assert len(list(store.slots.iterdir())) <= 2
    assert not store.incoming.exists()
    assert audit.verify(appliance.audit.folder)[1] == []
    return "new" if found == new else "old"
