"""A small line on two real servers, for tests: three Modbus tags, two OPC UA tags, both blocks."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from edge.config.types import (
    Line,
    ModbusLink,
    ModbusSource,
    ModelSettings,
    OpcUaLink,
    OpcUaSource,
    Outputs,
    TagRow,
    WordBlock,
)
from edge.core.codec import Encoding
from edge.core.tags import Tag
from edge.core.topology import Component, Topology

NAMESPACE = "urn:test:line"


def tag(name: str, unit: str, low: float, high: float, component: str = "C01") -> Tag:
    return Tag(
        name=name, text=name, unit=unit, low=low, high=high, component=component, part="meter"
    )


def modbus(address: int, encoding: Encoding, unit_id: int = 1) -> ModbusSource:
    return ModbusSource(
        link="plc", unit_id=unit_id, table="input", address=address, encoding=encoding
    )


def small_line(port: Callable[[], int]) -> Line:
    """SIC-1 (uint16 0.1 rpm), FIC-1 (float32), WI-1 (int32 0.1 kg) and context FIC-1.SP on "plc",
    TIC-1 and AIT-1 on "dcs", both blocks on "plc"."""
    float32 = Encoding(type="float32")
    return Line(
        name="small",
        title="Small line",
        links=(
            ModbusLink(name="plc", host="127.0.0.1", port=port(), timeout_ms=400),
            OpcUaLink(name="dcs", url=f"opc.tcp://127.0.0.1:{port()}/small", namespace=NAMESPACE),
        ),
        tags=(
            TagRow(
                tag=tag("SIC-1.PV", "rpm", 0, 500),
                source=modbus(0, Encoding(type="uint16", scale=0.1)),
            ),
            TagRow(tag=tag("FIC-1.PV", "kg/h", 0, 400), source=modbus(1, float32)),
            TagRow(
                tag=tag("WI-1.PV", "kg", 0, 9000),
                source=modbus(3, Encoding(type="int32", scale=0.1)),
            ),
            TagRow(
                tag=tag("TIC-1.PV", "°C", 0, 100, "C02"),
                source=OpcUaSource(link="dcs", node="s=TIC-1.PV"),
            ),
            TagRow(
                tag=tag("AIT-1.PV", "pH", 0, 14, "C02"),
                source=OpcUaSource(link="dcs", node="s=AIT-1.PV"),
            ),
        ),
        context=(TagRow(tag=tag("FIC-1.SP", "kg/h", 0, 400), source=modbus(20, float32)),),
        topology=Topology(
            components=(
                Component(code="C01", number=1, name="NaOH feed", parts=("meter",)),
                Component(code="C02", number=2, name="reactor", parts=("meter",)),
            ),
            edges=(("C01", "C02"),),
        ),
        outputs=Outputs(
            block_w=WordBlock(link="plc", count=64, address=1000),
            block_r=WordBlock(link="plc", count=16, address=1100),
        ),
        model=ModelSettings(
            bundle=Path("none"),
            warn_probability=None,
            persist_steps=2,
            clear_steps=2,
            min_valid=0.5,
        ),
        row_s=1.0,
        ring_rows=3600,
        schedule=None,
        trim=None,
    )


@dataclass(frozen=True, slots=True)
class SmallSecond:
    values: npt.NDArray[np.float64]
    context: Mapping[str, float]
    minute: float
    step: int
    base_kg_h: float = 200.0


class SmallPlant:
    """Values that say which second they belong to: SIC-1 counts, the others move with it."""

    def __init__(self) -> None:
        self.count = 0
        self.trims: list[float] = []

    def second(self, trim_kg_h: float, held: bool) -> SmallSecond:
        k = self.count
        self.count += not held
        self.trims.append(trim_kg_h)
        return SmallSecond(
            values=np.array([k % 500, 200.0 + math.sin(k), 4000.0 - 0.1 * k, 48.0, 11.2]),
            context={"FIC-1.SP": 200.0 + trim_kg_h},
            minute=k / 60.0,
            step=1,
        )
