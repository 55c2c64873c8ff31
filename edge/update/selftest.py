"""The golden self-test in a process of its own: whatever a new model does there, the daemon lives.

The parent sends one JSON object to the child's input and reads one from its output. The child reads
the graph's operators, loads the bundle as the daemon would, and runs the golden vectors on the
provider that will be used.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from edge.core import graph
from edge.runtime.bundle import MODEL, BundleRefused, load_bundle
from edge.runtime.infer import Engine, EngineRefused
from edge.update.refusals import Code, Refused

LIMIT_S = 120.0
"""A self-test takes a second on a CPU; the first start of CUDA takes some ten."""
MEMORY_BYTES = 4 << 30
"""Address space of a self-test on the CPU; CUDA reserves far more than it uses."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ChildTest:
    """Starts the child; an instance is the installer's `SelfTest`."""

    tags: Sequence[tuple[str, str]]
    row_s: float
    provider: Literal["auto", "cpu", "cuda"]
    limit_s: float = LIMIT_S
    command: Sequence[str] = (sys.executable, "-B", "-m", "edge.update.selftest")

    def __call__(self, bundle: Path) -> str:
        """What it ran on, in words. Raises Refused."""
        question = {
            "bundle": str(bundle),
            "tags": [list(tag) for tag in self.tags],
            "row_s": self.row_s,
            "provider": self.provider,
        }
        try:
            done = subprocess.run(
                self.command, input=json.dumps(question), capture_output=True, text=True,
                timeout=self.limit_s, check=False,
            )  # fmt: skip
        except subprocess.TimeoutExpired:
            raise Refused(Code.SELF_TEST, f"no answer within {self.limit_s:g} s") from None
        except OSError as error:
            raise Refused(Code.SELF_TEST, f"cannot be started: {error}") from None
        try:
            answer = json.loads(done.stdout.splitlines()[-1])
            code, text = int(answer["code"]), str(answer["text"])
        except (ValueError, KeyError, IndexError, TypeError):
            last = (done.stderr.strip().splitlines() or ["no output"])[-1][:200]
            raise Refused(
                Code.SELF_TEST, f"the test process ended with {done.returncode}: {last}"
            ) from None
        if code:
            raise Refused(Code(code), text)
        return text


def answer(question: dict[str, Any]) -> tuple[int, str]:
    """The child's work: (0, what it ran on) or (a code, why not)."""
    bundle = Path(question["bundle"])
    try:
        graph.check((bundle / MODEL).read_bytes())
    except (OSError, graph.GraphError) as error:
        return Code.GRAPH, f"{MODEL}: {error}"
    loaded = load_bundle(bundle, [tuple(tag) for tag in question["tags"]], question["row_s"])
    if isinstance(loaded, BundleRefused):
        return Code.MODEL, loaded.reason
    try:
        engine = Engine(loaded, question["provider"])
    except EngineRefused as error:
        return Code.SELF_TEST, str(error)
    return 0, f"{engine.provider}, {engine.reason}"


def main() -> None:
    """Entry point of the child."""
    question = json.load(sys.stdin)
    if question["provider"] == "cpu":
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    code, text = answer(question)
    sys.stdout.write(json.dumps({"code": int(code), "text": text}) + "\n")


if __name__ == "__main__":
    main()
