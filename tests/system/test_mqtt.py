"""The daemon and a real broker: nothing is lost, nothing is taken, and no row waits for it."""

from __future__ import annotations

import asyncio
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from edge.config.types import Appliance, MqttSettings
from edge.runtime import virtual_time
from tests.broker import Broker, Consumer, needs_broker
from tests.line import EPOCH_S, Rig

pytestmark = [pytest.mark.system, needs_broker]
RATE = 20.0
"""Virtual seconds a second: the broker is a process that virtual time does not see."""
CLIENT = "ncm-edge-edge-1"


def telling(appliance: Appliance, port: int, **more: Any) -> Appliance:
    settings = MqttSettings(
        host="127.0.0.1", port=port, topic="{site}/{area}/{line}/ncm-edge", site="acme",
        area="cathode", client_id=CLIENT, tls=False, **more,
    )  # fmt: skip
    return replace(appliance, mqtt=settings)


def pace(rate: float | None) -> None:
    loop = asyncio.get_running_loop()
    assert isinstance(loop, virtual_time.VirtualTimeLoop)
    loop.pace(rate)


@pytest.fixture
def broker(tmp_path: Path, free_port: Callable[[], int]) -> Iterator[Broker]:
    with Broker(tmp_path / "broker", free_port()) as found:
        yield found


@pytest.fixture
def consumer(broker: Broker) -> Iterator[Consumer]:
    with Consumer(broker.port) as found:
        yield found


def keys(rows: list[dict[str, Any]]) -> list[tuple[int, float]]:
    return [(row["seq"], row["t_s"]) for row in rows]


def none_lost_none_doubled(rows: list[dict[str, Any]]) -> list[int]:
    """The row numbers, after the checks a consumer's correctness rests on."""
    seen = set[tuple[int, float]]()
    for row in rows:
        key = (row["seq"], row["t_s"])
        assert key not in seen or row["resent"], f"unmarked duplicate {key}"
        seen.add(key)
    numbers = sorted(seq for seq, _ in seen)
    assert numbers == list(range(numbers[0], numbers[-1] + 1))
    assert {row["dropped"] for row in rows} == {0}
    return numbers


def test_a_consumer_sees_the_line_and_its_words(
    appliance: Appliance, broker: Broker, consumer: Consumer
) -> None:
    said = list[dict[str, Any]]()

    async def main() -> None:
        async with Rig(telling(appliance, broker.port)) as rig:
            await rig.start_twins()
            rig.start_app()
            await rig.run(70)
            said.append(rig.status())

    virtual_time.run(main(), max_rate=RATE)
    place = "acme/cathode/ncm-1/ncm-edge"
    consumer.wait(lambda heard: heard[-1].body.get("online") is False)
    online, offline = consumer.on("acme/cathode/edge-1/ncm-edge/connection")
    assert (online["online"], online["lines"]) == (True, ["ncm-1"])
    assert offline["reason"] == "stopped"
    rows = consumer.on(f"{place}/row")
    assert len(none_lost_none_doubled(rows)) > 60
    live = [row["seq"] for row in rows if not row["resent"]]
    assert live == list(range(live[0], live[-1] + 1))
    assert live[0] <= 3  # what was made before the first connection is no longer live
    assert len(rows[-1]["values"]) == 51
    assert rows[-1]["values"]["AIT-106A.PV"] == pytest.approx(11.2, abs=0.5)
    assert rows[-1]["simulation"]
    assert rows[-1]["t_s"] == EPOCH_S + rows[-1]["seq"] - 1
    assert consumer.on(f"{place}/verdict")[-1]["text"] == said[0]["lines"][0]["verdict"]["text"]
    assert consumer.on(f"{place}/status")[-1]["ne107"] == said[0]["lines"][0]["ne107"]
    assert "since_s" not in consumer.on(f"{place}/verdict")[-1], "loop time means nothing outside"
    assert consumer.on(f"{place}/tags")[0]["tags"][0]["unit"]
    kinds = {event["kind"] for event in consumer.on(f"{place}/log")}
    assert {"batch", "verdict"} <= kinds
    mqtt = said[0]["mqtt"]
    assert (mqtt["connected"], mqtt["connects"], mqtt["dropped"], mqtt["last_error"]) == (
        True, 1, 0, "",
    )  # fmt: skip
    assert mqtt["waiting"] <= 2
    with Consumer(broker.port, "latecomer") as late:
        late.wait(lambda heard: {"row", "verdict", "trim", "status", "conditions", "tags"} <= {
            m.topic.rpartition("/")[2] for m in heard if m.retained
        })  # fmt: skip
        assert late.on("/row")[-1]["seq"] == rows[-1]["seq"]
        assert late.on("/connection")[-1]["online"] is False


def test_ten_minutes_without_a_broker_cost_no_row(
    appliance: Appliance, broker: Broker, consumer: Consumer
) -> None:
    waited = list[int]()

    async def main() -> None:
        async with Rig(telling(appliance, broker.port)) as rig:
            await rig.start_twins()
            rig.start_app()
            await rig.run(5)
            await rig.until(lambda: rig.status()["mqtt"]["connected"], 60)
            await rig.run(20)
            await asyncio.to_thread(broker.stop)
            pace(None)  # nobody outside answers now
            await rig.run(600)
            pace(RATE)
            assert not rig.status()["mqtt"]["connected"]
            assert "refused" in rig.status()["mqtt"]["last_error"]
            waited.append(rig.status()["mqtt"]["waiting"])
            await asyncio.to_thread(broker.start)
            await rig.until(lambda: rig.status()["mqtt"]["connected"], 60)
            await rig.until(lambda: rig.status()["mqtt"]["waiting"] <= 2, 900)
            await rig.run(5)
            waited.append(rig.status()["lines"][0]["acquisition"]["gap_rows"])

    virtual_time.run(main(), max_rate=RATE)
    consumer.wait(lambda heard: heard[-1].body.get("reason") == "stopped")
    rows = consumer.on("/row")
    assert waited[0] >= 600
    assert waited[1] == 0
    assert len(none_lost_none_doubled(rows)) > 625
    assert sum(row["resent"] for row in rows) >= 600
    live = [row["seq"] for row in rows if not row["resent"]]
    assert live[0] < 600 < live[-1]
    assert not rows[-1]["resent"]
    order = [seq for seq, _ in dict.fromkeys(keys(rows))]
    assert order == sorted(order)
    log = Counter(event["link"] for event in consumer.on("/log") if not event["resent"])
    assert set(log.values()) <= {1}


def test_a_broker_restarted_in_mid_stream_loses_nothing(
    appliance: Appliance, broker: Broker, consumer: Consumer
) -> None:
    async def main() -> None:
        async with Rig(telling(appliance, broker.port)) as rig:
            await rig.start_twins()
            rig.start_app()
            await rig.run(10)
            for _ in range(3):
                await asyncio.to_thread(broker.stop)
                await asyncio.to_thread(broker.start)
                await rig.run(15)
            assert rig.status()["mqtt"]["connects"] >= 2
            await rig.until(lambda: rig.status()["mqtt"]["waiting"] <= 2, 60)

    virtual_time.run(main(), max_rate=RATE)
    consumer.wait(lambda heard: heard[-1].body.get("reason") == "stopped")
    assert len(none_lost_none_doubled(consumer.on("/row"))) > 50


def test_what_waits_survives_a_restart_of_the_daemon(
    appliance: Appliance, broker: Broker, consumer: Consumer
) -> None:
    async def main() -> None:
        async with Rig(telling(appliance, broker.port)) as rig:
            await rig.start_twins()
            rig.start_app()
            await rig.run(10)
            await asyncio.to_thread(broker.stop)
            pace(None)
            await rig.run(40)
            await rig.stop_app()
            await rig.run(7)
            rig.start_app()
            await rig.run(5)
            pace(RATE)
            assert rig.status()["mqtt"]["waiting"] >= 40
            await asyncio.to_thread(broker.start)
            await rig.until(lambda: rig.status()["mqtt"]["connected"], 60)
            await rig.until(lambda: rig.status()["mqtt"]["waiting"] <= 2, 900)
            await rig.run(3)

    virtual_time.run(main(), max_rate=RATE)
    consumer.wait(lambda heard: [m.body.get("reason") for m in heard].count("stopped"))
    rows = consumer.on("/row")
    numbers = {seq for seq, _ in keys(rows)}
    missed = {row["seq"]: row["missed"] for row in rows if row["missed"]}
    ((after, gap),) = missed.items()
    assert gap >= 5
    assert numbers | set(range(after - gap, after)) == set(range(min(numbers), max(numbers) + 1))
    live = Counter(keys([row for row in rows if not row["resent"]]))
    assert set(live.values()) == {1}, live
    # What was said while nobody could be told:
    kinds = [event["kind"] for event in consumer.on("edge-1/ncm-edge/log") if event["resent"]]
    assert kinds == ["stop", "start"]


def test_nothing_a_broker_sends_has_an_effect(
    appliance: Appliance, broker: Broker, consumer: Consumer
) -> None:
    async def main() -> None:
        async with Rig(telling(appliance, broker.port)) as rig:
            await rig.start_twins()
            rig.start_app()
            await rig.run(5)
            asked = rig.block().decision, rig.runner.core.setup, rig.runner.drivers
            place = "acme/cathode/ncm-1/ncm-edge"
            for topic in (
                f"{place}/trim", f"{place}/trim/set", f"{place}/command", f"{place}/row",
                "acme/cathode/edge-1/ncm-edge/connection", CLIENT, "cmd",
            ):  # fmt: skip
                for text in ('{"accept": true, "trim_kg_h": 5}', "", "reload", "\x00" * 100):
                    consumer.client.publish(topic, text, 1, retain=bool(text)).wait_for_publish(5)
            await rig.run(10)
            assert rig.block().decision.trim_state == asked[0].trim_state
            assert (rig.runner.core.setup, rig.runner.drivers) == asked[1:]
            assert rig.status()["mqtt"]["connected"]
            assert rig.status()["reload"]["outcome"] == "none"

    consumer.client.on_message = None
    virtual_time.run(main(), max_rate=RATE)
    assert broker.packets_from(CLIENT) == {"CONNECT", "PUBLISH", "DISCONNECT"}
    assert broker.packets_to(CLIENT) == {"CONNACK", "PUBACK"}


def test_a_broker_that_never_answers_delays_no_row(
    appliance: Appliance, free_port: Callable[[], int], virtual: Callable[[Any], Any]
) -> None:
    async def main() -> None:
        port, held = free_port(), list[asyncio.StreamWriter]()
        silent = await asyncio.start_server(lambda _, w: held.append(w), "127.0.0.1", port)
        async with Rig(telling(appliance, port)) as rig:
            await rig.start_twins()
            rig.start_app()
            await rig.run(120)
            found = rig.status()
            assert len(held) >= 3  # it tries, and gives up each time
            assert found["mqtt"]["last_error"]
            assert not found["mqtt"]["connected"]
            acquisition = found["lines"][0]["acquisition"]
            assert (acquisition["gap_rows"], acquisition["overruns"]) == (0, 0)
            assert acquisition["late"]["worst_ms"] == 0.0
            assert rig.block().seq == 120
        silent.close()
        for writer in held:
            writer.close()

    virtual(main())


def test_a_library_of_another_release_is_told_and_costs_no_row(
    appliance: Appliance, virtual: Callable[[Any], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    # paho-mqtt 1, as some systems ship it, is found and cannot be imported from.
    monkeypatch.setitem(sys.modules, "edge.runtime.mqtt.broker", None)

    async def main() -> None:
        async with Rig(telling(appliance, 1)) as rig:
            await rig.start_twins()
            rig.start_app()
            await rig.run(90)
            found = rig.status()
            assert "edge.runtime.mqtt.broker" in found["mqtt"]["last_error"]
            assert rig.block().seq == 90

    virtual(main())


def test_another_broker_is_taken_up_without_a_restart(
    appliance: Appliance, broker: Broker, consumer: Consumer
) -> None:
    async def main() -> None:
        async with Rig(appliance) as rig:
            await rig.start_twins()
            rig.start_app()
            await rig.run(5)
            assert rig.status()["mqtt"] == {}
            assert (await rig.reload(telling(appliance, broker.port)))[0] == "accepted"
            await rig.run(10)
            assert rig.status()["mqtt"]["connected"]
            assert rig.runner.poller.counters.gap_rows == 0
            outcome, text = await rig.reload(appliance)
            assert (outcome, text) == ("accepted", "mqtt changed")
            await rig.run(3)
            assert rig.status()["mqtt"] == {}

    virtual_time.run(main(), max_rate=RATE)
    consumer.wait(lambda heard: heard[-1].body.get("reason") == "stopped")
    assert len(none_lost_none_doubled(consumer.on("/row"))) >= 9
