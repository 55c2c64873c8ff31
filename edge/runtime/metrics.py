"""The status document as Prometheus text, for the node exporter's textfile collector.

No port listens: whoever scrapes the machine reads a file. Names, base units and suffixes follow the
Prometheus naming conventions; a metric is a row of `METRICS`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from edge.core.histogram import BOUNDS_S

Document = Mapping[str, Any]
Labels = dict[str, str]
Found = Iterator[tuple[Labels, Any]]
"""Labels and the value of each sample; None is left out, because a gap is no number."""

QUALITIES = ("good", "uncertain", "bad")
"""As in the status document; `edge.core.tags` would load numpy for three words."""
OUTCOMES = {
    "ok": "ok", "timeouts": "timeout", "lost": "lost", "bad_answers": "bad_answer",
    "exceptions": "exception",
}  # fmt: skip
"""Key of the status document -> value of the label `outcome`."""


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric family."""

    name: str
    """Without the prefix ``ncm_edge_``."""
    kind: Literal["counter", "gauge", "histogram"]
    help: str
    samples: Callable[[Document], Found]


def _appliance(value: Callable[[Document], Any]) -> Callable[[Document], Found]:
    return lambda document: iter([({}, value(document))])


def _line(value: Callable[[Document], Any]) -> Callable[[Document], Found]:
    def found(document: Document) -> Found:
        for line in document["lines"]:
            yield {"line": line["name"]}, value(line)

    return found


def _of(
    items: Callable[[Document], Any], labels: Mapping[str, str], value: Callable[[Document], Any]
) -> Callable[[Document], Found]:
    """A sample for each of a line's `items`; `labels`: label -> key of the item."""

    def found(document: Document) -> Found:
        for line in document["lines"]:
            for item in items(line):
                named = {label: str(item[key]) for label, key in labels.items()}
                yield {"line": line["name"], **named}, value(item)

    return found


def _link(value: Callable[[Document], Any]) -> Callable[[Document], Found]:
    return _of(lambda line: line["links"], {"link": "name"}, value)


def _group(value: Callable[[Document], Any]) -> Callable[[Document], Found]:
    labels = {"group": "name", "link": "link"}
    return _of(lambda line: line["acquisition"]["groups"], labels, value)


def _tag(value: Callable[[Document], Any]) -> Callable[[Document], Found]:
    return _of(lambda line: line["tags"], {"tag": "name"}, value)


def _askers(document: Document) -> Iterator[tuple[Labels, Document]]:
    """Each unit, or the whole link where there are no units: sums count nothing twice."""
    for line in document["lines"]:
        for link in line["links"]:
            place = {"line": line["name"], "link": link["name"]}
            for unit in link["units"]:
                yield {**place, "unit": str(unit["unit_id"])}, unit
            if not link["units"]:
                # A link without units counts lost connections, which are no requests.
                yield {**place, "unit": ""}, {**link, "lost": None}


def _requests(document: Document) -> Found:
    for labels, counters in _askers(document):
        for key, outcome in OUTCOMES.items():
            yield {**labels, "outcome": outcome}, counters[key]


def _round_trips(document: Document) -> Found:
    for labels, counters in _askers(document):
        yield labels, counters["rtt"]


def _qualities(document: Document) -> Found:
    for line in document["lines"]:
        for quality in QUALITIES:
            count = sum(tag["quality"] == quality for tag in line["tags"])
            yield {"line": line["name"], "quality": quality}, count


def _part(name: str, key: str) -> Callable[[Document], Found]:
    """A figure of the appliance's history or outlet; none where there is no such section."""

    def found(document: Document) -> Found:
        section = document.get(name)
        if section:
            value = section[key]
            yield {}, int(bool(value)) if isinstance(value, bool | str) else value

    return found


def _history_bytes(document: Document) -> Found:
    for labels, value in _part("history", "size_mb")(document):
        yield labels, None if value is None else value * 1e6


METRICS = (
    Metric("uptime_seconds", "gauge", "Time since the daemon started.",
           _appliance(lambda d: d["uptime_s"])),
    Metric("written_timestamp_seconds", "gauge", "When these figures were taken.",
           _appliance(lambda d: d["written_s"])),
    Metric("line_ne107_status", "gauge",
           "NE 107 status: 0 normal, 1 failure, 2 function check, 3 off-spec, 4 maintenance.",
           _line(lambda x: x["ne107"])),
    Metric("line_cycles_total", "counter", "Rows decided.", _line(lambda x: x["cycles"])),
    Metric("line_data_quality_ratio", "gauge", "Good tag-seconds of the last model step.",
           _line(lambda x: x["data_quality"])),
    Metric("line_defect_probability", "gauge", "Of the newest verdict; none while it is not valid.",
           _line(lambda x: x["verdict"]["probability"] if x["verdict"]["valid"] else None)),
    Metric("line_severity", "gauge", "Of the newest verdict: 0 normal, 1 D-3, 2 D-2, 3 D-1.",
           _line(lambda x: x["verdict"]["severity"] if x["verdict"]["valid"] else None)),
    Metric("line_conditions", "gauge", "Conditions raised.",
           _line(lambda x: len(x["conditions"]))),
    Metric("line_tags", "gauge", "Tags by quality in the newest row.", _qualities),
    Metric("rows_total", "counter", "Rows delivered, gap rows included.",
           _line(lambda x: x["acquisition"]["rows"])),
    Metric("gap_rows_total", "counter", "Rows whose slot passed without a poll.",
           _line(lambda x: x["acquisition"]["gap_rows"])),
    Metric("overruns_total", "counter", "Polls still running at the end of their slot.",
           _line(lambda x: x["acquisition"]["overruns"])),
    Metric("row_late_seconds", "histogram", "How late slots started.",
           _line(lambda x: x["acquisition"]["late"])),
    Metric("row_skew_seconds", "histogram", "First request to last answer of a row.",
           _line(lambda x: x["acquisition"]["skew"])),
    Metric("group_polls_total", "counter", "Polls of a poll group.", _group(lambda x: x["polls"])),
    Metric("group_missed_total", "counter", "Slots of a poll group without a poll.",
           _group(lambda x: x["missed"])),
    Metric("group_overruns_total", "counter", "Polls of a group still running at their cut-off.",
           _group(lambda x: x["overruns"])),
    Metric("group_late_seconds", "histogram", "How late slots of a poll group started.",
           _group(lambda x: x["late"])),
    Metric("group_skew_seconds", "histogram", "First request to last answer of a group's poll.",
           _group(lambda x: x["skew"])),
    Metric("link_connected", "gauge", "1 while the device answers.",
           _link(lambda x: int(x["connected"]))),
    Metric("link_connects_total", "counter", "Connections that gave an answer.",
           _link(lambda x: x["connects"])),
    Metric("link_losses_total", "counter", "Connections lost after they had answered.",
           _link(lambda x: x["lost"])),
    Metric("link_bad_addresses", "gauge", "Addresses the device refuses.",
           _link(lambda x: len(x["bad_addresses"]))),
    Metric("requests_total", "counter", "Requests by outcome.", _requests),
    Metric("round_trip_seconds", "histogram", "Request sent to answer complete.", _round_trips),
    Metric("tag_age_seconds", "gauge", "Age of the newest usable value.",
           _tag(lambda x: x["age_s"])),
    Metric("verified_writes_total", "counter", "Blocks W that were read back equal.",
           _line(lambda x: x["publication"]["verified"])),
    Metric("write_mismatches_total", "counter", "Blocks W that were read back different.",
           _line(lambda x: x["publication"]["mismatches"])),
    Metric("history_size_bytes", "gauge", "Size of the history.", _history_bytes),
    Metric("history_fault", "gauge", "1 while the history has something to say, e.g. a full disk.",
           _part("history", "fault")),
    Metric("history_waiting", "gauge", "Records that are not on disk yet.",
           _part("history", "waiting")),
    Metric("history_lost_total", "counter", "Records given up because the disk took too long.",
           _part("history", "lost")),
    Metric("mqtt_connected", "gauge", "1 while the broker answers; none where none is configured.",
           _part("mqtt", "connected")),
    Metric("mqtt_connects_total", "counter", "Connections to the broker.",
           _part("mqtt", "connects")),
    Metric("mqtt_sent_total", "counter", "Messages the broker took at once.",
           _part("mqtt", "sent")),
    Metric("mqtt_resent_total", "counter", "Messages the broker took later, or perhaps twice.",
           _part("mqtt", "resent")),
    Metric("mqtt_waiting", "gauge", "Rows and events the broker does not have yet.",
           _part("mqtt", "waiting")),
    Metric("mqtt_dropped_total", "counter", "Rows and events given up before the broker had them.",
           _part("mqtt", "dropped")),
)  # fmt: skip


def render(document: Document) -> str:
    """Prometheus text exposition format 0.0.4 of a status document.

    Raises KeyError, TypeError or IndexError where the document is of another version.
    """
    out = [
        "# HELP ncm_edge_info The daemon and its configuration.",
        "# TYPE ncm_edge_info gauge",
        _sample(
            "info", {key: str(document[key]) for key in ("name", "version", "config_sha256")}, 1
        ),
    ]
    for metric in METRICS:
        out += [
            f"# HELP ncm_edge_{metric.name} {metric.help}",
            f"# TYPE ncm_edge_{metric.name} {metric.kind}",
        ]
        for labels, value in metric.samples(document):
            if value is None:
                continue
            if metric.kind == "histogram":
                out += _histogram(metric.name, labels, value)
            else:
                out.append(_sample(metric.name, labels, value))
    return "\n".join(out) + "\n"


def _histogram(name: str, labels: Labels, found: Document) -> Iterator[str]:
    total = 0
    for bound_s, count in zip((*BOUNDS_S, None), found["buckets"], strict=True):
        total += count
        le = "+Inf" if bound_s is None else f"{bound_s:.10g}"
        yield _sample(f"{name}_bucket", {**labels, "le": le}, total)
    yield _sample(f"{name}_sum", labels, found["sum_s"])
    yield _sample(f"{name}_count", labels, total)


def _sample(name: str, labels: Labels, value: float) -> str:
    inside = ",".join(f'{label}="{_escaped(text)}"' for label, text in labels.items())
    return f"ncm_edge_{name}{{{inside}}} {value}" if inside else f"ncm_edge_{name} {value}"


def _escaped(text: str) -> str:
    return text.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
