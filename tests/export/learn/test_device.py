"""Where a training runs and in which precision."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch

from export.__main__ import main
from export.data.dataset import Dataset, save_dataset
from export.learn import device
from export.learn.device import DeviceError, choose
from export.learn.recipe import Recipe, RecipeError, load_recipe
from export.learn.train import Trained, train
from export.model.evidence import QUANTITIES
from export.model.network import Network, NetworkConfig

gpu = [
    pytest.mark.gpu,
    pytest.mark.skipif(
        not torch.cuda.is_available(), reason=f"torch {torch.__version__} sees no CUDA GPU"
    ),
    # Named by torch where it has no deterministic form; the test below looks at the numbers.
    pytest.mark.filterwarnings("default:.*deterministic.*:UserWarning"),
]


def short(recipe: Recipe, iterations: int, **training: object) -> Recipe:
    return dataclasses.replace(
        recipe, training=dataclasses.replace(recipe.training, iterations=iterations, **training)
    )


@pytest.mark.parametrize(
    ("name", "gpus", "want"),
    [
        ("auto", 0, "cpu"),
        ("cpu", 2, "cpu"),
        ("auto", 2, "cuda:0"),
        ("cuda", 2, "cuda:0"),
        ("cuda:1", 2, "cuda:1"),
        ("cuda", 0, "sees no GPU; install a CUDA build of torch .* or use --device cpu"),
        ("cuda:2", 2, r"has 2 GPU\(s\), cuda:0 to cuda:1; choose one of them"),
        ("gpu", 1, "permitted are auto, cpu, cuda and cuda:N"),
        ("cuda:-1", 1, "permitted are"),
    ],
)
def test_the_device_is_the_one_asked_for_or_the_reason_is_said(
    name: str, gpus: int, want: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only how many GPUs torch reports is invented: this machine has the number it has."""
    monkeypatch.setattr(device.torch.cuda, "is_available", lambda: gpus > 0)
    monkeypatch.setattr(device.torch.cuda, "device_count", lambda: gpus)
    monkeypatch.setattr(device.torch.cuda, "set_device", lambda _: None)
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    monkeypatch.delenv("LOCAL_RANK", raising=False)
    if want.startswith("c") and ";" not in want:
        assert str(choose(name)) == want
    else:
        with pytest.raises(DeviceError, match=want):
            choose(name)


def test_each_process_of_torchrun_takes_its_own_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device.torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(device.torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(device.torch.cuda, "set_device", lambda _: None)
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert str(choose("auto")) == "cuda:1"
    monkeypatch.setenv("LOCAL_RANK", "2")
    with pytest.raises(DeviceError, match="or start fewer processes"):
        choose("auto")


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a CUDA GPU")
@pytest.mark.parametrize("command", ["train", "adapt", "evaluate"])
def test_a_gpu_that_is_not_there_ends_the_command_with_2(
    command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = {
        "train": ["--out", str(tmp_path)],
        "adapt": [str(tmp_path), "--out", str(tmp_path)],
        "evaluate": [str(tmp_path)],
    }
    data = ["--data", str(tmp_path), "--device", "cuda"]
    assert main([command, *arguments[command], *data]) == 2
    assert "--device cuda: torch" in capsys.readouterr().err


def test_bf16_trains_to_the_losses_of_fp32_within_two_percent(
    toy: Dataset, recipe: Recipe, trained: Trained
) -> None:
    half = train(toy, short(recipe, recipe.training.iterations, precision="bf16"), quiet=True)
    want, got = (np.array(t.notes["loss_history"]) for t in (trained, half))
    assert not np.array_equal(want, got)
    assert np.abs(got - want).max() <= 0.02 * want.max()
    assert got[-10:].mean() == pytest.approx(want[-10:].mean(), rel=0.02)
    assert {p.dtype for p in half.network.parameters()} == {torch.float32}


def test_bf16_gradients_are_those_of_fp32_within_five_percent() -> None:
    """At sizes where torch leaves gradients of dilated convolutions unwritten if their input is
    channels last: that of the trunk must stay contiguous."""
    want, got = (gradients(precision) for precision in ("fp32", "bf16"))
    for name, value in want.items():
        assert (got[name] - value).norm() <= 0.05 * value.norm() + 1e-9, name


def gradients(precision: str) -> dict[str, torch.Tensor]:
    torch.manual_seed(1)
    torch.set_num_threads(1)
    net = Network(NetworkConfig(tags=51, channels=24, kinds=2, dropout=0.0))
    x = torch.randn(32, 40, 51, len(QUANTITIES))
    with torch.no_grad():
        for weight in (net.head, net.severity_head, net.gru_head.weight):
            weight.normal_(0, 0.1)
    *states, pool = net.zero_states(32)[: len(net.convs) + 2]
    with device.autocast(precision, net.device):
        h, out, g, _ = net.trunk(x, torch.ones(32, 40, 51), states)
    scores, severity, cam, _, _ = net.heads(h, out, g, pool)
    (scores.sum() + severity.sum() + cam.square().sum()).backward()
    return {name: p.grad for name, p in net.named_parameters() if p.grad is not None}


def test_the_heads_add_up_in_float64_even_under_autocast(trained: Trained) -> None:
    network = trained.network
    heads = [torch.randn(2, 9, *s, generator=torch.Generator().manual_seed(1))
             for s in ((5, 6), (6,), (6,))]  # fmt: skip
    pool = torch.zeros(2, network.config.states()["pool"][0])
    with torch.no_grad():
        want = network.heads(*heads, pool)
        with device.autocast("bf16", torch.device("cpu")):
            assert all(torch.equal(a, b) for a, b in zip(want, network.heads(*heads, pool)))


def test_an_unknown_precision_is_explained(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text('[training]\nprecision = "fp8"')
    with pytest.raises(
        RecipeError, match=r"training\.precision = 'fp8': permitted are 'fp32', 'bf"
    ):
        load_recipe(str(path))


def test_the_options_reach_the_record(toy: Dataset, tmp_path: Path) -> None:
    save_dataset(toy, tmp_path / "data")
    arguments = ["train", "--data", str(tmp_path / "data"), "--out", str(tmp_path / "out"),
                 "--iterations", "2", "--device", "cpu", "--precision", "bf16"]  # fmt: skip
    assert main(arguments) == 0
    assert '"precision": "bf16"' in (tmp_path / "out" / "trained.json").read_text()


def test_a_precision_that_would_be_ignored_is_refused(
    toy: Dataset, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    save_dataset(toy, tmp_path / "data")
    arguments = ["train", "--data", str(tmp_path / "data"), "--out", str(tmp_path / "out"),
                 "--recipe", "paper", "--precision", "bf16"]  # fmt: skip
    assert main(arguments) == 2
    assert "'paper' is trained as published, in fp32" in capsys.readouterr().err


def on(where: str, toy: Dataset, recipe: Recipe) -> Trained:
    return train(toy, recipe, quiet=True, device=choose(where))


class TestGpu:
    """What only a machine with a GPU can show."""

    pytestmark = gpu

    def test_the_same_seed_gives_the_same_weights(self, toy: Dataset, recipe: Recipe) -> None:
        one, two = (on("cuda", toy, short(recipe, 8)).network.state_dict() for _ in range(2))
        assert all(torch.equal(one[name], two[name]) for name in one)

    @pytest.mark.parametrize("precision", ["fp32", "bf16"])
    def test_it_trains_like_the_cpu(self, toy: Dataset, recipe: Recipe, precision: str) -> None:
        some = short(recipe, 20, precision=precision)
        # Dropout draws differ between devices.
        some = dataclasses.replace(some, network=dataclasses.replace(some.network, dropout=0.0))
        there, here = on("cuda", toy, some), on("cpu", toy, some)
        want = here.notes["loss_history"]
        assert there.notes["loss_history"] == pytest.approx(want, rel=0.02, abs=1e-3)
        assert {p.device.type for p in there.network.parameters()} == {"cpu"}

    def test_a_checkpoint_goes_on_on_the_other_device(
        self, toy: Dataset, recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        from export.learn import train as module

        file, draw = tmp_path / "c.ckpt", module.draw_crops

        def stops(pools: object, recipe: Recipe, step: int) -> object:
            if step == 6:
                raise KeyboardInterrupt
            return draw(pools, recipe, step)  # type: ignore[arg-type]

        for first, then in (("cuda", "cpu"), ("cpu", "cuda")):
            with monkeypatch.context() as patch:
                patch.setattr(module, "draw_crops", stops)
                with pytest.raises(KeyboardInterrupt):
                    train(toy, short(recipe, 12), quiet=True, checkpoint=file, device=choose(first))
            assert file.is_file()
            done = train(toy, short(recipe, 12), quiet=True, checkpoint=file, device=choose(then))
            assert len(done.notes["loss_history"]) == 12
