"""The trim advisor's desk: gathers the rows of a minute, asks the advisor, keeps the advice.

The advisor itself (`trim_advisor`) is a pair of folds over minutes and seconds; somebody has to
count the seconds and put process values and set-points side by side. The context (set-points) comes
beside the row because it is no model input.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from edge.core import trim_advice
from edge.core.outputs import Decision, PlcState
from edge.core.schedule import Schedule
from edge.core.tags import Quality, Row
from edge.core.trim import TrimSettings
from edge.core.trim_advisor import Advice, Guard, TrimAdvisor, shown
from edge.core.trim_plant import minute_of

Context = Mapping[str, tuple[float, Quality]]
MINUTE_S = 60.0


class TrimDesk:
    """Advice of one line; `settings` None (no limits entered) withholds everything."""

    def __init__(
        self,
        settings: TrimSettings | None,
        schedule: Schedule | None,
        tag_names: tuple[str, ...],
        row_s: float,
    ) -> None:
        self.advice = Advice()
        self._advisor = TrimAdvisor(settings, schedule)
        self._basis = (settings, schedule, tag_names, row_s)
        self._settings = settings
        self._tag_names = tag_names
        self._row_s = row_s
        self._rows: list[tuple[Row, Context]] = []
        self._ph_sp: float | None = None

    def successor(
        self,
        settings: TrimSettings | None,
        schedule: Schedule | None,
        tag_names: tuple[str, ...],
        row_s: float,
    ) -> TrimDesk:
        """The desk after a reload: itself where nothing it advises from has changed.

        Otherwise it keeps the books as a restart does, and no offer is open: what was computed
        within the old limits must not be accepted under the new ones.
        """
        new = TrimDesk(settings, schedule, tag_names, row_s)
        if new._basis == self._basis:
            return self
        new.advice = trim_advice.from_plain(trim_advice.to_plain(self.advice))
        new._ph_sp = self._ph_sp
        return new

    def observe(self, row: Row, context: Context) -> bool:
        """Take a row and its set-points; True when a minute is complete."""
        if self._settings is None:
            return False
        self._rows.append((row, context))
        return len(self._rows) * self._row_s >= MINUTE_S

    def minute(self, guard: Guard, now_s: float) -> None:
        """A minute is complete (or there are no limits to advise within): ask the advisor."""
        minute = None
        if self._settings is not None and self._rows:
            names = tuple(self._rows[-1][1])
            values = np.array(
                [(*row.values, *(context[n][0] for n in names)) for row, context in self._rows],
                np.float32,
            )
            quality = np.array(
                [(*row.quality, *(context[n][1] for n in names)) for row, context in self._rows],
                np.uint8,
            )
            minute = minute_of(
                self._settings, (*self._tag_names, *names), values, quality, self._row_s
            )
            for _, context in self._rows:
                set_point, quality_sp = context.get(self._settings.ph_sp, (0.0, Quality.BAD))
                if quality_sp is Quality.GOOD:
                    self._ph_sp = set_point
            # A set-point that cannot be read has not changed: the last one read stands. Falling
            # back to the schedule's would look like an operator's change and end a leak hold.
            guard = replace(guard, ph_sp=self._ph_sp)
        self._rows.clear()
        self.advice = self._advisor.minute(self.advice, minute, guard, now_s)

    def second(
        self,
        plc: PlcState | None,
        plc_alive: bool,
        acknowledged: bool,
        context: Context,
        now_s: float,
    ) -> None:
        """Once a second: answers, expiry, a base that moved."""
        if acknowledged:
            self.advice = replace(self.advice, acknowledged=True)
        set_point = None
        if self._settings is not None:
            value, quality = context.get(self._settings.naoh_flow_sp, (0.0, Quality.BAD))
            set_point = value if quality is Quality.GOOD else None
        self.advice = self._advisor.second(self.advice, plc, plc_alive, set_point, now_s)

    def show(self, decision: Decision, now_s: float) -> Decision:
        """`decision` with the trim words filled in."""
        return shown(decision, self.advice, now_s)
