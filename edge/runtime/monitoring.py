"""A dashboard and alert rules for whoever scrapes the metrics: docs/monitoring/ is made from here.

    python -m edge.runtime.monitoring         writes dashboard.json (Grafana) and alerts.yml

Every name in an expression is one of `edge.runtime.metrics.METRICS`; `unknown` and a test say which
is not.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from edge.runtime.metrics import METRICS

PREFIX = "ncm_edge_"
DASHBOARD, RULES = "dashboard.json", "alerts.yml"
_NAME = re.compile(rf"\b{PREFIX}([a-z0-9_]+)")
_PARTS = ("_bucket", "_sum", "_count")
_WIDTH, _HEIGHT = 8, 7
"""Of a panel, in Grafana's grid of 24 columns."""


@dataclass(frozen=True, slots=True)
class Panel:
    """One graph or figure."""

    title: str
    expression: str
    legend: str
    unit: str
    """In Grafana's words."""
    kind: Literal["timeseries", "stat"] = "timeseries"
    text: str = ""
    """What to read from it."""


@dataclass(frozen=True, slots=True)
class Alert:
    """One alert rule."""

    name: str
    expression: str
    hold: str
    """How long it must be true."""
    severity: Literal["critical", "warning", "info"]
    summary: str
    action: str


PANELS = (
    Panel("NE 107", "ncm_edge_line_ne107_status", "{{line}}", "none", "stat",
          "0 normal, 1 failure, 2 function check, 3 off-spec, 4 maintenance required."),
    Panel("Age of the figures", "time() - ncm_edge_written_timestamp_seconds", "{{instance}}", "s",
          "stat", "Grows when the daemon has stopped."),
    Panel("Severity", "ncm_edge_line_severity", "{{line}}", "none", "stat",
          "Newest valid verdict: 0 normal, 1 D-3, 2 D-2, 3 D-1."),
    Panel("Defect probability", "ncm_edge_line_defect_probability", "{{line}}", "percentunit"),
    Panel("Data quality", "ncm_edge_line_data_quality_ratio", "{{line}}", "percentunit",
          text="Good tag-seconds of the last model step."),
    Panel("Tags that are not good", 'ncm_edge_line_tags{quality!="good"}', "{{line}} {{quality}}",
          "none"),
    Panel("Conditions raised", "ncm_edge_line_conditions", "{{line}}", "none"),
    Panel("Oldest value", "max by (line) (ncm_edge_tag_age_seconds)", "{{line}}", "s"),
    Panel("Rows missed", "rate(ncm_edge_gap_rows_total[5m])", "{{line}}", "ops",
          text="A machine that is too slow; should be 0."),
    Panel("Lateness of rows, 99 %",
          "histogram_quantile(0.99, sum by (le, line) "
          "(rate(ncm_edge_row_late_seconds_bucket[5m])))",
          "{{line}}", "s"),
    Panel("Round trip, 99 %", "histogram_quantile(0.99, sum by (le, line, link) "
          "(rate(ncm_edge_round_trip_seconds_bucket[5m])))", "{{line}} {{link}}", "s"),
    Panel("Requests that failed", 'sum by (line, link, outcome) '
          '(rate(ncm_edge_requests_total{outcome!="ok"}[5m]))', "{{line}} {{link}} {{outcome}}",
          "ops"),
    Panel("Links", "ncm_edge_link_connected", "{{line}} {{link}}", "none", "stat",
          "1 while the device answers."),
    Panel("Blocks read back different", "increase(ncm_edge_write_mismatches_total[1h])", "{{line}}",
          "none", text="Somebody else writes into block W."),
    Panel("History", "ncm_edge_history_size_bytes", "{{instance}}", "bytes"),
    Panel("Broker: rows and events that wait", "ncm_edge_mqtt_waiting", "{{instance}}", "none"),
    Panel("Broker: messages taken", "rate(ncm_edge_mqtt_sent_total[5m]) + "
          "rate(ncm_edge_mqtt_resent_total[5m])", "{{instance}}", "ops"),
    Panel("Broker: given up", "increase(ncm_edge_mqtt_dropped_total[1h])", "{{instance}}", "none"),
)  # fmt: skip

ALERTS = (
    Alert("NcmEdgeSilent", "time() - ncm_edge_written_timestamp_seconds > 60", "1m", "critical",
          "The daemon has not written its figures for more than a minute",
          "systemctl status ncm-edge; the line runs as before, without advice"),
    Alert("NcmEdgeFailure", "ncm_edge_line_ne107_status == 1", "2m", "critical",
          "Line {{ $labels.line }} reports failure", "ncm-edge status names cause and action"),
    Alert("NcmEdgeDefectSuspected", "ncm_edge_line_severity >= 1", "0m", "warning",
          "Line {{ $labels.line }}: severity {{ $value }}",
          "ncm-edge status names the suspected component; the panel has the same words"),
    Alert("NcmEdgeLinkDown", "ncm_edge_link_connected == 0", "2m", "warning",
          "Line {{ $labels.line }}: link {{ $labels.link }} does not answer",
          "ncm-edge status shows the last error of the link"),
    Alert("NcmEdgeSlowDevice", "histogram_quantile(0.99, sum by (le, line, link) "
          "(rate(ncm_edge_round_trip_seconds_bucket[10m]))) > 0.4", "10m", "warning",
          "Line {{ $labels.line }}: link {{ $labels.link }} answers in {{ $value }} s",
          "look at network and PLC load before it becomes too slow"),
    Alert("NcmEdgeValueOld", "ncm_edge_tag_age_seconds > 120", "5m", "warning",
          "Line {{ $labels.line }}: {{ $labels.tag }} is {{ $value }} s old",
          "ncm-edge tags --errors says why"),
    Alert("NcmEdgeDataPoor", "ncm_edge_line_data_quality_ratio < 0.9", "10m", "warning",
          "Line {{ $labels.line }}: only {{ $value }} of the values are good",
          "ncm-edge tags --errors names them"),
    Alert("NcmEdgeRowsMissed", "increase(ncm_edge_gap_rows_total[10m]) > 0", "0m", "warning",
          "Line {{ $labels.line }}: rows passed without a poll", "the machine is overloaded"),
    Alert("NcmEdgeSecondMaster", "increase(ncm_edge_write_mismatches_total[10m]) > 0", "0m",
          "warning", "Line {{ $labels.line }}: block W held other words than were written",
          "find who else writes there"),
    Alert("NcmEdgeHistoryFault", "ncm_edge_history_fault == 1", "10m", "warning",
          "The history has something to say", "ncm-edge status; free room or archive batches"),
    Alert("NcmEdgeBrokerLost", "ncm_edge_mqtt_connected == 0", "10m", "warning",
          "The MQTT broker does not take anything", "ncm-edge status shows why"),
    Alert("NcmEdgeBrokerDropped", "increase(ncm_edge_mqtt_dropped_total[1h]) > 0", "0m", "warning",
          "Rows or events fell out before the broker had them",
          "the broker was away for longer than the ring holds; the history has the rows"),
)  # fmt: skip


def unknown() -> list[str]:
    """Names in the expressions that are no metric."""
    known = {metric.name for metric in METRICS}
    known |= {m.name + part for m in METRICS if m.kind == "histogram" for part in _PARTS}
    expressions = [panel.expression for panel in PANELS] + [alert.expression for alert in ALERTS]
    named = {name for expression in expressions for name in _NAME.findall(expression)}
    return sorted(named - known)


def dashboard() -> str:
    """Grafana dashboard, to be imported; asks for the data source."""
    document = {
        "__inputs": [{
            "name": "DS_PROMETHEUS", "label": "Prometheus", "description": "", "type": "datasource",
            "pluginId": "prometheus", "pluginName": "Prometheus",
        }],
        "title": "NCM Edge", "uid": "ncm-edge", "tags": ["ncm-edge"], "editable": True,
        "schemaVersion": 39, "version": 1, "refresh": "10s", "timezone": "",
        "time": {"from": "now-24h", "to": "now"},
        "templating": {"list": []}, "annotations": {"list": []},
        "panels": [_panel(number, panel) for number, panel in enumerate(PANELS)],
    }  # fmt: skip
    return json.dumps(document, indent=2) + "\n"


def _panel(number: int, panel: Panel) -> dict[str, Any]:
    source = {"type": "prometheus", "uid": "${DS_PROMETHEUS}"}
    row, column = divmod(number, 24 // _WIDTH)
    return {
        "id": number + 1, "title": panel.title, "type": panel.kind, "description": panel.text,
        "datasource": source,
        "gridPos": {"x": column * _WIDTH, "y": row * _HEIGHT, "w": _WIDTH, "h": _HEIGHT},
        "fieldConfig": {"defaults": {"unit": panel.unit}, "overrides": []},
        "options": {},
        "targets": [{
            "refId": "A", "datasource": source, "expr": panel.expression,
            "legendFormat": panel.legend,
        }],
    }  # fmt: skip


def rules() -> str:
    """Prometheus alert rules. Every text is quoted as in JSON, which YAML takes as it is."""
    return "\n".join(_rules()) + "\n"


def _rules() -> Iterator[str]:
    yield "# Made by `python -m edge.runtime.monitoring`; limits are a start, adapt a copy."
    yield "groups:"
    yield "  - name: ncm-edge"
    yield "    rules:"
    for alert in ALERTS:
        yield f"      - alert: {alert.name}"
        yield f"        expr: {json.dumps(alert.expression)}"
        yield f"        for: {alert.hold}"
        yield "        labels:"
        yield f"          severity: {alert.severity}"
        yield "        annotations:"
        yield f"          summary: {json.dumps(alert.summary)}"
        yield f"          action: {json.dumps(alert.action)}"


def write(directory: Path) -> None:
    """Both files. Raises OSError."""
    directory.mkdir(parents=True, exist_ok=True)
    (directory / DASHBOARD).write_text(dashboard(), encoding="utf-8")
    (directory / RULES).write_text(rules(), encoding="utf-8")


if __name__ == "__main__":
    write(Path(sys.argv[1]) if len(sys.argv) > 1 else Path("docs/monitoring"))
