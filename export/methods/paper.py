"""The published recipe (export/learn/paper.py) as a method: four phases, model 2 predicts."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from export.data.dataset import Batch, FloatArray
from export.judge.task import Scorer, Task
from export.learn.paper import Fitted, fit_models
from export.learn.recipe import load_recipe
from export.methods import NotApplicable
from export.methods.samples import on_side


@dataclass
class Paper:
    """`recipe`: "paper" (maximum mean discrepancy) or "paper-mse" (mean squared error)."""

    recipe: str = "paper"
    family: str = "paper"

    @property
    def name(self) -> str:
        """Row label."""
        return f"paper, four phases ({load_recipe(self.recipe).paper.domain_loss.upper()})"

    def fit(self, task: Task, seed: int) -> Scorer:
        """All four phases. Raises NotApplicable without labels of both classes in the target."""
        recipe = dataclasses.replace(load_recipe(self.recipe), seed=seed)
        try:
            fitted = fit_models(on_side(task, "source"), on_side(task, "target"), recipe, True)
        except ValueError as error:
            raise NotApplicable(str(error)) from error
        return _ModelTwo(fitted)


class _ModelTwo:
    def __init__(self, fitted: Fitted) -> None:
        self.fitted = fitted
        self.history = fitted.history

    def score(self, samples: Sequence[Batch]) -> FloatArray:
        """Logit of the target's model."""
        return np.asarray(self.fitted.logit(samples), np.float32)
