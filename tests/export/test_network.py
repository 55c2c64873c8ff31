"""The streaming network: causal, any split equal, CAM an exact part of the logit."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from export.deliver.onnx_graph import load_weights, save_weights
from export.model.evidence import QUANTITIES, ema, news
from export.model.network import OUTPUTS, Network, NetworkConfig
from export.model.relations import relation


def network(tags: int = 7, **settings: float) -> Network:
    torch.manual_seed(3)
    sizes = {"channels": 5, "gru_in": 6, "gru": 7, "top_k": 2, "kinds": 3, "dead_zone": 0.2,
             "slow_steps": 20.0, "anchor_first": 5, "anchor_last": 25}  # fmt: skip
    net = Network(NetworkConfig(tags=tags, **{**sizes, **settings}))  # type: ignore[arg-type]
    with torch.no_grad():
        for weight in (net.head, net.severity_head, net.gru_head.weight):
            weight.normal_(0, 0.5)
        for fitted in (net.residual_map, net.evidence.relation, net.evidence.change_relation):
            fitted.normal_(0, 0.2)
    return net.eval()


def inputs(steps: int, tags: int = 7, lines: int = 2) -> dict[str, torch.Tensor]:
    draw = torch.Generator().manual_seed(steps)
    shape = (lines, steps, tags, 6)
    return {
        "features": torch.randn(shape, generator=draw) * 3,
        "valid": torch.rand(shape[:3], generator=draw),
        "loc": torch.randn(shape, generator=draw),
        "scale": torch.rand(shape, generator=draw) + 0.5,
    }


@torch.no_grad()
def stream(net: Network, data: dict[str, torch.Tensor], sizes: list[int]) -> list[np.ndarray]:
    states = net.zero_states(len(data["features"]))
    parts = []
    first = 0
    for size in sizes:
        block = {k: v[:, first : first + size] for k, v in data.items()}
        out = net(**block, states=states)
        parts.append(out[: len(OUTPUTS)])
        states = list(out[len(OUTPUTS) :])
        first += size
    return [torch.cat([p[i] for p in parts], dim=1).numpy() for i in range(len(OUTPUTS))]


@pytest.mark.parametrize("sizes", [[1] * 40, [7, 13, 20], [39, 1], [3] * 13 + [1]])
def test_any_split_of_the_steps_gives_the_same_numbers(sizes: list[int]) -> None:
    net, data = network(), inputs(40)
    whole = stream(net, data, [40])
    for name, a, b in zip(OUTPUTS, whole, stream(net, data, sizes)):
        assert np.abs(a - b).max() <= 1e-5, name


def test_the_future_does_not_change_the_past() -> None:
    net, data = network(), inputs(30)
    before = stream(net, data, [30])
    data["features"][:, 20:] += 50.0
    for a, b in zip(before, stream(net, data, [30])):
        assert np.array_equal(a[:, :20], b[:, :20])


def test_the_classifier_is_the_sum_of_cam_and_what_no_tag_answers_for() -> None:
    """logsumexp(s) = sum pi s + H(pi): the entropy and the tag-free terms are all that is left."""
    net, data = network(), inputs(25)
    linear = (data["features"] - data["loc"]) / data["scale"]
    mask = (2 * data["valid"]).clamp(0, 1)
    zero = dict(zip(net.config.states(), net.zero_states(2)))
    with torch.no_grad():
        x, *_ = net.evidence(linear * mask[..., None], mask, zero["slow"], zero["anchor"])
        states = [zero[name] for name in ("conv0", "conv1", "gru", "pool")]
        scores, _, cam, _, _ = net.classify(news(x, net.config.dead_zone), mask, states)
        net.head.zero_()
        free, *_ = net.classify(news(x, net.config.dead_zone), mask, states)
    kind = torch.softmax(scores[..., 1:], -1)
    entropy = -(kind * kind.log()).sum(-1)
    rest = (kind * (free[..., 1:] - free[..., :1])).sum(-1) + entropy
    classifier = torch.logsumexp(scores[..., 1:], -1) - scores[..., 0]
    assert cam.abs().max() > 0.1
    assert torch.allclose(classifier, rest + cam.sum(-1), atol=1e-5)
    out = stream(network(), data, [25])
    assert np.allclose(out[OUTPUTS.index("classifier")], classifier.numpy(), atol=1e-5)
    assert np.allclose(out[OUTPUTS.index("cam")], cam.numpy(), atol=1e-5)


def test_what_a_batch_began_with_is_no_change_and_what_grows_is() -> None:
    net = network(anchor_first=10, anchor_last=60)
    shape = (1, 200, 7, 6)
    change = QUANTITIES.index("change of level")
    mask = torch.ones(shape[:3])
    zero = [torch.zeros(1, *s) for s in net.evidence.states().values()]
    brought, grows = torch.zeros(shape), torch.zeros(shape)
    brought[:, :, 2, 0] = 3.0
    grows[:, :, 2, 0] = torch.linspace(0, 3, 200)
    for z, low, high in ((brought, 0.0, 1e-4), (grows, 1.5, 3.0)):
        x, *_ = net.evidence(z, mask, *zero)
        end = float(x[0, -1, 2, change])
        assert low - 1e-4 <= end <= high, end


def test_a_relation_leaves_what_the_others_cannot_explain() -> None:
    draw = torch.Generator().manual_seed(1)
    cause = torch.randn(4000, 1, generator=draw)
    noise = torch.randn(4000, 3, generator=draw)
    data = torch.cat([cause, 2 * cause, -cause], dim=1) + 0.1 * noise
    left = data @ relation(data, 1e-3)
    assert torch.allclose(left.std(0), torch.ones(3), atol=0.2)
    leak = data.clone()
    leak[:, 1] += 1.0
    moved = ((leak @ relation(data, 1e-3)) - left).mean(0).abs()
    assert moved[1] > 4.0
    assert moved[1] == moved.max()


def test_a_masked_tag_has_no_influence() -> None:
    net, data = network(), inputs(10)
    data["valid"][:] = 1.0
    data["valid"][:, :, 3] = 0.0
    before = stream(net, data, [10])
    data["features"][:, :, 3] = 1e6
    for a, b in zip(before, stream(net, data, [10])):
        assert np.array_equal(a, b)


def test_severity_probabilities_fall_with_the_level() -> None:
    severity = stream(network(), inputs(30), [30])[OUTPUTS.index("severity")]
    assert (np.diff(severity, axis=-1) <= 0).all()
    assert ((severity >= 0) & (severity <= 1)).all()


def test_wild_input_stays_finite() -> None:
    net, data = network(), inputs(5)
    data["features"][:] = 1e30
    assert all(np.isfinite(a).all() for a in stream(net, data, [5]))


def test_the_average_is_the_plain_recursion() -> None:
    x = torch.randn(1, 50, 3, generator=torch.Generator().manual_seed(0))
    state = torch.ones(1, 3)
    y, last = ema(x, state, 9.0)
    d = np.exp(-1 / 9.0)
    want = state.numpy()[0]
    for n in range(50):
        want = d * want + (1 - d) * x[0, n].numpy()
        assert np.allclose(y[0, n].numpy(), want, atol=1e-5)
    assert torch.equal(last, y[:, -1])


def test_an_old_disturbance_is_forgotten() -> None:
    net = network(anchor_first=0, anchor_last=0, swing_steps=20.0)
    data = inputs(600, lines=1)
    data["features"] = data["loc"].clone()
    hit = {k: v.clone() for k, v in data.items()}
    hit["features"][:, :50] += 5.0
    a, b = stream(net, data, [60] * 10)[0], stream(net, hit, [60] * 10)[0]
    assert np.abs(a - b)[:, :60].max() > 0.01
    assert np.abs(a - b)[:, -1].max() < 1e-3


def test_weights_survive_the_disk(tmp_path: object) -> None:
    from pathlib import Path

    path = Path(str(tmp_path)) / "w.pt"
    net = network()
    save_weights(net, path)
    again = load_weights(path)
    assert again.config == net.config
    assert all(torch.equal(a, b) for a, b in zip(net.state_dict().values(),
                                                 again.state_dict().values()))  # fmt: skip
