"""The simulated PLC and DCS, seen by real Modbus and OPC UA clients."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from asyncua import Client, ua
from hypothesis import given
from hypothesis import strategies as st
from pymodbus.client import AsyncModbusTcpClient

from edge.config.types import Line
from edge.core import codec
from edge.core.codec import Encoding
from edge.core.outputs import Decision, decode_block_r, encode_block_w
from edge.core.registers import BLOCK_W_WORDS, Control, Status, TrimState
from edge.runtime.clock import LoopClock
from edge.twin.encode import BlockEncoder
from edge.twin.operator import AcceptAfter
from edge.twin.plc import PlcBlock, PlcSettings
from edge.twin.serve import BAD, TwinServer
from tests.twin.small_line import NAMESPACE, SmallPlant, small_line

Virtual = Callable[[Coroutine[Any, Any, Any]], Any]
Port = Callable[[], int]
EPOCH_S = 1_800_000_000.0


@asynccontextmanager
async def plc_client(line: Line) -> AsyncIterator[AsyncModbusTcpClient]:
    client = AsyncModbusTcpClient(
        "127.0.0.1", port=line.links[0].port, timeout=0.4, retries=0, reconnect_delay=0
    )
    assert await client.connect()
    try:
        yield client
    finally:
        client.close()
        await asyncio.sleep(0.01)


@asynccontextmanager
async def dcs_client(line: Line) -> AsyncIterator[Client]:
    client = Client(line.links[1].url, timeout=1)
    client.session_timeout = 60_000
    async with client:
        yield client


async def inputs(client: AsyncModbusTcpClient) -> list[float]:
    """SIC-1, FIC-1, WI-1 and FIC-1.SP as read from the wire, gap between them included."""
    words = (await client.read_input_registers(0, count=22)).registers
    return [
        codec.decode(words[0:1], Encoding(type="uint16", scale=0.1))[0],
        codec.decode(words[1:3], Encoding(type="float32"))[0],
        codec.decode(words[3:5], Encoding(type="int32", scale=0.1))[0],
        codec.decode(words[20:22], Encoding(type="float32"))[0],
    ]


async def read_node(client: Client, name: str) -> ua.DataValue:
    index = await client.get_namespace_index(NAMESPACE)
    node = client.get_node(ua.NodeId(name, index))
    return await node.read_data_value(raise_on_bad_status=False)


def test_each_plant_second_is_shown_once_on_both_servers(virtual: Virtual, free_port: Port) -> None:
    async def main() -> None:
        line = small_line(free_port)
        async with TwinServer(line, SmallPlant(), clock=LoopClock(EPOCH_S)) as twin:
            going = asyncio.create_task(twin.run(60))
            async with plc_client(line) as plc, dcs_client(line) as dcs:
                loop = asyncio.get_running_loop()
                start = math.ceil(loop.time())
                seen = []
                for k in range(50):
                    await asyncio.sleep(start + k - loop.time())
                    speed, flow, weight, set_point = await inputs(plc)
                    seen.append(speed)
                    assert flow == pytest.approx(200.0 + math.sin(speed), abs=1e-4)
                    assert weight == pytest.approx(4000.0 - 0.1 * speed, abs=0.051)
                    assert set_point == 200.0
                assert seen == [seen[0] + k for k in range(50)]
                value = await read_node(dcs, "AIT-1.PV")
                assert value.Value is not None
                assert value.Value.VariantType == ua.VariantType.Float
                assert value.Value.Value == pytest.approx(11.2)
                assert value.SourceTimestamp is not None
                assert value.SourceTimestamp.timestamp() == pytest.approx(
                    EPOCH_S + loop.time(), abs=1.5
                )
            await going

    virtual(main())


def test_block_w_reaches_the_plc_and_block_r_comes_back(virtual: Virtual, free_port: Port) -> None:
    async def main() -> None:
        line = small_line(free_port)
        async with TwinServer(line, SmallPlant(), batch_id=70_001) as twin, plc_client(line) as plc:
            words = encode_block_w(Decision(probability=0.5, severity=1), 1)
            await plc.write_registers(1000, list(words))
            await twin.advance()
            assert twin.plc.panel.alive
            block_r = (await plc.read_holding_registers(1100, count=16)).registers
            assert decode_block_r(block_r).batch_id == 70_001
            assert decode_block_r(block_r).control & Control.BATCH_ACTIVE
            assert (await plc.read_holding_registers(1000, count=64)).registers == list(words)
            for _ in range(6):
                await twin.advance()
            assert not twin.plc.panel.alive
            assert "advisor gone" in twin.plc.panel.fault

    virtual(main())


def test_only_block_w_can_be_written(virtual: Virtual, free_port: Port) -> None:
    async def main() -> None:
        line = small_line(free_port)
        async with TwinServer(line, SmallPlant()) as twin, plc_client(line) as plc:
            for address, count in ((1063, 2), (1001, 64), (1100, 1), (1080, 4)):
                answer = await plc.write_registers(address, [1] * count)
                assert answer.isError()
            assert (await plc.write_registers(1000, [0] * BLOCK_W_WORDS)).isError() is False
            assert twin.refused_writes == 4

    virtual(main())


def test_instrument_faults_are_seen_by_the_clients(virtual: Virtual, free_port: Port) -> None:
    async def main() -> None:
        line = small_line(free_port)
        twin = TwinServer(line, SmallPlant(), clock=LoopClock(EPOCH_S))
        async with twin, plc_client(line) as plc, dcs_client(line) as dcs:
            await twin.advance()
            before = await inputs(plc)
            twin.freeze("SIC-1.PV")
            twin.show("FIC-1.PV", math.nan)
            twin.show("WI-1.PV", math.nan)
            twin.set_status("TIC-1.PV", BAD)
            twin.set_status("AIT-1.PV", type(BAD)(0, age_s=3600.0))
            for _ in range(5):
                await twin.advance()
            after = await inputs(plc)
            assert after[0] == before[0]
            assert math.isnan(after[1])
            assert after[2] == before[2]  # an integer register has no NaN: it keeps its last value
            assert (await read_node(dcs, "TIC-1.PV")).StatusCode.is_bad()
            stale = await read_node(dcs, "AIT-1.PV")
            assert stale.SourceTimestamp is not None
            assert stale.SourceTimestamp.timestamp() == pytest.approx(EPOCH_S - 3600.0, abs=1.0)
            for name in ("SIC-1.PV", "FIC-1.PV", "WI-1.PV", "TIC-1.PV", "AIT-1.PV"):
                twin.release(name)
            await twin.advance()
            assert (await inputs(plc))[0] == before[0] + 6
            assert (await read_node(dcs, "TIC-1.PV")).StatusCode.is_good()

    virtual(main())


def test_a_plc_dies_and_returns_while_the_dcs_goes_on(virtual: Virtual, free_port: Port) -> None:
    async def main() -> None:
        line = small_line(free_port)
        async with TwinServer(line, SmallPlant()) as twin, dcs_client(line) as dcs:
            async with plc_client(line) as plc:
                await inputs(plc)
                await twin.stop_link("plc")
                await asyncio.sleep(0.1)
                assert not plc.connected
            await twin.advance()
            assert (await read_node(dcs, "TIC-1.PV")).StatusCode.is_good()
            await twin.start_link("plc")
            async with plc_client(line) as plc:
                assert (await inputs(plc))[0] == 1.0

    virtual(main())


def test_a_dcs_dies_and_returns(virtual: Virtual, free_port: Port) -> None:
    async def main() -> None:
        line = small_line(free_port)
        async with TwinServer(line, SmallPlant()) as twin:
            await twin.stop_link("dcs")
            with pytest.raises(OSError):
                await Client(line.links[1].url, timeout=1).connect()
            await twin.start_link("dcs")
            async with dcs_client(line) as dcs:
                assert (await read_node(dcs, "TIC-1.PV")).StatusCode.is_good()

    virtual(main())


def test_a_hung_plc_answers_again_when_released(virtual: Virtual, free_port: Port) -> None:
    async def main() -> None:
        line = small_line(free_port)
        async with TwinServer(line, SmallPlant()) as twin, plc_client(line) as plc:
            twin.hang_link("plc")
            with pytest.raises(Exception, match="No response"):
                await inputs(plc)
            twin.hang_link("plc", False)
            await asyncio.sleep(0.1)
            assert (await inputs(plc))[0] == 0.0

    virtual(main())


def test_a_port_that_is_taken_is_named(virtual: Virtual, free_port: Port) -> None:
    async def main() -> None:
        line = small_line(free_port)
        async with TwinServer(line, SmallPlant()):
            with pytest.raises(OSError, match=r"link 'plc': cannot listen on 127\.0\.0\.1:\d+; is"):
                await TwinServer(line, SmallPlant()).__aenter__()

    virtual(main())


def test_an_accepted_trim_reaches_the_plant_and_its_set_point(
    virtual: Virtual, free_port: Port
) -> None:
    async def main() -> None:
        line = small_line(free_port)
        plant = SmallPlant()
        plc = PlcBlock(PlcSettings(ramp_kg_h_min=60.0), AcceptAfter(0))
        async with TwinServer(line, plant, plc) as twin, plc_client(line) as client:
            for seq in range(1, 11):
                offer = Decision(
                    status=Status.SIMULATION,
                    trim_seq=1,
                    trim_kg_h=4.0,
                    trim_base_kg_h=200.0,
                    trim_lo_kg_h=-9.0,
                    trim_hi_kg_h=9.0,
                    trim_ttl_s=60.0,
                    trim_state=TrimState.OFFERED,
                )
                await client.write_registers(1000, list(encode_block_w(offer, seq)))
                await twin.advance()
            assert plant.trims[:4] == [0.0, 0.0, 1.0, 2.0]
            assert plant.trims[-1] == pytest.approx(4.0)
            assert (await inputs(client))[3] == pytest.approx(204.0)
            block_r = (await client.read_holding_registers(1100, count=16)).registers
            assert decode_block_r(block_r).trim_applied_kg_h == pytest.approx(4.0)
            twin.held = True
            await twin.advance()
            block_r = (await client.read_holding_registers(1100, count=16)).registers
            assert decode_block_r(block_r).control & Control.HELD

    virtual(main())


def test_a_plant_that_lacks_a_tag_of_the_line_is_refused(virtual: Virtual, free_port: Port) -> None:
    async def main() -> None:
        line = small_line(free_port)
        names = ["SIC-1.PV", "FIC-1.PV", "WI-1.PV", "AIT-1.PV", "XI-9.PV"]
        with pytest.raises(ValueError, match=r"the plant behind the servers has no TIC-1\.PV"):
            TwinServer(line, SmallPlant(), tag_names=names)

    virtual(main())


def test_a_plant_may_have_its_own_order_of_tags(virtual: Virtual, free_port: Port) -> None:
    async def main() -> None:
        line = small_line(free_port)
        turned = replace(line, tags=line.tags[::-1])
        names = [row.tag.name for row in line.tags]
        async with TwinServer(turned, SmallPlant(), tag_names=names), plc_client(line) as plc:
            speed, flow, weight, _ = await inputs(plc)
            assert (speed, flow, weight) == (0.0, 200.0, 4000.0)

    virtual(main())


NUMBER = st.floats(min_value=-1e5, max_value=1e5)
ENCODING = st.builds(
    Encoding,
    type=st.sampled_from(["int16", "uint16", "int32", "uint32", "float32", "int64", "float64"]),
    word_order=st.sampled_from(["big", "little"]),
    byte_order=st.sampled_from(["big", "little"]),
    scale=st.sampled_from([1.0, 0.1, 10.0]),
    offset=st.sampled_from([0.0, -5.0]),
    invalid=st.sampled_from([(), (0x7FFF,)]),
)


@given(st.lists(st.tuples(ENCODING, NUMBER | st.just(math.nan)), min_size=1, max_size=8))
def test_the_block_encoder_agrees_with_the_codec(pairs: list[tuple[Encoding, float]]) -> None:
    encodings = [encoding for encoding, _ in pairs]
    values = np.array([value for _, value in pairs])
    area = np.full(64, 0x1234, np.uint16)
    offsets = [8 * i for i in range(len(pairs))]
    BlockEncoder(encodings, offsets).encode_into(values, area)
    for encoding, value, at in zip(encodings, values, offsets, strict=True):
        width = codec.WORDS[encoding.type]
        words = tuple(int(w) for w in area[at : at + width])
        assert (area[at + width : at + 8] == 0x1234).all()
        try:
            expected = codec.encode(float(value), encoding)
        except ValueError:
            # The type cannot hold it: an instrument saturates, or keeps its last number for NaN.
            got, _ = codec.decode(words, Encoding(**_plain(encoding)))
            if math.isnan(value):
                assert words == (0x1234,) * width
            else:
                kind = np.iinfo(encoding.type)
                raw = (got - encoding.offset) / encoding.scale
                assert round(raw) in (kind.min, kind.max)
        else:
            if math.isnan(value) and not encoding.invalid:
                assert math.isnan(codec.decode(words, encoding)[0])
            else:
                assert words == expected


def _plain(encoding: Encoding) -> dict[str, Any]:
    fields = ("type", "word_order", "byte_order", "scale", "offset")
    return {name: getattr(encoding, name) for name in fields}


def test_bits_share_a_register() -> None:
    area = np.array([0x8000], np.uint16)
    BlockEncoder([Encoding(type="bit", bit=0), Encoding(type="bit", bit=4)], [0, 0]).encode_into(
        np.array([1.0, 1.0]), area
    )
    assert area[0] == 0x8011
    BlockEncoder([Encoding(type="bit", bit=4)], [0]).encode_into(np.array([0.0]), area)
    assert area[0] == 0x8001
