"""The streaming network we ship: one causal graph over B lines and N model steps.

Shape legend: B lines, N model steps, P tags, F step features, C channels, Q averaged quantities,
H GRU width, G GRU input width, D pooled features.

What happens, in order:

1. Each feature is compared with the reference of its slot, z = 12 tanh((x - loc) / 12 scale), and
   masked by the share of good rows. The reference belongs to the *domain*, so the network sees
   "distance from this line's own normal" and keeps the very offset a leak causes.
2. Residuals: what each tag's mean deviates beyond what the other tags' deviations explain
   (a linear map fitted on normal batches). A grade change moves many tags together and leaves
   small residuals; a leak after a flow meter does not.
3. Averages: residuals and noise levels over a fast and a slow time constant. *Steady* is what both
   agree on, the slow one clamped step by step first: a power dip of two seconds or a refill must
   not shout for an hour. All in units of their own spread on normal batches.
4. Deviation head, label-free: the mean of the k largest steady deviations is the score.
5. Classifier: an encoder shared by all tags plus a learned tag embedding, causal convolutions
   along time with the tag axis kept, and a head that is linear per tag, so that
   classifier = bias + GRU term + sum over tags of cam, exactly. It sees deviations shrunk by a dead
   zone: what every normal batch does too carries no news, and with few batches a network would
   otherwise learn their small offsets by heart.
6. Both heads are combined by three calibrated numbers.

All pooling is an exponential average with a fixed time constant, not a cumulative mean: a process
that never ends must be able to recover after a repair.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

OUTPUTS = ("logit", "severity", "cam", "deviation", "pooled", "classifier", "deviation_score")
CLIP = 12.0
DEAD_ZONE = 1.5
"""Normal spreads below which a deviation is hidden from the classifier."""
INPUTS = 6
"""Per tag: fast and steady level and noise, the level of this step, the mask."""
MEAN, STD, SLOPE, JUMP = 0, 1, 4, 5


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkConfig:
    """Sizes and time constants. Nothing here knows a particular plant."""

    tags: int
    features: int = 6
    channels: int = 16
    dilations: tuple[int, ...] = (1, 2, 4, 8)
    gru_in: int = 32
    gru: int = 32
    pool_steps: float = 15.0
    """Time constant of the CAM and GRU pooling, model steps."""
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
            "pool": (2 * self.tags + 2 + self.pooled,),
            "smooth": (4 * self.tags,),
        }


def ema(x_BNQ: Tensor, state_BQ: Tensor, time_constant: float) -> tuple[Tensor, Tensor]:
    """Exponential average over steps, exact for any N: one matrix product with the decay matrix.

    y[n] = d^(n+1) state + sum over k <= n of (1 - d) d^(n-k) x[k], d = exp(-1 / time_constant).
    """
    steps = torch.arange(x_BNQ.shape[1], dtype=torch.float32, device=x_BNQ.device)
    lag = steps[:, None] - steps[None, :]
    rate = 1.0 / time_constant
    gain = 1.0 - float(torch.exp(torch.tensor(-rate, dtype=torch.float64)))
    weight = torch.exp(-rate * lag.clamp(min=0.0)) * (lag >= 0).to(torch.float32) * gain
    y_BNQ = torch.matmul(weight, x_BNQ)
    y_BNQ = y_BNQ + torch.exp(-rate * (steps + 1.0))[None, :, None] * state_BQ[:, None, :]
    return y_BNQ, y_BNQ[:, -1, :]


def shrink(x: Tensor) -> Tensor:
    """Dead zone, then a logarithm: sign(x) log(1 + max(|x| - DEAD_ZONE, 0))."""
    return torch.sign(x) * torch.log1p((x.abs() - DEAD_ZONE).clamp(min=0.0))


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
        P, C = config.tags, config.channels
        self.encoder = nn.Linear(INPUTS, C)
        self.embedding = nn.Parameter(torch.randn(P, C) * 0.3)
        self.convs = nn.ModuleList(
            nn.Conv2d(C, C, (3, 1), dilation=(d, 1)) for d in config.dilations
        )
        self.head = nn.Parameter(torch.randn(P, C) * 0.01)
        self.severity_head = nn.Parameter(torch.randn(P, C) * 0.01)
        self.gru_encoder = nn.Linear(3 * P, config.gru_in)
        self.gru = nn.GRU(config.gru_in, config.gru, batch_first=True)
        self.gru_head = nn.Linear(config.gru, 2, bias=False)
        self.bias = nn.Parameter(torch.zeros(2))
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
        config, P = self.config, self.config.tags
        *conv_states, gru_state, pool_state, smooth_state = states
        z, mask, residual = self.normalise(features, valid, loc, scale)
        smooth, smooth_next = self.smoothed(z, residual, smooth_state)
        smooth = smooth / self.smooth_spread
        deviation, score = self.deviations(smooth)
        deviation_logit = self.deviation_line[0] * (score - self.deviation_line[1])

        news = shrink(smooth)
        now = shrink(residual)
        x = torch.stack([*news.split(P, dim=-1), now, mask], dim=-1)
        h_BNPC = torch.relu(self.encoder(x) + self.embedding) * mask.unsqueeze(-1)
        h = h_BNPC.permute(0, 3, 1, 2)
        next_states: list[Tensor] = []
        for conv, state, d in zip(self.convs, conv_states, config.dilations):
            history = torch.cat([state, h], dim=2)
            next_states.append(history[:, :, -2 * d :, :])
            h = h + torch.relu(conv(history))
        h_BNPC = h.permute(0, 2, 3, 1)
        cam_now = (h_BNPC * self.head).sum(-1)
        severity_now = (h_BNPC * self.severity_head).sum(-1)

        g = torch.tanh(self.gru_encoder(torch.cat([news[..., 2 * P :], now], dim=-1)))
        gru_out, gru_next = self.gru(g, gru_state.unsqueeze(0))
        gru_terms = self.gru_head(gru_out)

        each = torch.cat([cam_now, severity_now, gru_terms, h_BNPC.mean(dim=2), g], dim=-1)
        pooled, pool_next = ema(each, pool_state, config.pool_steps)
        cam = pooled[..., :P]
        classifier = self.bias[0] + pooled[..., 2 * P] + cam.sum(-1)
        u = self.bias[1] + pooled[..., 2 * P + 1] + pooled[..., P : 2 * P].sum(-1)
        u = u + nn.functional.softplus(self.severity_deviation) * deviation_logit
        gaps = torch.cumsum(nn.functional.softplus(self.severity_gaps), 0)
        severity = torch.stack([u, u - gaps[0], u - gaps[1]], dim=-1)
        logit = self.fuse[0] * classifier + self.fuse[1] * deviation_logit + self.fuse[2]
        return (
            logit,
            torch.sigmoid(severity),
            cam,
            deviation,
            pooled[..., 2 * P + 2 :],
            classifier,
            deviation_logit,
            *next_states,
            gru_next.squeeze(0),
            pool_next,
            smooth_next,
        )

    def zero_states(self, lines: int) -> list[Tensor]:
        """States before the first step."""
        return [torch.zeros(lines, *shape) for shape in self.config.states().values()]

    def parameter_count(self) -> int:
        """Trained parameters, without the fitted buffers."""
        return sum(p.numel() for p in self.parameters())
