"""Training: stopped at any moment it goes on to the same numbers; two processes are one."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from export.data.dataset import Dataset, save_dataset
from export.learn import engine
from export.learn.engine import EngineError, Schedule, fit
from export.learn.recipe import Recipe
from export.learn.train import train

SCHEDULE = Schedule(iterations=30, batch=8, learning_rate=0.01, weight_decay=0.01, seed=3, every=10)


def small() -> nn.Sequential:
    torch.manual_seed(1)
    return nn.Sequential(nn.Linear(4, 8), nn.Dropout(0.3), nn.ReLU(), nn.Linear(8, 1))


def loss_of(net: nn.Module, stop_at: int = -1) -> engine.Loss:
    def loss(step: int, part: slice) -> Tensor:
        if step == stop_at:
            raise KeyboardInterrupt
        x = torch.randn(8, 4, generator=torch.Generator().manual_seed(step))[part]
        return (net(x)[:, 0] - x.sum(1)).square().mean()

    return loss


def test_a_stopped_training_goes_on_to_the_same_losses_and_weights(tmp_path: Path) -> None:
    whole = small()
    history = fit(whole, loss_of(whole), SCHEDULE, quiet=True)
    file = tmp_path / "c.ckpt"
    first = small()
    with pytest.raises(KeyboardInterrupt):
        fit(first, loss_of(first, stop_at=17), SCHEDULE, checkpoint=file, quiet=True)
    assert file.is_file()
    again = small()
    assert fit(again, loss_of(again), SCHEDULE, checkpoint=file, quiet=True) == history
    assert all(torch.equal(a, b) for a, b in zip(whole.parameters(), again.parameters()))
    assert not file.exists()


def test_a_killed_training_goes_on_from_its_last_checkpoint(tmp_path: Path) -> None:
    """SIGKILL: no handler runs; what counts is on the disk."""
    file = tmp_path / "c.ckpt"
    script = textwrap.dedent(f"""
        import sys
        from pathlib import Path
        from tests.export.learn.test_engine import SCHEDULE, fit, loss_of, small
        net = small()
        plain = loss_of(net)
        def waits(step, part):
            if step == 22:
                print("in step 22", flush=True)
                sys.stdin.read()
            return plain(step, part)
        fit(net, waits, SCHEDULE, checkpoint=Path({str(file)!r}), quiet=True)
    """)
    child = subprocess.Popen(
        [sys.executable, "-c", script], cwd=Path(__file__).parents[3],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    with child:
        try:
            assert child.stdout is not None
            assert child.stdout.readline() == "in step 22\n"
        finally:
            child.send_signal(signal.SIGKILL)
            child.wait()
    assert len(torch.load(file)["history"]) == 20
    whole, again = small(), small()
    history = fit(whole, loss_of(whole), SCHEDULE, quiet=True)
    assert fit(again, loss_of(again), SCHEDULE, checkpoint=file, quiet=True) == history
    assert all(torch.equal(a, b) for a, b in zip(whole.parameters(), again.parameters()))


def test_a_foreign_or_broken_checkpoint_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "c.ckpt"
    net = small()
    with pytest.raises(KeyboardInterrupt):
        fit(net, loss_of(net, 5), SCHEDULE, checkpoint=file, fingerprint="a", quiet=True)
    with pytest.raises(EngineError, match="another recipe or other data"):
        fit(net, loss_of(net), SCHEDULE, checkpoint=file, fingerprint="b", quiet=True)
    file.write_bytes(file.read_bytes()[:100])
    with pytest.raises(EngineError, match="not a checkpoint"):
        fit(net, loss_of(net), SCHEDULE, checkpoint=file, fingerprint="a", quiet=True)


def test_without_memory_the_mini_batch_goes_in_shares(capsys: pytest.CaptureFixture[str]) -> None:
    net, plain = small().eval(), small().eval()
    sizes: list[int] = []

    def hungry(limit: int) -> engine.Loss:
        def loss(step: int, part: slice) -> Tensor:
            size = len(range(8)[part])
            sizes.append(size)
            if size > limit:
                raise RuntimeError("[enforce fail] out of memory: you tried to allocate")
            return loss_of(net)(step, part)

        return loss

    short = dataclasses.replace(SCHEDULE, iterations=5)
    history = fit(net, hungry(2), short, quiet=True)
    assert set(sizes) == {8, 4, 2}
    assert history == pytest.approx(fit(plain, loss_of(plain), short, quiet=True), rel=1e-5)
    assert "in 4 shares" in capsys.readouterr().out
    with pytest.raises(EngineError, match=r"lower training\.crop_steps"):
        fit(net, hungry(0), short, quiet=True)


def test_another_error_is_not_taken_for_memory() -> None:
    def broken(_step: int, _part: slice) -> Tensor:
        raise RuntimeError("shapes do not fit")

    with pytest.raises(RuntimeError, match="shapes"):
        fit(small(), broken, SCHEDULE, quiet=True)


@pytest.mark.parametrize("dropout", [0.0, 0.2])
def test_two_processes_train_like_one(
    toy: Dataset, recipe: Recipe, tmp_path: Path, dropout: float
) -> None:
    """torchrun on loopback, gloo. Dropout each process draws for its own share of a mini-batch:

    with it the losses agree as those of two seeds do, and the weights remain the same in both.
    """
    plain = dataclasses.replace(
        recipe,
        network=dataclasses.replace(recipe.network, dropout=dropout),
        training=dataclasses.replace(recipe.training, iterations=30 if dropout else 6),
    )
    save_dataset(toy, tmp_path / "data")
    (tmp_path / "recipe.json").write_text(json.dumps(plain.to_dict()))
    script = tmp_path / "go.py"
    script.write_text(
        textwrap.dedent(f"""
        import json, os
        from pathlib import Path
        import torch
        from export.data.dataset import load_dataset
        from export.learn import engine
        from export.learn.recipe import recipe_of
        from export.learn.train import train
        torch.set_num_threads(1)
        here = Path({str(tmp_path)!r})
        recipe = recipe_of(json.loads((here / "recipe.json").read_text()))
        with engine.processes():
            done = train(load_dataset(here / "data"), recipe, quiet=True)
            torch.save([done.notes["loss_history"], done.network.state_dict()],
                       here / f"{{os.environ['RANK']}}.pt")
        """)
    )
    root = Path(__file__).parents[3]
    subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2",
         str(script)],
        cwd=root, env={**os.environ, "PYTHONPATH": str(root), "OMP_NUM_THREADS": "1"},
        check=True, capture_output=True, timeout=150,
    )  # fmt: skip
    torch.set_num_threads(1)
    one = train(toy, plain, quiet=True)
    (history, weights), (history_1, weights_1) = (
        torch.load(tmp_path / f"{rank}.pt") for rank in (0, 1)
    )
    assert history == history_1
    assert all(torch.equal(value, weights_1[name]) for name, value in weights.items())
    want = one.notes["loss_history"]
    if dropout:
        assert np.allclose(history, want, rtol=0.1), np.abs(np.divide(history, want) - 1.0).max()
        assert history[-1] < 0.8 * history[0]
        return
    assert history == pytest.approx(want, abs=2e-4)
    for name, value in one.network.state_dict().items():
        assert torch.allclose(value, weights[name], atol=1e-4), name


@pytest.mark.parametrize("poison", [float("nan"), float("inf")])
def test_a_loss_that_is_no_number_stops_the_training_before_it_reaches_the_weights(
    poison: float,
) -> None:
    net = small()

    def loss(step: int, part: slice) -> Tensor:
        return loss_of(net)(step, part) * (poison if step == 4 else 1.0)

    with pytest.raises(EngineError, match=r"step 4: loss .*not finite; lower training\.learning"):
        fit(net, loss, SCHEDULE, quiet=True)
    assert all(torch.isfinite(p).all() for p in net.parameters())


def test_ten_steps_are_a_training_too() -> None:
    short = dataclasses.replace(SCHEDULE, iterations=10)
    net = small()
    assert len(fit(net, loss_of(net), short, quiet=True)) == 10
