"""docs/model-card.md from docs/benchmark.jsonl: nothing in it is typed by hand.

The stored file holds one line per (set, task, method) with its figures over seeds, what each set
is, what was compared pairwise, and the versions. Goals are in benchmarks/goals.toml, what helped
and what did not in benchmarks/findings.toml.
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from export.faults import ExportError
from export.judge import table as t
from export.judge.benchmark import RESULTS, read_rows, row_key, scores_path
from export.judge.paired import auc_difference
from export.judge.spec import FOLDER

Row = dict[str, Any]

HEAD = """# Model card

Written by `ncm-export benchmark --card` from `docs/benchmark.jsonl`; do not edit.

Every method sees the same samples and is judged on the same test, which it never saw. A threshold
is fixed before the test, on normal samples of the target that are in neither training nor test.
Split by failure, run, file or time, never by window. Figures are mean ± sample standard deviation
over seeds (without the latter where all agree); a seed also draws which few target samples are
labelled. "–" means not defined there.
No fit sees a target test label. Development did: that the classifier has to earn its voice on a
domain left out was introduced after the pump's and Cranfield's tables had shown what it does
without, and the settings of short windows were chosen on the Tennessee modes 1 to 3.
"""

HOW = """## How to read the columns

| column | meaning |
|---|---|
| AUC | normal against defective, by rank; ties count half |
| TPR, FAR, balanced accuracy, macro-F1 | at the threshold fixed before the test |
| ρ severity | Spearman of score and stage within a run, mean over runs; ρ pooled: over all |
| ECE | gap between the stated probability (sigmoid of the score) and the share defective |
| hit@1, hit@3 | true component first, or among three, over all defective samples |
| one sample | time to score one sample alone, one core |
"""


def store(out: Path, target: Path) -> None:
    """Results of a run, compact, with the paired comparisons. Raises ExportError if empty."""
    rows = read_rows(out / RESULTS)
    if not rows:
        raise ExportError(f"{out / RESULTS}: no result; run `ncm-export benchmark` first")
    gathered = t.gather(rows)
    runs = read_rows(out / RESULTS, "run")
    sets = {s["set"]: s for s in read_rows(out / RESULTS, "set")}
    lines = [runs[-1] | {"seeds": sorted({s for r in gathered for s in r["seeds"]})}]
    lines += list(sets.values())
    lines += [{**r, "figures": {k: _trim(v) for k, v in r["figures"].items()}} for r in gathered]
    lines += _pairs(out, rows)
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text("".join(json.dumps(x, ensure_ascii=False) + "\n" for x in lines))


def write_card(results: Path, target: Path) -> None:
    """The card of stored results. Raises ExportError if there are none."""
    text = card(results, target.parent / "figures")
    target.write_text(text, encoding="utf-8")


def card(results: Path, figures: Path) -> str:
    """The card as text."""
    rows = read_rows(results)
    if not rows:
        raise ExportError(f"{results}: no result; run `ncm-export benchmark`, then --card")
    # Recorded data first, benchmark simulations second, our own twin last.
    listed = sorted(read_rows(results, "set"), key=lambda s: (s["set"] == "twin", s["simulated"]))
    sets = {s["set"]: s for s in listed}
    goals = tomllib.loads((FOLDER / "goals.toml").read_text(encoding="utf-8"))
    findings = tomllib.loads((FOLDER / "findings.toml").read_text(encoding="utf-8"))
    parts = [HEAD, _goals(rows, goals), _gate(rows, goals), _pairs_text(results)]
    for name, info in sets.items():
        mine = [r for r in rows if r["set"] == name]
        if mine:
            parts.append(_set(info, mine))
    parts += [HOW, _speed(rows), _findings(findings.get("finding", [])), _pictures(figures)]
    parts.append(_provenance(read_rows(results, "run"), sets, rows))
    return "\n\n".join(p.strip() for p in parts if p) + "\n"


def _set(info: Row, rows: Sequence[Row]) -> str:
    mark = " — simulated" if info["simulated"] else ""
    head = f"## {info['title']}{mark if t.SIMULATED not in info['title'] else ''}"
    steps, stride = info["cut"]
    minutes = steps * info["step_s"] / 60.0
    sample = (
        f"Samples: {steps} steps of {info['step_s']:g} s ({minutes:g} min), every {stride} steps"
        if steps
        else "Samples: whole batches"
    )
    lines = [
        head,
        info["about"],
        f"{sample}; {info['tags']} tags; threshold for at most {100 * info['false_alarms']:g} % "
        f"of the normals it is fixed on.",
    ]
    if info["hard"]:
        lines.append(f"Reported apart as nearly unobservable: {', '.join(info['hard'])}.")
    tasks = list(dict.fromkeys(r["task"] for r in rows))
    if len(tasks) > 1:
        column = t.MAIN[info["judge"]]
        lines.append(f"### {column.head[0].upper() + column.head[1:]}, by task")
        lines.append(t.markdown(*t.main_table(rows, info["judge"])))
    for task in tasks:
        some = [r for r in rows if r["task"] == task]
        n = some[0]["samples"]
        lines.append(
            f"### {task}\n\n{n['train']} samples teach ({n['train_defective']} defective, "
            f"{n['target_defective']} of them of the target), {n['calibrate']} normals fix the "
            f"threshold, {n['test']} are judged ({n['test_defective']} defective)."
        )
        lines.append(t.markdown(*t.task_table(some, info["judge"])))
        lines += [f"Without a figure: {'; '.join(t.without(some))}."] if t.without(some) else []
    return "\n\n".join(x for x in lines if x)


def _goals(rows: Sequence[Row], goals: Row) -> str:
    body = []
    for goal in goals.get("goal", []):
        here = [
            r for r in rows if r["set"] == goal["set"] and goal.get("task", r["task"]) == r["task"]
        ]
        ours = _pick(here, goals["ours"])
        got = _honest(ours, goal)
        if "than" in goal:
            rival = _honest(_pick(here, [goal["than"]]), goal)
            wanted = "any" if rival is None else f"> {rival:.3g}"
            met = None if ours is None else (got or 0.0) > (rival or 0.0)
        else:
            sign = "≥" if goal["best"] == "most" else "≤"
            wanted = f"{sign} {goal['goal']:g}"
            met = None if got is None else _reached(got, goal["goal"], goal["best"])
        word = "not measured" if met is None else "met" if met else "not met"
        if met and "stretch" in goal and _reached(got, goal["stretch"], goal["best"]):
            word = "met, stretch too"
        shown = "–" if got is None else f"{got:.3f}"
        paper = _honest(_pick(here, ["paper"]), goal)
        body.append([goal["text"], wanted, shown, "–" if paper is None else f"{paper:.3f}", word])
    table = t.markdown(["goal", "wanted", "ours", "paper's recipe", "verdict"], body)
    return f"## Goals\n\n{table}"


def _gate(rows: Sequence[Row], goals: Row) -> str:
    gate = goals["gate"]
    body, broken = [], 0
    for key in dict.fromkeys((r["set"], r["task"]) for r in rows):
        here = [r for r in rows if (r["set"], r["task"]) == key]
        got = t.value(_pick(here, goals["ours"]), gate["figure"])
        rivals = {n: t.value(_pick(here, [n]), gate["figure"]) for n in gate["against"]}
        known = {n: v for n, v in rivals.items() if v is not None}
        if got is None or not known:
            continue
        floor = max(known.values())
        held = got >= floor - gate["slack"]
        broken += not held
        body.append(
            [
                *key,
                f"{got:.3f}",
                *("–" if rivals[n] is None else f"{rivals[n]:.3f}" for n in gate["against"]),
                "held" if held else f"broken by {floor - gate['slack'] - got:.3f}",
            ]
        )
    if not body:
        return ""
    against = " and ".join(gate["against"])
    verdict = "It holds everywhere." if not broken else f"It is broken on {broken} of {len(body)}."
    return (
        f"## Gate\n\nOurs is never below the better of {against} by more than {gate['slack']:g} "
        f"{gate['figure'].upper()}. {verdict}\n\n"
        + t.markdown(["set", "task", "ours", *gate["against"], "gate"], body)
    )


def _pairs(out: Path, rows: Sequence[Row]) -> list[Row]:
    """Ours against the others on the same tests, from the stored scores."""
    goals = tomllib.loads((FOLDER / "goals.toml").read_text(encoding="utf-8"))
    latest = {(r["set"], r["task"], r["method"], r["seed"]): r for r in rows}
    found = []
    for set_name, task in dict.fromkeys((r["set"], r["task"]) for r in rows):
        for ours in goals["ours"]:
            for other in goals["compare"]:
                runs = []
                for seed in sorted({k[3] for k in latest}):
                    a = latest.get((set_name, task, ours, seed))
                    b = latest.get((set_name, task, other, seed))
                    if a and b and a["data"] == b["data"]:
                        runs += _scores_of(out, a, b)
                gap = auc_difference(runs)
                if gap is not None:
                    row = {"kind": "pair", "set": set_name, "task": task, "one": ours}
                    found.append(
                        row
                        | {"other": other, "mean": _s(gap.mean), "low": _s(gap.low)}
                        | {"high": _s(gap.high), "seeds": len(runs)}
                    )
    return found


def _scores_of(out: Path, a: Row, b: Row) -> list[tuple[Any, Any, Any, Any]]:
    try:
        with (
            np.load(scores_path(out, row_key(a))) as one,
            np.load(scores_path(out, row_key(b))) as two,
        ):
            return [(one["level"] > 0, one["score"], two["score"], one["group"])]
    except OSError:
        return []


def _pairs_text(results: Path) -> str:
    pairs = read_rows(results, "pair")
    if not pairs:
        return ""
    others = list(dict.fromkeys(p["other"] for p in pairs))
    body = []
    for key in dict.fromkeys((p["set"], p["task"]) for p in pairs):
        at = {p["other"]: p for p in pairs if (p["set"], p["task"]) == key}
        body.append([*key, *(_interval(at.get(o)) for o in others)])
    return (
        "## Ours minus the others: AUC, paired\n\n95 % intervals over resampled failures (normals "
        "by run, or in blocks where there are fewer than five runs) and seeds; bold where the "
        "interval does not hold zero; none where fewer than three failures are judged.\n\n"
        + t.markdown(["set", "task", *(f"minus {o}" for o in others)], body)
    )


def _interval(pair: Row | None) -> str:
    if pair is None:
        return "–"
    if pair["low"] is None:
        return f"{pair['mean']:+.3f} (too few failures)"
    text = f"{pair['mean']:+.3f} [{pair['low']:+.3f}, {pair['high']:+.3f}]"
    return f"**{text}**" if pair["low"] > 0 or pair["high"] < 0 else text


def _speed(rows: Sequence[Row]) -> str:
    """Time per sample, as a ratio to the fastest method, median over tasks."""
    ratios: dict[str, list[float]] = {}
    for key in dict.fromkeys((r["set"], r["task"]) for r in rows):
        here = [r for r in rows if (r["set"], r["task"]) == key and r["family"] != "trivial"]
        times = {r["method"]: t.value(r, "predict_one_ms") for r in here}
        known = {n: v for n, v in times.items() if v}
        for name, v in known.items():
            ratios.setdefault(name, []).append(v / min(known.values()))
    if not ratios:
        return ""
    body = [
        [name, f"{np.median(v):.1f}", f"{min(v):.1f} … {max(v):.1f}"]
        for name, v in sorted(ratios.items(), key=lambda item: float(np.median(item[1])))
    ]
    return "## Prediction time of one sample, ratio to the fastest\n\n" + t.markdown(
        ["method", "median over tasks", "range"], body
    )


def _findings(findings: Iterable[Row]) -> str:
    every = list(findings)
    if not every:
        return ""
    body = [[f["what"], f["data"], f["figure"], str(f["with"]), str(f["without"])] for f in every]
    keep = [b for f, b in zip(every, body) if f["kept"]]
    drop = [b for f, b in zip(every, body) if not f["kept"]]
    heads = ["what", "data", "figure", "with", "without"]
    text = "## What was tried"
    if keep:
        text += "\n\n### Kept\n\n" + t.markdown(heads, keep)
    if drop:
        text += "\n\n### Did not help\n\n" + t.markdown(heads, drop)
    return text


def _pictures(folder: Path) -> str:
    files = sorted(folder.glob("*.svg"))
    if not files:
        return ""
    links = "\n\n".join(
        f"![{f.stem.replace('-', ' ').replace('_', ' ')}](figures/{f.name})" for f in files
    )
    return f"## Pictures\n\n{links}"


def _provenance(runs: Sequence[Row], sets: dict[str, Row], rows: Sequence[Row]) -> str:
    last = runs[-1] if runs else {"versions": {}, "seeds": [], "command": "", "cores": "?"}
    versions = ", ".join(f"{k} {v}" for k, v in last["versions"].items())
    body = [
        [s["title"], "simulated" if s["simulated"] else "recorded", s["source"], s["sha256"][:16]]
        for s in sets.values()
    ]
    failed = [
        [r["set"], r["task"], r["method"], f"seed {seed}: {why}"]
        for r in rows
        for seed, why in r["failed"].items()
        if not why.startswith("not applicable")
    ]
    text = (
        f"## Provenance\n\nSeeds {last['seeds']}; {versions}; {last['cores']} cores, "
        f"one thread per fit.\n\n"
        + t.markdown(["set", "kind", "source", "SHA-256 of the data"], body)
        + "\n\nThe hash of every fold and of the code behind each row is in "
        "`docs/benchmark.jsonl`. To make this page again:\n\n"
        "```\nncm-export simulate --out build/twin\nncm-export benchmark --jobs 2\n"
        "ncm-export benchmark --card\n```"
    )
    if failed:
        text += "\n\n### Fits that failed\n\n" + t.markdown(
            ["set", "task", "method", "why"], failed
        )
    return text


def _pick(rows: Sequence[Row], names: Sequence[str]) -> Row | None:
    """The first of the named methods that has a result."""
    for name in names:
        for r in rows:
            if r["method"] == name and r["seeds"]:
                return r
    return None


def _honest(row: Row | None, goal: Row) -> float | None:
    """The figure, if the method keeps to what the goal allows beside it (`if_most`)."""
    for beside, limit in goal.get("if_most", {}).items():
        found = t.value(row, beside)
        if found is not None and found > limit:
            return None
    return t.value(row, goal["figure"])


def _reached(got: float | None, goal: float, best: str) -> bool:
    return got is not None and (got >= goal if best == "most" else got <= goal)


def _trim(values: list[float | None]) -> list[float | None]:
    return [None if v is None else float(f"{v:.4g}") for v in values]


def _s(v: float | None) -> float | None:
    return None if v is None else round(v, 4)
