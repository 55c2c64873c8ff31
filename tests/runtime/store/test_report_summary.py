"""What a batch comes to, in sentences."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from edge.core.tags import Quality
from edge.runtime.store import writer
from edge.runtime.store.reader import History
from edge.runtime.store.records import Record
from edge.runtime.store.report_summary import summary
from edge.runtime.store.schema import FILE_NAME, open_for_writing
from tests.runtime.store.records import at, event, minute, step

NAMES = {"C03": "NaOH feed line"}


def told(folder: Path, records: list[Record]) -> str:
    connection = open_for_writing(folder / FILE_NAME).connection
    writer.write(connection, records)
    connection.close()
    with History(folder / FILE_NAME) as found:
        (batch,) = found.batches()
        return " ".join(
            summary(batch, found.steps(batch), found.rows(batch), list(found.events()), NAMES)
        )


def test_a_defect_is_told_by_when_where_and_what_was_done(tmp_path: Path) -> None:
    records: list[Record] = [
        step(n, at(7, float(n)), 0 if n < 4 else 2) for n in range(10)
    ]  # fmt: skip
    records.append(event(9, "maintenance", component="C03", kind="repaired"))
    said = told(tmp_path, records)
    assert "flagged from batch minute 4, in 6 of 10 model steps, to the end; worst D-2" in said
    assert "about two days before a failure" in said
    assert "Look first at C03 NaOH feed line, pipe: named first in 6 of 6 flagged steps." in said
    assert "Keyed in at the panel: C03 repaired." in said
    assert "simulated" not in said  # that stands above it


@pytest.mark.parametrize(
    ("severity", "said"),
    [(0, "No defect was flagged"), (None, "no valid verdict on this batch")],
)
def test_a_batch_without_a_defect(tmp_path: Path, severity: int | None, said: str) -> None:
    text = told(tmp_path, [step(n, at(7, float(n)), severity) for n in range(3)])
    assert said in text
    assert ("3 of 3 model steps gave no valid verdict" in text) is (severity is None)
    assert "Look first" not in text


def test_verdicts_on_bad_data_are_said_to_rest_on_little(tmp_path: Path) -> None:
    rows = minute(0, at(7, 0.0))
    rows.quality[:30] = Quality.BAD
    text = told(tmp_path, [replace(rows), step(0, at(7, 0.0), 0)])
    assert "Only 50% of the tag-seconds were good" in text
