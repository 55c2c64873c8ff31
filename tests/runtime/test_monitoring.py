"""Dashboard and alert rules: as made, every name a metric, and what Prometheus' own tool says."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from edge.runtime import metrics, monitoring
from edge.runtime.monitoring import ALERTS, PANELS
from tests.runtime.test_metrics import document

PLACE = Path(__file__).parents[2] / "docs" / "monitoring"
PROMTOOL = shutil.which("promtool")
HISTORY = {"size_mb": 3.0, "fault": "", "waiting": 0, "lost": 0}
MQTT = {"connected": False, "connects": 1, "sent": 5, "resent": 2, "waiting": 9, "dropped": 0}


def test_the_files_are_as_made() -> None:
    remedy = "python -m edge.runtime.monitoring"
    assert (PLACE / monitoring.DASHBOARD).read_text() == monitoring.dashboard(), remedy
    assert (PLACE / monitoring.RULES).read_text() == monitoring.rules(), remedy


def test_every_name_in_an_expression_is_a_metric(monkeypatch: pytest.MonkeyPatch) -> None:
    assert monitoring.unknown() == []
    monkeypatch.setattr(monitoring, "METRICS", metrics.METRICS[1:])
    monkeypatch.setattr(
        monitoring, "PANELS", (*PANELS, monitoring.Panel("x", "ncm_edge_uptime_seconds", "", ""))
    )
    assert monitoring.unknown() == ["uptime_seconds"]


def test_every_label_in_an_expression_or_text_is_one_of_the_metric() -> None:
    text = metrics.render(document(history=HISTORY, mqtt=MQTT))
    for item in (*PANELS, *ALERTS):
        (name,) = set(re.findall(r"ncm_edge_\w+", item.expression)) & set(
            re.findall(r"^(ncm_edge_\w+)", text, re.MULTILINE)
        ) if "+" not in item.expression else ("ncm_edge_mqtt_sent_total",)  # fmt: skip
        (sample, *_) = re.findall(rf"^{name}(?:{{(.*?)}})? \S+$", text, re.MULTILINE)
        has = set(re.findall(r"(\w+)=", sample)) | {"instance"}
        shown = item.legend if isinstance(item, monitoring.Panel) else item.summary
        named = set(re.findall(r"{{\s*(?:\$labels\.)?([a-z]\w*)\s*}}", shown))
        for inside in re.findall(r"by \(([^)]*)\)", item.expression):
            kept = {label.strip() for label in inside.split(",")}
            assert kept <= has, item
            assert named <= kept, item
        named |= set(re.findall(r'(\w+)!?=~?"', item.expression))
        assert named <= has, item


def test_the_dashboard_is_what_grafana_imports() -> None:
    made = json.loads(monitoring.dashboard())
    assert {"title", "uid", "schemaVersion", "panels", "templating", "time"} <= set(made)
    assert len({panel["id"] for panel in made["panels"]}) == len(PANELS)
    taken = {(p["gridPos"]["x"], p["gridPos"]["y"]) for p in made["panels"]}
    assert len(taken) == len(PANELS), "no panel lies upon another"
    assert all(x + 8 <= 24 for x, _ in taken)


def test_every_alert_says_what_to_do() -> None:
    assert len({alert.name for alert in ALERTS}) == len(ALERTS)
    docs = (PLACE.parent / "monitoring.md").read_text(encoding="utf-8")
    for alert in ALERTS:
        assert alert.summary
        assert alert.action
        assert f"`{alert.name}`" in docs, f"docs/monitoring.md does not explain {alert.name}"
        assert alert.expression.count("(") == alert.expression.count(")")


@pytest.mark.skipif(PROMTOOL is None, reason="needs promtool (apt prometheus, 96 MB)")
def test_prometheus_takes_the_rules() -> None:
    assert PROMTOOL is not None
    done = subprocess.run(
        [PROMTOOL, "check", "rules", str(PLACE / monitoring.RULES)], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{len(ALERTS)} rules found" in done.stdout
