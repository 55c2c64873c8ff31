"""Rows of a benchmark -> tables, as text for the terminal and as Markdown for the card.

A figure is a list over seeds; it is shown as mean ± sample standard deviation, without the latter
where all seeds agree. Nothing is averaged that should not be: two runs to failure are two numbers.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

Row = Mapping[str, Any]
FAMILIES = ("ours", "paper", "baseline", "rival", "trivial")
SIMULATED = "simulated"


@dataclass(frozen=True, slots=True)
class Column:
    """One figure of the table."""

    key: str
    head: str
    form: str = ".3f"


COLUMNS: dict[str, tuple[Column, ...]] = {
    "windows": (
        Column("auc", "AUC"),
        Column("auc_detectable", "AUC, macro over detectable faults"),
        Column("balanced_accuracy", "balanced accuracy"),
        Column("tpr", "TPR"),
        Column("far", "FAR"),
        Column("macro_f1", "macro-F1"),
        Column("spearman", "ρ severity", ".2f"),
        Column("spearman_pooled", "ρ pooled", ".2f"),
        Column("ece", "ECE", ".2f"),
    ),
    "rows": (
        Column("f1", "F1"),
        Column("far", "FAR"),
        Column("mar", "MAR"),
        Column("auc", "AUC"),
    ),
    "run": (
        Column("first_alarm_h", "first alarm, h before failure", ".1f"),
        Column("early_alarms_per_10_days", "alarms before D-3 per 10 days", ".1f"),
        Column("auc", "AUC"),
        Column("tpr", "TPR"),
        Column("far", "FAR"),
        Column("spearman", "ρ severity", ".2f"),
    ),
}
SHARED = (
    Column("deviation_hit1", "hit@1 deviation", ".2f"),
    Column("deviation_hit3", "hit@3 deviation", ".2f"),
    Column("deviation_run_hit1", "runs with an expected tag first, deviation", ".2f"),
    Column("cam_run_hit1", "the same, CAM", ".2f"),
    Column("cam_hit1", "hit@1 CAM", ".2f"),
    Column("cam_hit3", "hit@3 CAM", ".2f"),
    Column("fit_s", "fit, s", ".1f"),
    Column("predict_one_ms", "one sample, ms", ".2f"),
)
MAIN = {"windows": COLUMNS["windows"][0], "rows": COLUMNS["rows"][0], "run": COLUMNS["run"][0]}


def gather(rows: Iterable[Row]) -> list[dict[str, Any]]:
    """One row per (set, task, method), figures as lists over seeds, in the order of arrival.

    Of two rows with the same seed the later one counts.
    """
    latest: dict[tuple[str, str, str, int], Row] = {}
    for row in rows:
        latest[(row["set"], row["task"], row["method"], row["seed"])] = row
    out: dict[tuple[str, str, str], dict[str, Any]] = {}
    for (set_name, task, method, seed), row in latest.items():
        one = out.setdefault(
            (set_name, task, method),
            {
                "kind": "result",
                "set": set_name,
                "task": task,
                "method": method,
                "family": row["family"],
                "simulated": row["simulated"],
                "samples": row["samples"],
                "seeds": [],
                "failed": {},
                "figures": {},
                "data": [],
                "code": row["code"],
            },
        )
        if row["status"] != "ok":
            one["failed"][str(seed)] = f"{row['status']}: {row['reason']}"
            continue
        one["seeds"].append(seed)
        one["family"] = row["family"]
        one["data"].append(row["data"])
        for key, value in row["figures"].items():
            one["figures"].setdefault(key, []).append(value)
    return list(out.values())


def value(row: Row | None, key: str) -> float | None:
    """Mean of a figure over seeds; None if it is not defined."""
    got = [v for v in (row or {}).get("figures", {}).get(key, []) if v is not None]
    return float(np.mean(got)) if got else None


def cell(row: Row, column: Column) -> str:
    """mean ± sd, or what is missing."""
    values = row["figures"].get(column.key, [])
    got = [v for v in values if v is not None]
    if not got:
        # A run to failure without an alarm is an answer, not a gap.
        return "never" if column.key == "first_alarm_h" and values else "–"
    text = format(float(np.mean(got)), column.form)
    if column.key == "first_alarm_h" and len(got) < len(values):
        text += f" ({len(got)} of {len(values)} seeds)"
    if len(got) > 1 and max(got) > min(got) and column.key not in ("fit_s", "predict_one_ms"):
        text += f" ± {format(float(np.std(got, ddof=1)), column.form)}"
    return text


def columns_of(rows: Sequence[Row], judge: str) -> list[Column]:
    """The columns for which any row has a figure."""
    return [
        c
        for c in (*COLUMNS[judge], *SHARED)
        if any(v is not None for r in rows for v in r["figures"].get(c.key, []))
    ]


def by_family(rows: Iterable[Row]) -> list[Row]:
    """Ours first, then the paper's, baselines, rivals, trivial ones."""
    rank = {f: i for i, f in enumerate(FAMILIES)}
    return sorted(rows, key=lambda r: rank.get(r["family"], len(rank)))


def task_table(rows: Sequence[Row], judge: str) -> tuple[list[str], list[list[str]]]:
    """(heads, cells) of one task: the methods that gave a figure."""
    columns = columns_of(rows, judge)
    heads = ["family", "method", *(c.head for c in columns), "seeds"]
    body = []
    for row in by_family(rows):
        if row["seeds"]:
            seeds = f"{len(row['seeds'])}" + (
                f" ({len(row['failed'])} failed)" * bool(row["failed"])
            )
            body.append([row["family"], row["method"], *(cell(row, c) for c in columns), seeds])
    return heads, body


def without(rows: Sequence[Row]) -> list[str]:
    """A line for each method that gave nothing, with the reason."""
    return [
        f"{row['method']}: {next(iter(row['failed'].values()), 'not run')}"
        for row in by_family(rows)
        if not row["seeds"]
    ]


def main_table(rows: Sequence[Row], judge: str) -> tuple[list[str], list[list[str]]]:
    """(heads, cells): methods against tasks, the main figure, and its mean over tasks."""
    column = MAIN[judge]
    tasks = list(dict.fromkeys(r["task"] for r in rows))
    methods = list(dict.fromkeys(r["method"] for r in by_family(rows) if r["seeds"]))
    at = {(r["task"], r["method"]): r for r in rows}
    body = []
    for name in methods:
        cells = [at.get((t, name)) for t in tasks]
        got = [value(c, column.key) for c in cells]
        mean = "–"
        if judge != "run" and all(v is not None for v in got):
            mean = format(float(np.mean([v for v in got if v is not None])), column.form)
        family = next(c["family"] for c in cells if c is not None)
        shown = ["–" if c is None else cell(c, column) for c in cells]
        body.append([family, name, *shown, *([mean] if judge != "run" else [])])
    heads = ["family", "method", *tasks, *(["mean over tasks"] if judge != "run" else [])]
    return heads, body


def markdown(heads: Sequence[str], body: Sequence[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = ["| " + " | ".join(heads) + " |", "|" + "---|" * len(heads)]
    lines += ["| " + " | ".join(c.replace("|", "/") for c in row) + " |" for row in body]
    return "\n".join(lines)


def plain(heads: Sequence[str], body: Sequence[Sequence[str]]) -> str:
    """The same in columns, for a terminal."""
    width = [max([len(h), *(len(r[i]) for r in body)]) for i, h in enumerate(heads)]
    lines = [h.ljust(w) for h, w in zip(heads, width)]
    out = ["  ".join(lines).rstrip()]
    out += ["  ".join(c.ljust(w) for c, w in zip(row, width)).rstrip() for row in body]
    return "\n".join(out)


def text_table(rows: Iterable[Row], sets: Iterable[Row]) -> str:
    """Every task of every set, for a terminal."""
    about = {s["set"]: s for s in sets}
    gathered = gather(rows)
    out = []
    for name in dict.fromkeys(r["set"] for r in gathered):
        info = about.get(name, {})
        mark = f" [{SIMULATED}]" if info.get("simulated") else ""
        out.append(f"\n{info.get('title', name)}{mark}")
        mine = [r for r in gathered if r["set"] == name]
        for task in dict.fromkeys(r["task"] for r in mine):
            some = [r for r in mine if r["task"] == task]
            n = some[0]["samples"]
            out.append(
                f"\n{task}: {n['train']} samples teach ({n['train_defective']} defective, "
                f"{n['target_defective']} of the target), {n['test']} judged "
                f"({n['test_defective']} defective)"
            )
            out.append(plain(*task_table(some, info.get("judge", "windows"))))
            out += [f"  {line}" for line in without(some)]
    return "\n".join(out) if out else "no results"
