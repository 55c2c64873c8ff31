"""`ncm-edge status`: what the daemon says of itself; the exit code is the NE 107 number."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

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
    runtime_dir: Path, *, as_json: bool, only: Sequence[str] = (), now_s: float | None = None
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
        text = render(document)
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
        where = sys.stderr if as_json else sys.stdout
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
            f"  batch      {line['batch']}",
            f"  verdict    {verdict['text']}",
        ]
        out += [
            f"             {suspect['component']} {suspect['name']}"
            f"{suspect['part'] and ' (' + suspect['part'] + ')'}  score {suspect['score']:.2f}"
            for suspect in verdict["suspects"]
        ]
        out += [f"  NaOH trim  {trim['text']}", f"  data       {line['data_text']}"]
        for link in line["links"]:
            state = "connected" if link["connected"] else "NOT CONNECTED"
            out.append(
                f"  link {link['name']}: {state}  ok {link['ok']}  timeouts {link['timeouts']}  "
                f"lost {link['lost']}  bad answers {link['bad_answers']}  "
                f"exceptions {link['exceptions']}  {link['last_error']}".rstrip()
            )
        for condition in line["conditions"]:
            out.append(f"  ! {condition['text']}")
    return out


def _rank(ne107: int) -> int:
    """NE 107 priority: failure, function check, off-spec, maintenance required, normal."""
    return NE107_URGENCY.index(ne107)
