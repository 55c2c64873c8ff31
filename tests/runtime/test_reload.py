"""A reload of a running appliance against real servers: taken whole or refused whole."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import socket
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edge.app import App
from edge.config import load
from edge.config.types import Appliance, Line, ModbusLink, TagRow
from edge.core.codec import Encoding
from edge.core.conditions import Condition
from edge.core.outputs import decode_block_w
from edge.core.tags import Quality, Reason
from edge.runtime import status
from edge.runtime.clock import LoopClock
from edge.runtime.dry_read import DRY_READ_S
from edge.runtime.line import LineRunner
from edge.runtime.notify import Notifier
from edge.twin.serve import TwinServer
from tests.twin.small_line import SmallPlant, SmallSecond, modbus, small_line, tag

pytestmark = pytest.mark.system
Virtual = Callable[[Coroutine[Any, Any, Any]], Any]
Port = Callable[[], int]
EPOCH_S = 1_800_000_000.0
EXTRA = TagRow(tag=tag("PI-9.PV", "bar", 0, 10), source=modbus(30, Encoding(type="float32")))


class WidePlant(SmallPlant):
    """The small plant with one more instrument than the line reads at first."""

    def second(self, trim_kg_h: float, held: bool) -> SmallSecond:
        now = super().second(trim_kg_h, held)
        return replace(now, values=np.append(now.values, 3.5))


class Site:
    """An appliance with one small line, its twin, and the configuration on its disk."""

    def __init__(self, directory: Path, port: Port, ear: socket.socket) -> None:
        self.line = small_line(port)
        self.files: Callable[[], Appliance] = lambda: self.of(self.line)
        """What the daemon finds when it reads its files."""
        self.directory, self.ear = directory, ear
        self.reads = 0
        wide = replace(self.line, tags=(*self.line.tags, EXTRA))
        clock = LoopClock(EPOCH_S)
        self.twin = TwinServer(wide, WidePlant(), clock=clock)
        self.app = App(
            self.of(self.line), clock=clock, load=self._load,
            notifier=Notifier({"NOTIFY_SOCKET": ear.getsockname(), "WATCHDOG_USEC": "30000000"}),
        )  # fmt: skip
        self.beats: list[int] = []

    def of(self, *lines: Line, name: str = "edge-1") -> Appliance:
        return Appliance(
            name=name, state_dir=self.directory, runtime_dir=self.directory, provider="cpu",
            lines=lines, config_sha256=hashlib.sha256(repr(lines).encode()).hexdigest(),
        )  # fmt: skip

    def _load(self) -> Appliance:
        self.reads += 1
        return self.files()

    def put(self, *lines: Line) -> None:
        self.files = lambda: self.of(*lines)

    @property
    def runner(self) -> LineRunner:
        return self.app.lines[0]

    async def run(self, seconds: int) -> None:
        await self.twin.run(seconds, lambda twin: self.beats.append(twin.block_w[0]))

    async def reload(self, limit_s: int = 4 * int(DRY_READ_S)) -> tuple[str, str]:
        """Ask, and run the plant until the answer: (outcome, text)."""
        before = self.said()
        self.app.ask_reload()
        for _ in range(limit_s):
            await self.run(1)
            if (now := self.said()) != before:
                return str(now["outcome"]), str(now["text"])
        raise AssertionError("no answer to the reload")

    def said(self) -> dict[str, Any]:
        found: dict[str, Any] = status.read(self.directory)["reload"]
        return found

    def heard(self) -> list[str]:
        """What the service manager was told, watchdog and status text left out."""
        out = []
        with contextlib.suppress(BlockingIOError):
            while True:
                out.append(self.ear.recv(65536).decode())
        return [m for m in out if not m.startswith(("STATUS", "WATCHDOG"))]

    def quality(self, name: str) -> Quality:
        row = self.runner.last_row
        assert row is not None
        names = [r.tag.name for r in self.runner.line.tags]
        return Quality(int(row.quality[names.index(name)]))

    def assert_heartbeat_went_on(self) -> None:
        """A new number at least every second second, whatever happened."""
        beats = self.beats
        assert all(len(set(beats[i : i + 3])) > 1 for i in range(3, len(beats) - 2)), beats
        decode_block_w(self.twin.block_w)


@asynccontextmanager
async def running(directory: Path, port: Port) -> AsyncIterator[Site]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as ear:
        ear.bind(str(directory / "notify"))
        ear.setblocking(False)
        site = Site(directory, port, ear)
        async with site.twin:
            task = asyncio.create_task(site.app.run(), name="daemon")
            try:
                await site.run(6)
                yield site
            finally:
                task.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await task


def files(directory: Path, pattern: str) -> set[str]:
    """What lies in the state directory of the line."""
    return {path.name for path in (directory / "small").glob(pattern)}


def with_limit(line: Line, name: str, high: float) -> Line:
    tags = tuple(
        replace(row, tag=replace(row.tag, high=high)) if row.tag.name == name else row
        for row in line.tags
    )
    return replace(line, tags=tags)


def with_plc(line: Line, port: int) -> Line:
    links = tuple(
        replace(link, port=port) if isinstance(link, ModbusLink) else link for link in line.links
    )
    return replace(line, links=links)


def test_a_changed_limit_acts_and_everything_else_goes_on(
    tmp_path: Path, virtual: Virtual, free_port: Port
) -> None:
    async def main() -> None:
        async with running(tmp_path, free_port) as site:
            runner, drivers, ring = site.runner, dict(site.runner.drivers), site.runner.ring
            assert site.quality("AIT-1.PV") is Quality.GOOD
            batch, rows = runner.core.batch, ring.ring.seq
            site.put(with_limit(site.line, "AIT-1.PV", 11.0))
            before = decode_block_w(site.twin.block_w).decision.config_hash
            site.heard()
            outcome, text = await site.reload()
            assert (outcome, text) == ("accepted", "line small: tags changed")
            reloading, ready = site.heard()
            assert reloading.startswith("RELOADING=1\nMONOTONIC_USEC=")
            assert ready == "READY=1"
            await site.run(2)
            assert site.quality("AIT-1.PV") is Quality.BAD
            assert site.quality("TIC-1.PV") is Quality.GOOD
            assert runner is site.runner
            assert runner.drivers == drivers, "nothing was connected anew"
            assert [d.counters.connects for d in drivers.values()] == [1, 1]
            assert runner.ring is ring
            assert runner.core.batch.batch_id == batch.batch_id
            assert ring.ring.seq > rows
            assert np.allclose(np.diff(ring.ring.times(ring.ring.seq)), 1.0, atol=0.02)
            assert decode_block_w(site.twin.block_w).decision.config_hash != before
            site.assert_heartbeat_went_on()

    virtual(main())


def test_conditions_and_frozen_values_survive(
    tmp_path: Path, virtual: Virtual, free_port: Port
) -> None:
    async def main() -> None:
        async with running(tmp_path, free_port) as site:
            frozen = tuple(
                replace(r, tag=replace(r.tag, frozen_s=5.0)) if r.tag.name == "TIC-1.PV" else r
                for r in site.line.tags
            )
            line = replace(site.line, tags=frozen)
            site.put(line)
            assert (await site.reload())[0] == "accepted"
            assert site.quality("TIC-1.PV") is Quality.BAD, "it had stood still before already"
            held = {text.condition: text.since_s for text in site.runner.core.texts}
            assert held
            site.put(with_limit(line, "AIT-1.PV", 11.0))
            assert (await site.reload())[0] == "accepted"
            assert site.quality("TIC-1.PV") is Quality.BAD
            now = {text.condition: text.since_s for text in site.runner.core.texts}
            assert held.items() <= now.items(), "no condition began anew"

    virtual(main())


def test_a_typing_mistake_is_refused_with_its_line(
    tmp_path: Path, virtual: Virtual, free_port: Port, caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> None:
        async with running(tmp_path, free_port) as site:
            broken = tmp_path / "broken"
            broken.mkdir()
            (broken / "appliance.toml").write_text('nme = "edge-1"\n', encoding="utf-8")
            site.files = lambda: load.load(broken)
            before = (site.runner.line, site.runner.poller, site.runner.drivers)
            site.heard()
            outcome, text = await site.reload()
            assert outcome == "refused"
            assert "appliance.toml:1: unknown key 'nme'; did you mean 'name'?" in text
            assert "reload refused, the old configuration goes on: " + text in caplog.text
            assert (site.runner.line, site.runner.poller, site.runner.drivers) == before
            assert [m.split("\n")[0] for m in site.heard()] == ["RELOADING=1", "READY=1"]
            site.assert_heartbeat_went_on()

    virtual(main())


def test_our_own_fault_ends_the_reload_and_not_the_line(
    tmp_path: Path, virtual: Virtual, free_port: Port, caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> None:
        async with running(tmp_path, free_port) as site:
            # The loader reports such a row first; if it ever does not, the driver raises.
            wrong = replace(EXTRA, source=replace(EXTRA.source, address=70_000))
            site.put(replace(site.line, tags=(*site.line.tags, wrong)))
            outcome, text = await site.reload()
            assert outcome == "refused"
            assert "a fault of this program, in the journal: ValueError" in text
            assert "Traceback" in caplog.text
            assert not [t for t in asyncio.all_tasks() if "(new)" in t.get_name()]
            site.assert_heartbeat_went_on()

    virtual(main())


@pytest.mark.parametrize("key", ["state_dir", "provider"])
def test_what_is_fixed_at_the_start_needs_a_restart(
    tmp_path: Path, virtual: Virtual, free_port: Port, key: str
) -> None:
    async def main() -> None:
        async with running(tmp_path, free_port) as site:
            other: dict[str, Any] = {"state_dir": tmp_path / "other", "provider": "auto"}
            site.files = lambda: replace(site.of(site.line), **{key: other[key]})
            outcome, text = await site.reload()
            assert outcome == "refused"
            assert f'appliance.toml: {key} = "{other[key]}" was ' in text
            assert "systemctl restart ncm-edge" in text

    virtual(main())


def test_a_plc_that_does_not_answer_is_refused(
    tmp_path: Path, virtual: Virtual, free_port: Port
) -> None:
    async def main() -> None:
        async with running(tmp_path, free_port) as site:
            nobody = free_port()
            site.put(with_plc(site.line, nobody))
            outcome, text = await site.reload()
            assert outcome == "refused"
            assert f"line small: link plc: dry read failed: 127.0.0.1:{nobody}: " in text
            assert "nothing listens on this port" in text
            await site.run(3)
            assert site.quality("SIC-1.PV") is Quality.GOOD
            assert site.runner.verified_seq > 0
            assert not site.runner.core.conditions.raised & {Condition.LINK_DOWN}
            assert len(asyncio.all_tasks()) == len({t.get_name() for t in asyncio.all_tasks()})
            assert not [t for t in asyncio.all_tasks() if "(new)" in t.get_name()]
            site.assert_heartbeat_went_on()

    virtual(main())


def test_an_address_the_device_refuses_is_refused(
    tmp_path: Path, virtual: Virtual, free_port: Port
) -> None:
    async def main() -> None:
        async with running(tmp_path, free_port) as site:
            wrong = replace(EXTRA, source=modbus(4000, Encoding(type="float32")))
            site.put(replace(site.line, tags=(*site.line.tags, wrong)))
            outcome, text = await site.reload()
            assert outcome == "refused"
            assert "link plc: dry read failed: no value for PI-9.PV: refused: " in text
            assert not files(tmp_path, "*.fresh")
            site.assert_heartbeat_went_on()

    virtual(main())


def test_an_added_tag_starts_the_ring_anew_and_says_so(
    tmp_path: Path, virtual: Virtual, free_port: Port
) -> None:
    async def main() -> None:
        async with running(tmp_path, free_port) as site:
            dcs, old_ring = site.runner.drivers["dcs"], site.runner.ring
            site.put(replace(site.line, tags=(*site.line.tags, EXTRA)))
            outcome, text = await site.reload()
            assert outcome == "accepted"
            assert text == (
                "line small: tags changed; link plc connected anew; its ring starts anew"
            )
            await site.run(5)
            assert site.quality("PI-9.PV") is Quality.GOOD
            assert site.runner.drivers["dcs"] is dcs
            ring = site.runner.ring.ring
            assert (ring.tag_count, ring.seq < 12) == (6, True)
            assert files(tmp_path, "rows.ring*") == {"rows.ring", "rows.ring.bad-1"}
            assert old_ring is not site.runner.ring
            assert Condition.RING_REPLACED in site.runner.core.conditions.raised
            seconds = len(site.beats)
            await site.run(3)
            assert len(decode_block_w(site.twin.block_w).decision.tags_bad) >= 6
            assert site.beats[seconds:] == sorted(set(site.beats[seconds:]))
            site.assert_heartbeat_went_on()

    virtual(main())


def test_a_reload_during_an_outage_of_another_link(
    tmp_path: Path, virtual: Virtual, free_port: Port
) -> None:
    async def main() -> None:
        async with running(tmp_path, free_port) as site:
            await site.twin.stop_link("dcs")
            await site.run(15)
            assert Condition.LINK_DOWN in site.runner.core.conditions.raised
            site.put(with_limit(site.line, "FIC-1.PV", 100.0))
            assert await site.reload() == ("accepted", "line small: tags changed")
            assert Condition.LINK_DOWN in site.runner.core.conditions.raised
            await site.run(2)
            assert site.quality("FIC-1.PV") is Quality.BAD
            await site.twin.start_link("dcs")
            await site.run(20)
            assert site.quality("TIC-1.PV") is Quality.GOOD
            assert Condition.LINK_DOWN not in site.runner.core.conditions.raised
            site.assert_heartbeat_went_on()

    virtual(main())


@pytest.mark.parametrize("outage", ["stopped", "hung"])
def test_a_reload_while_the_plc_is_gone_still_happens(
    tmp_path: Path, virtual: Virtual, free_port: Port, outage: str
) -> None:
    async def main() -> None:
        async with running(tmp_path, free_port) as site:
            if outage == "hung":
                site.twin.hang_link("plc")
            else:
                await site.twin.stop_link("plc")
            await site.run(2)
            site.put(with_limit(site.line, "TIC-1.PV", 10.0))
            assert await site.reload() == ("accepted", "line small: tags changed")
            await site.run(2)
            assert site.quality("TIC-1.PV") is Quality.BAD
            # The PLC is gone, so its own link cannot be changed: nobody could say what it reads.
            site.put(replace(site.line, tags=(*site.line.tags, EXTRA)))
            assert (await site.reload())[0] == "refused"
            if outage == "hung":
                site.twin.hang_link("plc", hung=False)
            else:
                await site.twin.start_link("plc")
            await site.run(15)
            assert site.runner.publisher.read_error == ""
            assert site.quality("SIC-1.PV") is Quality.GOOD

    virtual(main())


def test_requests_that_come_together_are_served_by_one_more_reload(
    tmp_path: Path, virtual: Virtual, free_port: Port
) -> None:
    async def main() -> None:
        async with running(tmp_path, free_port) as site:
            site.put(with_limit(site.line, "AIT-1.PV", 11.0))
            site.app.ask_reload()
            site.app.ask_reload()
            await asyncio.sleep(0)  # the first reload has begun to read
            await asyncio.sleep(0)
            for _ in range(5):
                site.app.ask_reload()
            await site.run(6)
            assert site.reads == 2, "what was asked for after the files were read is read again"
            assert site.said()["outcome"] == "accepted"
            assert site.said()["text"] == "no change"
            assert site.quality("AIT-1.PV") is Quality.BAD
            site.assert_heartbeat_went_on()

    virtual(main())


def test_lines_come_and_go(tmp_path: Path, virtual: Virtual, free_port: Port) -> None:
    async def main() -> None:
        async with running(tmp_path, free_port) as site:
            second = replace(site.line, name="second", links=with_plc(site.line, free_port()).links)
            site.put(site.line, second)
            assert await site.reload() == ("accepted", "line second added")
            await site.run(3)
            assert [line["name"] for line in status.read(tmp_path)["lines"]] == ["small", "second"]
            assert site.app.lines[1].cycles > 0
            site.put(site.line)
            assert await site.reload() == ("accepted", "line second removed")
            await site.run(3)
            assert [line["name"] for line in status.read(tmp_path)["lines"]] == ["small"]
            assert not [t for t in asyncio.all_tasks() if t.get_name().startswith("second")]
            site.assert_heartbeat_went_on()

    virtual(main())


def test_no_row_is_lost_or_doubled_by_twenty_reloads(
    tmp_path: Path, virtual: Virtual, free_port: Port
) -> None:
    async def main() -> None:
        async with running(tmp_path, free_port) as site:
            errors = site.runner.publisher.counters.link_errors  # the links were not up at once
            for k in range(20):
                site.put(with_limit(site.line, "FIC-1.PV", 300.0 + k))
                assert (await site.reload())[0] == "accepted"
            ring = site.runner.ring.ring
            assert np.allclose(np.diff(ring.times(ring.seq)), 1.0, atol=0.02)
            assert not (ring.reasons(ring.seq - 3) == Reason.MISSED).any()
            assert site.runner.publisher.counters.mismatches == 0
            assert site.runner.publisher.counters.link_errors == errors
            site.assert_heartbeat_went_on()

    virtual(main())
