"""Recordings: what is read, what is refused, and that a PLC serves every row once."""

from __future__ import annotations

import asyncio
import gzip
import math
import sys
from collections.abc import Callable, Coroutine
from contextlib import aclosing
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pymodbus.client import AsyncModbusTcpClient

from edge import drivers
from edge.config.load import load
from edge.config.types import ModbusLink
from edge.core import codec
from edge.core.codec import Encoding
from edge.core.tags import Row
from edge.runtime.clock import LoopClock
from edge.runtime.poll import Poller
from edge.twin.replay import Recording, RecordingError, ReplayPlant
from edge.twin.serve import TwinServer
from tests.twin.small_line import small_line

Virtual = Callable[[Coroutine[Any, Any, Any]], Any]
Port = Callable[[], int]
TAGS = ("FIC-1.PV", "WI-1.PV")
TEXT = """file,datetime,WI-1.PV,FIC-1.PV,anomaly
a,2020-03-09 10:14:33,4000,200.5,0
a,2020-03-09 10:14:34,,bad,0
b,2020-03-09 10:14:35,3999,nan,1
b,2020-03-09 10:14:36,3998
"""


@pytest.fixture
def csv_file(tmp_path: Path) -> Path:
    path = tmp_path / "rig.csv"
    path.write_text(TEXT, encoding="utf-8")
    return path


def test_columns_are_found_by_tag_name_and_others_ignored(csv_file: Path) -> None:
    recording = Recording.load(csv_file, TAGS)
    assert recording.names == TAGS
    assert recording.ignored == ("file", "datetime", "anomaly")
    np.testing.assert_equal(
        recording.values, [[200.5, 4000], [math.nan, math.nan], [math.nan, 3999], [math.nan, 3998]]
    )


def test_bad_cells_are_reported_with_their_line(csv_file: Path) -> None:
    recording = Recording.load(csv_file, TAGS)
    assert recording.bad_cells == 2
    assert recording.messages == (
        f"{csv_file}:3: tag 'FIC-1.PV': 'bad' is no number; shown as NaN",
        f"{csv_file}:5: tag 'FIC-1.PV': the row ends after 3 columns; shown as NaN",
    )


def test_a_filter_keeps_the_rows_of_one_file(csv_file: Path) -> None:
    assert len(Recording.load(csv_file, TAGS, "file=b")) == 2
    assert len(Recording.load(csv_file, TAGS, "file == a")) == 2


def test_compressed_and_semicolon_files_are_read(tmp_path: Path) -> None:
    path = tmp_path / "rig.csv.gz"
    path.write_bytes(gzip.compress("FIC-1.PV;WI-1.PV\n200,5;4000\n".encode("utf-8-sig")))
    np.testing.assert_equal(Recording.load(path, TAGS).values, [[200.5, 4000.0]])


def test_everything_that_does_not_fit_is_said_at_once(csv_file: Path) -> None:
    with pytest.raises(RecordingError) as caught:
        Recording.load(csv_file, ("FIC-1.PVV", "XYZ", "WI-1.PV"), "fle=b")
    text = str(caught.value)
    assert "rig.csv:1: no column for tag 'FIC-1.PVV'; did you mean 'FIC-1.PV'?" in text
    assert "no column for tag 'XYZ'; columns are file, datetime" in text
    assert "no column 'fle' to filter by" in text


@pytest.mark.parametrize(
    ("text", "where", "message"),
    [
        (TEXT, "file=c", "no row with file=c; the column holds a, b"),
        (TEXT, "file", "is not of the form COLUMN=VALUE"),
        ("FIC-1.PV,WI-1.PV\n", None, "no row"),
        ("FIC-1.PV,WI-1.PV,WI-1.PV\n1,2,3\n", None, "'WI-1.PV' appears 2 times"),
        ("", None, "no column for tag 'FIC-1.PV'"),
    ],
)
def test_unusable_recordings_are_refused(
    tmp_path: Path, text: str, where: str | None, message: str
) -> None:
    path = tmp_path / "rig.csv"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(RecordingError, match=message):
        Recording.load(path, TAGS, where)


def test_unreadable_files_are_named(tmp_path: Path) -> None:
    broken = tmp_path / "rig.csv.gz"
    broken.write_bytes(gzip.compress(TEXT.encode())[:40])
    binary = tmp_path / "rig.csv"
    binary.write_bytes(b"\xff\xfe\x00 no text")
    for path in (tmp_path / "absent.csv", broken, binary):
        with pytest.raises(RecordingError, match=f"{path.name}: cannot be read"):
            Recording.load(path, TAGS)


def test_parquet_is_read_like_csv(tmp_path: Path) -> None:
    pa = pytest.importorskip("pyarrow")
    import pyarrow.parquet as pq

    path = tmp_path / "rig.parquet"
    table = pa.table({"WI-1.PV": [4000, None], "FIC-1.PV": [200.5, 201.5], "file": ["a", "b"]})
    pq.write_table(table, path)
    np.testing.assert_equal(Recording.load(path, TAGS).values, [[200.5, 4000.0], [201.5, math.nan]])
    assert len(Recording.load(path, TAGS, "file=b")) == 1
    path.write_bytes(b"not parquet at all")
    with pytest.raises(RecordingError, match="cannot be read"):
        Recording.load(path, TAGS)


def test_parquet_without_its_package_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    with pytest.raises(RecordingError, match="needs the package pyarrow"):
        Recording.load(tmp_path / "rig.parquet", TAGS)


def test_every_row_is_served_once_and_then_nothing(
    virtual: Virtual, free_port: Port, tmp_path: Path
) -> None:
    path = tmp_path / "rig.csv"
    rows = [(200.0 + k, 4000.0 - k) for k in range(30)]
    rows[7] = (math.nan, 3993.0)
    path.write_text("FIC-1.PV,WI-1.PV\n" + "".join(f"{a},{b}\n" for a, b in rows))

    async def main() -> list[float]:
        line = small_line(free_port)
        line = replace(line, tags=line.tags[1:3], links=line.links[:1])
        plant = ReplayPlant(Recording.load(path, TAGS), TAGS)
        async with TwinServer(line, plant) as twin:
            going = asyncio.create_task(twin.run(len(rows)))
            client = AsyncModbusTcpClient("127.0.0.1", port=line.links[0].port, retries=0)
            assert await client.connect()
            seen = []
            for second in range(1, len(rows) + 1):
                words = (await client.read_input_registers(1, count=2)).registers
                seen.append(codec.decode(words, Encoding(type="float32"))[0])
                if second < len(rows):
                    await asyncio.sleep(second - asyncio.get_running_loop().time())
            await going
            words = (await client.read_input_registers(1, count=2)).registers
            assert math.isnan(codec.decode(words, Encoding(type="float32"))[0])
            client.close()
            await asyncio.sleep(0.01)
        return seen

    np.testing.assert_equal(virtual(main()), [a for a, _ in rows])


SKAB = Path(__file__).parents[3] / "shared" / "data" / "skab" / "skab.csv.gz"


@pytest.mark.data
@pytest.mark.skipif(not SKAB.exists(), reason=f"{SKAB} is not on this machine")
def test_a_real_recording_arrives_row_by_row_in_the_poller(
    virtual: Virtual, free_port: Port
) -> None:
    """The shipped skab line: each row of one fault file reaches the appliance once, unchanged."""
    line = load(Path(__file__).parents[2] / "firmware_config", lines=("skab",)).lines[0]
    (link,) = line.links
    assert isinstance(link, ModbusLink)
    line = replace(line, links=(replace(link, port=free_port()),))
    tags = [row.tag.name for row in line.tags]
    recording = Recording.load(SKAB, tags, "file=valve1/0")
    assert (len(recording), recording.bad_cells) == (1147, 0)

    async def main() -> list[Row]:
        links = drivers.build_all(line)
        owners = [asyncio.create_task(driver.run()) for driver in links.values()]
        async with TwinServer(line, ReplayPlant(recording, tags)) as twin:
            while not links["rig"].counters.connected:
                await asyncio.sleep(0.1)
                await links["rig"].read()
            await asyncio.sleep(1.0 - asyncio.get_running_loop().time() % 1.0)
            poller = Poller(line, links, LoopClock(1_800_000_000.0))
            seen: list[Row] = []
            async with aclosing(poller.rows()) as rows:
                going = asyncio.create_task(twin.run(len(recording)))
                async for row, _ in rows:
                    seen.append(row)
                    if len(seen) == len(recording):
                        break
            await going
        for owner in owners:
            owner.cancel()
        await asyncio.gather(*owners, return_exceptions=True)
        return seen

    rows = virtual(main())
    np.testing.assert_array_equal(
        np.array([row.values for row in rows]), recording.values.astype(np.float32)
    )
