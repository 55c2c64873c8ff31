"""The reader process: `python -m edge.page.reader`, started by the page, spoken to over its pipes.

A question is a line of JSON, {"job": NAME, "given": {...}}; the answer is a line of JSON,
{"status": 200 | 400 | 404 | 503, "length": N}, and N bytes. It ends when its input ends, or
when nobody has asked for `IDLE_S`.
"""

from __future__ import annotations

import argparse
import json
import os
import select
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, BinaryIO

from edge.config.faults import ConfigError
from edge.config.load import load
from edge.page.answers import Answers, Refused, Unknown
from edge.runtime.store.reader import HistoryError

IDLE_S = 600.0


def answer(answers: Answers, question: dict[str, Any]) -> tuple[int, bytes]:
    """Status and body; never raises."""
    try:
        return 200, answers.jobs[question["job"]](**question["given"])
    except Refused as error:
        return 400, str(error).encode()
    except Unknown as error:
        return 404, str(error.args[0]).encode()
    except HistoryError as error:
        return 503, str(error).encode()
    except Exception as error:
        # One bad row must not take the next question with it.
        return 503, f"the history could not be read: {type(error).__name__}: {error}".encode()


def serve(answers: Answers, questions: BinaryIO, replies: BinaryIO, idle_s: float) -> None:
    """Answer until the input ends, or nobody asks for `idle_s`."""
    while select.select([questions], [], [], idle_s)[0]:
        asked = questions.readline()
        if not asked:
            return
        status, body = answer(answers, json.loads(asked))
        replies.write(json.dumps({"status": status, "length": len(body)}).encode() + b"\n" + body)
        replies.flush()


def main(argv: Sequence[str] | None = None) -> int:
    """Returns 0, or 2 with every fault of the configuration."""
    parser = argparse.ArgumentParser(prog="python -m edge.page.reader")
    parser.add_argument("--config", type=Path, required=True)
    parser.add_argument("--line", action="append")
    parser.add_argument("--state", type=Path)
    parser.add_argument("--runtime", type=Path)
    options = parser.parse_args(argv)
    # Whatever prints goes to the journal; the pipe is for answers alone.
    replies = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    try:
        appliance = load(
            options.config, lines=options.line, state_dir=options.state,
            runtime_dir=options.runtime,
        )  # fmt: skip
    except ConfigError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    with os.fdopen(0, "rb", buffering=0) as questions:
        serve(Answers(appliance), questions, replies, IDLE_S)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
