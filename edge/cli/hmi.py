"""`ncm-edge hmi`: everything the engineer of the HMI needs, generated from the code that runs."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib import resources
from pathlib import Path

from edge.cli.node_red import flow
from edge.cli.node_red.flow import PanelLine
from edge.config.types import Line, ModbusLink
from edge.core import hmi, register_map

DOCUMENTS = {
    "register_map.md": register_map.markdown,
    "register_map.csv": register_map.csv,
    "faceplate.md": hmi.faceplate_markdown,
    "alarms.md": hmi.alarms_markdown,
    "alarms.csv": hmi.alarms_csv,
    "alarm_conditions.csv": hmi.conditions_csv,
}
"""File -> what makes its text."""
FLOW = "node-red-flow.json"
USER_MISTAKE = 2


def run(folder: Path, lines: Sequence[Line], *, twin_port: int | None = None) -> int:
    """Write the package into `folder`, the flow for `lines`.

    `twin_port`: the flow is for the panel port of `ncm-edge twin`, whose keys always work.
    """
    panels = []
    for line in lines:
        panel = panel_line(line, twin_port)
        if panel is None:
            print(f"line {line.name}: block W goes to link {line.outputs.block_w.link}, which is "
                  f"not Modbus TCP; {FLOW} leaves this line out", file=sys.stderr)  # fmt: skip
        else:
            panels.append(panel)
    texts = {name: make() for name, make in DOCUMENTS.items()}
    texts[FLOW] = flow_text(panels)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in texts.items():
            (folder / name).write_text(text, encoding="utf-8")
            print(folder / name)
    except OSError as error:
        print(f"{error.filename}: {error.strerror}; name another folder with --out",
              file=sys.stderr)  # fmt: skip
        return USER_MISTAKE
    return 0


def flow_text(panels: Sequence[PanelLine]) -> str:
    """The Node-RED flow of these lines."""
    return flow.flow(panels, scripts())


def scripts() -> flow.Scripts:
    """The scripts of the flow, as they lie beside this file."""
    place = resources.files("edge.cli") / "node_red"

    def text(name: str) -> str:
        return (place / name).read_text(encoding="utf-8")

    return flow.Scripts(
        faceplate=text("faceplate.js"), keys=text("keys.js"), page=text("page.vue")
    )


def panel_line(line: Line, twin_port: int | None = None) -> PanelLine | None:
    """How an HMI reaches this line; None if block W is not in holding registers over TCP."""
    w, r = line.outputs.block_w, line.outputs.block_r
    link = next(link for link in line.links if link.name == w.link)
    plain = isinstance(link, ModbusLink) and link.protocol == "modbus-tcp" and not link.rtu
    if not plain or not isinstance(link, ModbusLink) or w.address is None:
        return None
    same = r is not None and r.link == w.link and r.unit_id == w.unit_id
    return PanelLine(
        name=line.name,
        title=line.title,
        host=link.host if twin_port is None else "127.0.0.1",
        port=link.port if twin_port is None else twin_port,
        unit_id=w.unit_id,
        w_address=w.address,
        r_address=r.address if r is not None and same else None,
        components={c.number: f"{c.code} {c.name}" for c in line.topology.components},
        act_on_simulation=twin_port is not None,
    )
