"""The streaming network we ship: one causal graph over B lines and N model steps.

Shape legend: B lines, N model steps, P tags, F step features, C channels, Q quantities, K kinds,
H GRU width, G GRU input width, D pooled features.

What happens, in order:

1. Each feature is compared with the reference of its slot, z = 12 tanh((x - loc) / 12 scale), and
   masked by the share of good rows. The reference belongs to the *domain*, so the network sees
   "distance from this line's own normal" and keeps the very offset a leak causes.
2. Deviation head, label-free. Residuals: what each tag's mean deviates beyond what the other tags'
   deviations explain (a linear map fitted on normal batches). Averages of residuals and noise over
   a fast and a slow time constant; *steady* is what both agree on, the slow one clamped step by
   step first: a power dip of two seconds must not shout for an hour. In units of their own spread
   on normal batches; the mean of the k largest is the score.
3. Evidence for the classifier (evidence.py): hours of deviation, its change, relations.
4. Classifier: an encoder shared by all tags plus a learned tag embedding, causal convolutions along
   time with the tag axis kept, a small GRU over all tags, and heads that are linear per tag: one
   score for normal operation and one for each kind of defect (component). The logit is
   log sum exp(kinds) - normal = sum over tags of cam + what no tag is answerable for, exactly:
   cam weighs each tag's part of each kind with the probability of that kind.
5. Both heads are combined by three calibrated numbers. Beside them: which kind it would be.

All pooling is an exponential average with a fixed time constant, not a cumulative mean: a process
that never ends must be able to recover after a repair.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from export.model.evidence import JUMP, MEAN, QUANTITIES, STD, Evidence, ema, news

OUTPUTS = (
    "logit", "severity", "cam", "deviation", "pooled", "classifier", "deviation_score", "kinds",
)  # fmt: skip
CLIP = 12.0


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkConfig:
    """Sizes and time constants. Nothing here knows a particular plant."""

    tags: int
    features: int = 6
    kinds: int = 1
    """Kinds of defect the classifier tells apart: components, or 1."""
    channels: int = 16
    dilations: tuple[int, ...] = (1, 2)
    gru_in: int = 16
    gru: int = 16
    pool_steps: float = 5.0
    """Time constant of the pooling before the heads, model steps."""
    slow_steps: float = 90.0
    """Time constant of the evidence, model steps."""
    quick_steps: float = 10.0
    """Time constant of the recent level, model steps."""
    swing_steps: float = 120.0
    """Time constant of the mean squares behind hunting and wandering, model steps."""
    anchor_first: int = 20
    anchor_last: int = 150
    """Model steps of a batch that are its beginning, the anchor of change; equal: no anchor."""
    reach: float = 20.0
    """Largest |z| of one step that enters the evidence."""
    dead_zone: float = 2.5
    """Spreads below which evidence is hidden from the classifier."""
    dropout: float = 0.2
    """Share of the evidence hidden at random while training."""
    deviation_steps: float = 45.0
    """Slow time constant of the deviation averages, model steps."""
    fast_steps: float = 8.0
    """Fast time constant, model steps."""
    clamp: float = 8.0
    """Largest |z| of one step that enters the slow averages; half of it for the noise level."""
    top_k: int = 3
    """Tags averaged by the deviation score."""

    @property
    def pooled(self) -> int:
        """D."""
        return self.channels + self.gru_in

    def states(self) -> dict[str, tuple[int, ...]]:
        """State tensors and their shapes without B, in graph order."""
        convs = {
            f"conv{i}": (self.channels, 2 * d, self.tags) for i, d in enumerate(self.dilations)
        }
        return {
            **convs,
            "gru": (self.gru,),
            "pool": (self.channels * self.tags + self.gru + self.gru_in,),
            "smooth": (4 * self.tags,),
            "slow": (2 * 8 * self.tags,),
            "anchor": (2 * (5 * self.tags + 1),),
        }


_FOR_GRU = tuple(QUANTITIES.index(name) for name in ("level", "recent level", "relation"))


class Network(nn.Module):
    """See the file's head. `forward` is the graph's signature; the rest serves training."""

    residual_map: Tensor
    residual_spread: Tensor
    smooth_spread: Tensor
    deviation_line: Tensor
    fuse: Tensor

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self.config = config
        P, C, K = config.tags, config.channels, config.kinds
        self.evidence = Evidence(config)
        self.encoder = nn.Linear(len(QUANTITIES) + 1, C)
        self.embedding = nn.Parameter(torch.randn(P, C) * 0.3)
        self.second = nn.Linear(C, C)
        self.convs = nn.ModuleList(
            nn.Conv2d(C, C, (3, 1), dilation=(d, 1)) for d in config.dilations
        )
        self.head = nn.Parameter(torch.randn(P, C, K + 1) * 0.01)
        self.severity_head = nn.Parameter(torch.randn(P, C) * 0.01)
        self.gru_encoder = nn.Linear(3 * P, config.gru_in)
        self.gru = nn.GRU(config.gru_in, config.gru, batch_first=True)
        self.gru_head = nn.Linear(config.gru, K + 2, bias=False)
        self.bias = nn.Parameter(torch.zeros(K + 2))
        self.severity_deviation = nn.Parameter(torch.zeros(()))
        self.severity_gaps = nn.Parameter(torch.zeros(2))
        # Fitted on normal operation or calibrated, never by gradient.
        self.register_buffer("residual_map", torch.zeros(P, P))
        self.register_buffer("residual_spread", torch.ones(P))
        self.register_buffer("smooth_spread", torch.ones(4 * P))
        self.register_buffer("deviation_line", torch.tensor([1.0, 0.0]))
        self.register_buffer("fuse", torch.tensor([1.0, 0.0, 0.0]))

    def normalise(
        self, features_BNPF: Tensor, valid_BNP: Tensor, loc_BNPF: Tensor, scale_BNPF: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """(z [B,N,P,F] masked, mask [B,N,P], residual [B,N,P] in its normal spread)."""
        mask_BNP = (2.0 * valid_BNP).clamp(0.0, 1.0)
        z_BNPF = CLIP * torch.tanh((features_BNPF - loc_BNPF) / (scale_BNPF * CLIP))
        z_BNPF = z_BNPF * mask_BNP.unsqueeze(-1)
        mean_BNP = z_BNPF[..., MEAN]
        residual = mean_BNP - torch.matmul(mean_BNP, self.residual_map.t())
        return z_BNPF, mask_BNP, residual * mask_BNP / self.residual_spread

    def smoothed(
        self, z_BNPF: Tensor, residual_BNP: Tensor, smooth_BQ: Tensor
    ) -> tuple[Tensor, Tensor]:
        """([B,N,4P]: fast level, fast noise, steady level, steady noise; next state)."""
        config, P = self.config, self.config.tags
        noise_BNP = 0.5 * (z_BNPF[..., STD] + z_BNPF[..., JUMP])
        both = torch.cat([residual_BNP, noise_BNP], dim=-1)
        fast, fast_next = ema(both, smooth_BQ[:, : 2 * P], config.fast_steps)
        limit = torch.ones(2 * P, device=both.device) * config.clamp
        limit[P:] /= 2.0
        limited = torch.minimum(torch.maximum(both, -limit), limit)
        slow, slow_next = ema(limited, smooth_BQ[:, 2 * P :], config.deviation_steps)
        # What both averages agree on: the slow one alone would remember an event that is over.
        same = (fast * slow > 0.0).to(slow.dtype)
        steady = torch.sign(slow) * torch.minimum(slow.abs(), fast.abs()) * same
        return torch.cat([fast, steady], dim=-1), torch.cat([fast_next, slow_next], dim=-1)

    def deviations(self, smooth_BNQ: Tensor) -> tuple[Tensor, Tensor]:
        """(deviation [B,N,P] signed, score [B,N] before the logit) of normalised averages."""
        P = self.config.tags
        level, noise = smooth_BNQ[..., 2 * P : 3 * P], smooth_BNQ[..., 3 * P :]
        deviation = torch.where(level.abs() >= noise.abs(), level, noise)
        return deviation, deviation.abs().topk(self.config.top_k, dim=-1).values.mean(dim=-1)

    def forward(
        self,
        features: Tensor,
        valid: Tensor,
        loc: Tensor,
        scale: Tensor,
        states: list[Tensor],
    ) -> tuple[Tensor, ...]:
        """The graph: outputs in the order of OUTPUTS, then the next states in `states()` order."""
        config = self.config
        *conv_states, gru_state, pool_state, smooth_state, slow_state, anchor_state = states
        z, mask, residual = self.normalise(features, valid, loc, scale)
        smooth, smooth_next = self.smoothed(z, residual, smooth_state)
        deviation, score = self.deviations(smooth / self.smooth_spread)
        deviation_logit = self.deviation_line[0] * (score - self.deviation_line[1])

        linear = (features - loc) / scale * mask.unsqueeze(-1)
        x, slow_next, anchor_next = self.evidence(linear, mask, slow_state, anchor_state)
        scores, severity_logit, cam, pooled, next_states = self.classify(
            news(x, config.dead_zone), mask, [*conv_states, gru_state, pool_state]
        )
        classifier = torch.logsumexp(scores[..., 1:], dim=-1) - scores[..., 0]
        u = severity_logit + nn.functional.softplus(self.severity_deviation) * deviation_logit
        gaps = torch.cumsum(nn.functional.softplus(self.severity_gaps), 0)
        severity = torch.stack([u, u - gaps[0], u - gaps[1]], dim=-1)
        logit = self.fuse[0] * classifier + self.fuse[1] * deviation_logit + self.fuse[2]
        return (
            logit,
            torch.sigmoid(severity),
            cam,
            deviation,
            pooled,
            classifier,
            deviation_logit,
            torch.softmax(scores[..., 1:], dim=-1),
            *next_states,
            smooth_next,
            slow_next,
            anchor_next,
        )

    def classify(
        self, x_BNPQ: Tensor, mask_BNP: Tensor, states: list[Tensor]
    ) -> tuple[Tensor, Tensor, Tensor, Tensor, list[Tensor]]:
        """The trained part: (scores [B,N,K+1], severity logit [B,N], cam [B,N,P], pooled, states).

        `x_BNPQ` is evidence after the dead zone; `states` those of the convolutions, GRU and pool.
        """
        *states, pool_state = states
        h_BNPC, gru_out, g, next_states = self.trunk(x_BNPQ, mask_BNP, states)
        *outputs, pool_next = self.heads(h_BNPC, gru_out, g, pool_state)
        scores, severity_logit, cam, summary = outputs
        return scores, severity_logit, cam, summary, [*next_states, pool_next]

    def trunk(
        self, x_BNPQ: Tensor, mask_BNP: Tensor, states: list[Tensor]
    ) -> tuple[Tensor, Tensor, Tensor, list[Tensor]]:
        """(h [B,N,P,C], GRU [B,N,H], its input [B,N,G], states): all that may be half precise."""
        config = self.config
        *conv_states, gru_state = states
        x = torch.cat([x_BNPQ, mask_BNP.unsqueeze(-1)], dim=-1)
        x = nn.functional.dropout(x, config.dropout, self.training)
        h_BNPC = torch.relu(self.second(torch.relu(self.encoder(x) + self.embedding)))
        h_BNPC = h_BNPC * mask_BNP.unsqueeze(-1)
        h = h_BNPC.permute(0, 3, 1, 2)
        next_states: list[Tensor] = []
        for conv, state, d in zip(self.convs, conv_states, config.dilations):
            history = torch.cat([state, h], dim=2)
            next_states.append(history[:, :, -2 * d :, :])
            h = h + torch.relu(conv(history))
        h_BNPC = h.permute(0, 2, 3, 1)

        g = torch.tanh(self.gru_encoder(x_BNPQ[..., _FOR_GRU].flatten(2)))
        gru_out, gru_next = self.gru(g, gru_state.unsqueeze(0))
        return h_BNPC, gru_out, g, [*next_states, gru_next.squeeze(0)]

    def heads(
        self, h_BNPC: Tensor, gru_out: Tensor, g: Tensor, pool_state: Tensor
    ) -> tuple[Tensor, ...]:
        """(scores, severity logit, cam, pooled, next pool state) of what `trunk` gives."""
        config, P, C = self.config, self.config.tags, self.config.channels
        # In float64: a thousand terms enter each score, and blocks must add up like single steps.
        each = torch.cat([h_BNPC.flatten(2), gru_out, g], dim=-1).double()
        pooled, last = ema(each, pool_state.double(), config.pool_steps)
        tags_BNPC = pooled[..., : P * C].unflatten(2, (P, C))
        gru_mean = pooled[..., P * C : P * C + config.gru]
        whole = torch.matmul(gru_mean, self.gru_head.weight.double().t()) + self.bias.double()
        parts_BNPK = torch.einsum("bnpc,pck->bnpk", tags_BNPC, self.head.double())
        scores = whole[..., :-1] + parts_BNPK.sum(2)
        kind = torch.softmax(scores[..., 1:], dim=-1).unsqueeze(2)
        cam = (kind * (parts_BNPK[..., 1:] - parts_BNPK[..., :1])).sum(-1).float()
        by_tag = tags_BNPC * self.severity_head.double()
        severity_logit = (whole[..., -1] + by_tag.sum((-2, -1))).float()
        summary = torch.cat([tags_BNPC.mean(2), pooled[..., P * C + config.gru :]], -1).float()
        return scores.float(), severity_logit, cam, summary, last.float()

    @property
    def device(self) -> torch.device:
        """Where it is; whatever it is given goes there too."""
        return self.bias.device

    def zero_states(self, lines: int) -> list[Tensor]:
        """States before the first step."""
        shapes = self.config.states().values()
        return [torch.zeros(lines, *shape, device=self.device) for shape in shapes]

    def parameter_count(self) -> int:
        """Trained parameters, without the fitted buffers."""
        return sum(p.numel() for p in self.parameters())
