"""The report of a batch: one file, complete, honest about what is simulated or missing."""

from __future__ import annotations

import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from edge.__main__ import main
from edge.runtime.store import report_svg, writer
from edge.runtime.store.records import Minute, Record, Step
from edge.runtime.store.schema import FILE_NAME, open_for_writing
from tests.runtime.store.records import at, event, minute, step, write_batch

CONFIG = Path(__file__).parents[3] / "firmware_config"
REFERRING = {"src", "href", "action", "data", "poster", "srcset", "xlink:href"}
HEADINGS = ("Severity", "Components", "Where it shows", "Timeline", "Trim dialogue", "Schedule",
            "Conditions", "Data quality", "Model and configuration")  # fmt: skip


class Page(HTMLParser):
    """What a browser would load, and whether every tag is closed."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.requests: list[str] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.requests += [f"{tag} {name}" for name, _ in attrs if name in REFERRING]
        if tag in ("script", "link", "img", "iframe", "object", "embed"):
            self.requests.append(tag)
        if tag not in ("meta", "br"):
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def report(folder: Path, records: list[Record], batch: int = 7) -> Page:
    connection = open_for_writing(folder / FILE_NAME).connection
    writer.write(connection, records)
    connection.close()
    out = folder / "page.html"
    assert main(["report", str(batch), "--file", str(folder / FILE_NAME), "--out", str(out),
                 "--config", str(CONFIG), "--line", "ncm-1"]) == 0  # fmt: skip
    text = out.read_text(encoding="utf-8")
    page = Page()
    page.feed(text)
    assert not page.open
    assert not page.requests
    assert "url(" not in text
    assert "@import" not in text
    return page


def a_batch(severity: int = 3) -> list[Record]:
    records: list[Record] = [
        event(-5, condition="CPU fallback", raised=True, text="no card"),
        event(3, condition="input drift", raised=True, text="<b>TI-1</b> moved & stayed"),
        event(9, condition="input drift", raised=False),
        event(5, "suggestion", seq=2, state="offered", reason="ph_low", trim_kg_h=1.5,
              base_kg_h=206.7, lo_kg_h=-10.0, hi_kg_h=10.0),
        event(6, "answer", seq=2, state="accepted", reason="ph_low", trim_kg_h=1.5,
              base_kg_h=206.7),
        event(8, "verdict", valid=True, severity=3, why="", probability=0.9,
              suspects=[["C03", "pipe", 0.8]]),
    ]  # fmt: skip
    write_batch(records.append, 7, 0, 130, severity=severity)
    return records


def test_everything_that_was_recorded_is_told(tmp_path: Path) -> None:
    page = report(tmp_path, a_batch())
    for heading in HEADINGS:
        assert heading in page.text
    for said in (
        "Simulated. Line ncm-1, batch 7", "SIMULATED, never to be acted on", "worst severity D-1",
        "C03", "pipe", "FIC-103.PV", "<b>TI-1</b> moved & stayed", "+1.5 kg/h on 206.7 kg/h",
        "accepted", "operator", "ncm, serial 3, SHA-256 00", "ab" * 32, "before the batch",
        "CPU fallback", "7800 rows of 7800 slots", "Every value of every tag was good",
        "Simulated. What speaks for a defect",
    ):  # fmt: skip
        assert said in page.text, said


def test_a_batch_of_a_real_plant_is_not_called_simulated(tmp_path: Path) -> None:
    records = [
        replace(r, batch=replace(r.batch, simulation=""))
        if isinstance(r, (Minute, Step)) and r.batch is not None else r
        for r in a_batch()
    ]  # fmt: skip
    assert "imulated" not in report(tmp_path, records).text


def test_a_batch_without_a_verdict_says_why(tmp_path: Path) -> None:
    records: list[Record] = []
    for n in range(5):
        records += [minute(n, at(7, float(n))), replace(step(n, at(7, float(n)), None), cam=None)]
    text = report(tmp_path, records).text
    assert "No valid verdict in this batch: warming up" in text
    assert "No component came under suspicion" in text
    assert "Nothing was recorded of this" in text


def test_rows_that_were_dropped_leave_the_verdicts(tmp_path: Path) -> None:
    text = report(tmp_path, [r for r in a_batch() if not isinstance(r, Minute)]).text
    assert "The raw rows of this batch are no longer kept" in text
    assert "worst severity D-1" in text


def test_mistakes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    report(tmp_path, a_batch())
    file = ["--file", str(tmp_path / FILE_NAME), "--config", str(CONFIG)]
    for words, said in (
        (["report", "8", *file], "batch 8: not in"),
        (["report", "7", *file, "--out", str(tmp_path / "no" / "x.html")], "No such file"),
        (
            ["report", "7", "--file", str(tmp_path / "y"), "--config", str(CONFIG)],
            "no such history",
        ),
    ):
        with pytest.raises(SystemExit) as ended:
            main(words)
        assert ended.value.code == 2
        assert said in capsys.readouterr().err


@pytest.mark.parametrize("n", [1, 2, 5000])
def test_drawings_of_any_length_stay_small_and_finite(n: int) -> None:
    x = np.linspace(0.0, 18.0, n)
    y = np.where(np.arange(n) % 7 == 3, np.nan, np.sin(x))
    for drawing in (
        report_svg.lines(x, [("a", y)], unit="%"),
        report_svg.lines(x, [("a", np.zeros(n))], unit="", steps=True),
        report_svg.heat(x, np.abs(np.tile(x, (4, 1))), list("abcd"), ["", "", "C", "C"]),
    ):
        assert len(drawing) < 120_000
        assert not re.search(r"\bnan|\binf", drawing)
