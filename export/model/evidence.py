"""Deviations of a line from its reference -> the evidence the classifier weighs, per tag and step.

Shape legend: B lines, N model steps, P tags, F step features, Q quantities.

A defect that is still days away hides in the spread between batches: every batch has its own pump
slip, meter gain and line head. Three views bring it out, all linear and streaming:

* *Averages* over hours of how each tag's level, noise, roughness and slope differ from the
  reference, because the spread between batches is constant within a batch and the noise is not.
* *Change* of those averages against the batch's own beginning: what the batch brought with it
  cancels, a defect that grows does not.
* *Relations*: what each tag shows beyond what all the others explain (speed against flow, flow
  against tank weight, current against torque), learnt from normal operation.

All of this is computed in float64, and its states are kept as pairs of float32 (value and what
rounding left over): relations subtract large numbers from one another, and the same batch must give
the same numbers whether its minutes come one by one or all at once.

Every quantity is divided by its own spread on ordinary normal batches. What stays inside
`dead_zone` spreads carries no news and is hidden from the classifier: with few recorded defects it
would otherwise learn the small offsets of single batches by heart.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from export.model.network import NetworkConfig

MEAN, STD, SLOPE, JUMP = 0, 1, 4, 5
"""Step features used here; `edge.core.features.FEATURES` has their definition."""
CHANNELS = (MEAN, STD, JUMP, SLOPE)
QUANTITIES = (
    "level", "noise", "roughness", "slope",
    "change of level", "change of noise", "change of roughness", "change of slope",
    "recent level", "hunting", "wandering",
    "relation", "firm relation", "relation of change", "balance of level", "balance of slope",
)  # fmt: skip
"""Q. A balance relates levels to slopes: a flow meter to the tank it empties."""
_FLOOR = 1e-3
"""Smallest mean square that enters a logarithm."""


class Evidence(nn.Module):
    """The averages, their change, their relations. Nothing in here is trained by gradient."""

    relation: Tensor
    firm_relation: Tensor
    change_relation: Tensor
    balance: Tensor
    centre: Tensor
    spread: Tensor

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self.config = config
        P, Q = config.tags, len(QUANTITIES)
        self.register_buffer("relation", torch.eye(P))
        self.register_buffer("firm_relation", torch.eye(P))
        self.register_buffer("change_relation", torch.eye(P))
        self.register_buffer("balance", torch.eye(2 * P))
        self.register_buffer("centre", torch.zeros(P, Q))
        self.register_buffer("spread", torch.ones(P, Q))

    def forward(
        self, z_BNPF: Tensor, mask_BNP: Tensor, slow_BQ: Tensor, anchor_BQ: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """(evidence [B,N,P,Q] in spreads, next slow state, next anchor state)."""
        views, mass, *states = self.views(z_BNPF, mask_BNP, slow_BQ, anchor_BQ)
        measured = self.measure(views)
        x_BNPQ = (measured - self.centre.double()) / self.spread.double() * mass.unsqueeze(-1)
        return x_BNPQ.float(), states[0], states[1]

    def views(
        self, z_BNPF: Tensor, mask_BNP: Tensor, slow_BQ: Tensor, anchor_BQ: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """(float64[B,N,11P]: averages, change, recent, swings; mass [B,N,P], 0..1; next states).

        Mass is the average of the mask: what an average that began with the batch is worth yet.
        """
        config, P = self.config, self.config.tags
        slow_BQ, anchor_BQ = _joined(slow_BQ), _joined(anchor_BQ)
        z_BNPF, mask_BNP = z_BNPF.double(), mask_BNP.double()
        four = z_BNPF[..., CHANNELS].clamp(-config.reach, config.reach).transpose(2, 3).flatten(2)
        both = torch.cat([four, mask_BNP], dim=-1)
        place = anchor_BQ[:, -1:] + torch.arange(four.shape[1], device=four.device)
        averaged, slow_next = ema(both, slow_BQ[:, : 5 * P], config.slow_steps)
        slow, mass = averaged[..., : 4 * P], averaged[..., 4 * P :]
        recent, recent_next = ema(four[..., :P], slow_BQ[:, 5 * P : 6 * P], config.quick_steps)
        squares = torch.cat([four[..., :P] - recent, recent - slow[..., :P]], dim=-1).square()
        squares = squares * mask_BNP.repeat(1, 1, 2)
        swing, swing_next = ema(squares, slow_BQ[:, 6 * P :], config.swing_steps)
        # An average that begins at zero is too small at first; a logarithm would make much of it.
        begun = 1.0 - torch.exp(-(place + 1.0) / config.swing_steps)
        swing = torch.log(swing / begun.unsqueeze(-1) + _FLOOR)

        inside = (place >= config.anchor_first) & (place < config.anchor_last)
        sums = torch.cumsum(both * inside.to(four.dtype).unsqueeze(-1), dim=1)
        sums = sums + anchor_BQ[:, None, : 5 * P]
        count = sums[..., 4 * P :]
        length = max(1, config.anchor_last - config.anchor_first)
        ready = (count / length).clamp(max=1.0).repeat(1, 1, 4)
        begin = sums[..., : 4 * P] / count.clamp(min=1.0).repeat(1, 1, 4)
        change = (slow - begin * mass.repeat(1, 1, 4)) * ready
        return (
            torch.cat([slow, change, recent - slow[..., :P], swing], dim=-1),
            mass,
            _paired(torch.cat([slow_next, recent_next, swing_next], dim=-1)),
            _paired(torch.cat([sums[:, -1], place[:, -1:] + 1.0], dim=-1)),
        )

    def measure(self, views_BNQ: Tensor) -> Tensor:
        """Views and the relations among them -> [B,N,P,Q], in the order of QUANTITIES."""
        P = self.config.tags
        level, slope, change = (
            views_BNQ[..., :P],
            views_BNQ[..., 3 * P : 4 * P],
            views_BNQ[..., 4 * P : 5 * P],
        )
        parts = [
            views_BNQ,
            torch.matmul(level, self.relation.double()),
            torch.matmul(level, self.firm_relation.double()),
            torch.matmul(change, self.change_relation.double()),
            torch.matmul(torch.cat([level, slope], dim=-1), self.balance.double()),
        ]
        return torch.cat(parts, dim=-1).unflatten(2, (len(QUANTITIES), P)).transpose(2, 3)

    def states(self) -> dict[str, tuple[int, ...]]:
        """State tensors without B."""
        P = self.config.tags
        return {"slow": (2 * 8 * P,), "anchor": (2 * (5 * P + 1),)}

    def zero_states(self) -> list[Tensor]:
        """States of one line before its first step."""
        device = self.spread.device
        return [torch.zeros(1, *shape, device=device) for shape in self.states().values()]


def _joined(state_BQ: Tensor) -> Tensor:
    """float32 pairs -> float64."""
    high, low = state_BQ.chunk(2, dim=-1)
    return high.double() + low.double()


def _paired(value_BQ: Tensor) -> Tensor:
    """float64 -> float32 value and float32 remainder."""
    high = value_BQ.float()
    return torch.cat([high, (value_BQ - high.double()).float()], dim=-1)


def ema(x_BNQ: Tensor, state_BQ: Tensor, time_constant: float) -> tuple[Tensor, Tensor]:
    """Exponential average over steps, exact for any N: one matrix product with the decay matrix.

    y[n] = d^(n+1) state + sum over k <= n of (1 - d) d^(n-k) x[k], d = exp(-1 / time_constant).
    """
    steps = torch.arange(x_BNQ.shape[1], dtype=x_BNQ.dtype, device=x_BNQ.device)
    lag = steps[:, None] - steps[None, :]
    rate = 1.0 / time_constant
    weight = torch.exp(-rate * lag.clamp(min=0.0)) * (lag >= 0).to(x_BNQ.dtype)
    y_BNQ = torch.matmul(weight * -math.expm1(-rate), x_BNQ)
    y_BNQ = y_BNQ + torch.exp(-rate * (steps + 1.0))[None, :, None] * state_BQ[:, None, :]
    return y_BNQ, y_BNQ[:, -1, :]


def news(x: Tensor, dead_zone: float) -> Tensor:
    """Dead zone, then a logarithm: sign(x) log(1 + max(|x| - dead_zone, 0))."""
    return torch.sign(x) * torch.log1p((x.abs() - dead_zone).clamp(min=0.0))
