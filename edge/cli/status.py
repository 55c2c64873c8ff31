"""`ncm-edge status`: what the daemon says of itself; the exit code is the NE 107 number."""

from __future__ import annotations

import json
import time
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
NOT_RUNNING = 1


def run(runtime_dir: Path, *, as_json: bool, now_s: float | None = None) -> int:
    """Print the status of a running daemon. Returns the worst NE 107 number of its lines.

    A missing, unreadable or stale status file is a failure (1): silence is never good news.
    """
    try:
        document = status_file.read(runtime_dir)
    except FileNotFoundError:
        print(
            f"{runtime_dir / status_file.FILE_NAME}: not there. Is ncm-edge running, and with this "
            "runtime directory? (systemctl status ncm-edge; --runtime DIR)"
        )
        return NOT_RUNNING
    except (OSError, ValueError) as error:
        print(f"{runtime_dir / status_file.FILE_NAME}: cannot be read: {error}")
        return NOT_RUNNING
    if as_json:
        print(json.dumps(document, indent=2, ensure_ascii=False))
    age_s = (time.time() if now_s is None else now_s) - float(document.get("written_s", 0.0))
    if age_s > status_file.STALE_S:
        print(f"STALE: written {age_s:.0f} s ago; the daemon has stopped or hangs")
        return NOT_RUNNING
    if not as_json:
        for text in render(document):
            print(text)
    return max((int(line["ne107"]) for line in document["lines"]), default=NOT_RUNNING, key=_rank)


def render(document: dict[str, Any]) -> list[str]:
    """The status document as lines of text."""
    out = [f"{document['name']}  ncm-edge {document['version']}  up {document['uptime_s']:.0f} s"]
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
            f"             {suspect['component']} {suspect['name']} ({suspect['part']})"
            f"  score {suspect['score']:.2f}"
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
    return {1: 4, 2: 3, 3: 2, 4: 1, 0: 0}[ne107]
