"""`ncm-edge status`: what the daemon says of itself; the exit code is the NE 107 number."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from edge.runtime import metrics
from edge.runtime import status as status_file

NE107_WORDS = {
    0: "normal",
    1: "FAILURE",
    2: "function check",
    3: "off-spec",
    4: "maintenance required",
}
NE107_URGENCY = (0, 4, 3, 2, 1)
"""From normal to failure: the numbers themselves are not in the order of urgency."""
NOT_RUNNING = 1


def run(
    runtime_dir: Path,
    *,
    as_json: bool,
    as_metrics: bool = False,
    only: Sequence[str] = (),
    now_s: float | None = None,
) -> int:
    """Print the status of a running daemon. Returns the worst NE 107 number of its lines.

    `only` names the lines to look at; empty means all. A missing, unreadable or stale status file
    is a failure (1), and so is a line that the daemon does not run: silence is never good news.
    """
    path = runtime_dir / status_file.FILE_NAME
    try:
        document = status_file.read(runtime_dir)
        age_s = (time.time() if now_s is None else now_s) - float(document["written_s"])
        running = [str(line["name"]) for line in document["lines"]]
        missing = [name for name in only if name not in running]
        document["lines"] = [x for x in document["lines"] if not only or x["name"] in only]
        text = metrics.render(document).splitlines() if as_metrics else render(document)
        code = max((int(line["ne107"]) for line in document["lines"]), default=1, key=_rank)
    except FileNotFoundError:
        print(
            f"{path}: not there. Is ncm-edge running, and with this runtime directory? "
            "(systemctl status ncm-edge; --runtime DIR)"
        )
        return NOT_RUNNING
    except (OSError, ValueError) as error:
        print(f"{path}: cannot be read: {error}")
        return NOT_RUNNING
    except (KeyError, TypeError, IndexError) as error:
        print(
            f"{path}: not a status of this version ({type(error).__name__}: {error}); the daemon "
            "is of another version than this command, or something else writes this file"
        )
        return NOT_RUNNING
    if missing:
        print(f"line {', '.join(missing)}: not run by this daemon; it runs {', '.join(running)}")
        return NOT_RUNNING
    if as_json:
        print(json.dumps(document, indent=2, ensure_ascii=False))
    # A file from the future was written before the clock was set back, by nobody who still lives.
    if not -status_file.STALE_S <= age_s <= status_file.STALE_S:
        when = f"{age_s:.0f} s ago" if age_s > 0 else f"{-age_s:.0f} s in the future"
        where = sys.stderr if as_json or as_metrics else sys.stdout
        print(f"STALE: written {when}; the daemon has stopped or hangs", file=where)
        return NOT_RUNNING
    if not as_json:
        print("\n".join(text))
    return code


def render(document: dict[str, Any]) -> list[str]:
    """The status document as lines of text."""
    out = [f"{document['name']}  ncm-edge {document['version']}  up {document['uptime_s']:.0f} s"]
    reload = document.get("reload", {})
    if reload.get("outcome") == "refused":
        out.append("! reload refused, an older configuration goes on:")
        out += [f"    {fault}" for fault in str(reload["text"]).splitlines()]
    for line in document["lines"]:
        verdict, trim = line["verdict"], line["trim"]
        out += [
            f"line {line['name']}: NE 107 {NE107_WORDS[int(line['ne107'])]}",
            f"  inference  {line['provider']}, {line['provider_reason']}",
            f"  model      {line['model']}",
            *([f"  update     {line['update']}"] if line.get("update") else []),
            f"  batch      {line['batch']}",
            f"  verdict    {verdict['text']}",
        ]
        out += [
            f"             {suspect['component']} {suspect['name']}"
            f"{suspect['part'] and ' (' + suspect['part'] + ')'}  score {suspect['score']:.2f}"
            for suspect in verdict["suspects"]
        ]
        out += [f"  NaOH trim  {trim['text']}", f"  data       {line['data_text']}"]
        out += [f"  rows       {text}" for text in _rows(line)]
        for link in line["links"]:
            state = "connected" if link["connected"] else "NOT CONNECTED"
            out.append(
                f"  link {link['name']}: {state}  ok {link['ok']}  timeouts {link['timeouts']}  "
                f"lost {link['lost']}  bad answers {link['bad_answers']}  "
                f"exceptions {link['exceptions']}  {link['last_error']}".rstrip()
            )
            out += [f"    {text}" for text in _round_trips(link)]
        for condition in line["conditions"]:
            out.append(f"  ! {condition['text']}")
    history = document.get("history")
    if history:
        waiting = f", {history['waiting']} records wait" if history["waiting"] else ""
        out.append(f"history: {history['size_mb']:.1f} MB in {history['file']}{waiting}")
        if history["fault"]:
            out.append(f"  ! {history['fault']}")
    return out


def _rows(line: dict[str, Any]) -> list[str]:
    """The acquisition of a line: its rows, its oldest value, its poll groups."""
    found, tags = line["acquisition"], line["tags"]
    text = [
        f"{found['rows']}, {found['gap_rows']} gaps, {found['overruns']} overruns; late p99 "
        f"{_ms(found['late']['p99_ms'])}, skew p50 {_ms(found['skew']['p50_ms'])} p99 "
        f"{_ms(found['skew']['p99_ms'])}"
    ]
    ages = [(tag["age_s"], tag["name"]) for tag in tags if tag["age_s"] is not None]
    never = len(tags) - len(ages)
    oldest = f"oldest value {max(ages)[1]}, {max(ages)[0]:.1f} s" if ages else ""
    unseen = f"{never} tags never read" if never else ""
    text += filter(None, ["; ".join(filter(None, (oldest, unseen)))])
    text += [
        f"group {group['name']} on {group['link']}: every {group['poll_s']:g} s, {group['polls']} "
        f"polls, {group['missed']} missed, {group['overruns']} overruns; late p99 "
        f"{_ms(group['late']['p99_ms'])}, skew p99 {_ms(group['skew']['p99_ms'])}"
        for group in found["groups"]
    ]
    return text


def _round_trips(link: dict[str, Any]) -> list[str]:
    """Round trips of a link, and its units where there are several."""
    text = [f"round trip {_percentiles(link['rtt'])}"]
    units = link["units"] if len(link["units"]) > 1 else []
    text += [
        f"unit {unit['unit_id']}: ok {unit['ok']}  timeouts {unit['timeouts']}  lost "
        f"{unit['lost']}  bad answers {unit['bad_answers']}  exceptions {unit['exceptions']}  "
        f"round trip {_percentiles(unit['rtt'])}"
        for unit in units
    ]
    return text if link["rtt"]["count"] else text[1:]


def _percentiles(found: dict[str, Any]) -> str:
    return f"p50 {_ms(found['p50_ms'])} p99 {_ms(found['p99_ms'])}"


def _ms(value: float | None) -> str:
    return "-" if value is None else f"{value:.3g} ms"


def _rank(ne107: int) -> int:
    """NE 107 priority: failure, function check, off-spec, maintenance required, normal."""
    return NE107_URGENCY.index(ne107)
