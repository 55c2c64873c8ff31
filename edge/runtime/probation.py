"""A release that has taken over, judged against the model before it after each of its steps.

What it is judged by are the figures of `core.probation`; they lie in the line's checkpoint, so that
a restart in the middle goes on. Going back is the business of whoever follows the slots.
"""

from __future__ import annotations

from edge.core.probation import Service, worse
from edge.runtime.trial import Outcome


class Probation:
    """Of one release."""

    def __init__(self, release: str) -> None:
        self.release, self.text = release, "no model step yet"

    def judge(self, service: Service, steps: int, step_s: float) -> Outcome:
        """After a step: GOING_ON, PROVEN after `steps` of them, or RETURNED with why in `text`."""
        done = len(service.now)
        found = worse(service, step_s)
        if found:
            self.text = f"step {done}: {'; '.join(found)}"
            return Outcome.RETURNED
        self.text = f"{min(done, steps)} of {steps} model steps, no worse than the model before"
        return Outcome.PROVEN if done >= steps else Outcome.GOING_ON
