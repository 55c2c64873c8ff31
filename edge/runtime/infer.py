"""The inference engine: one ONNX Runtime session, state in and out, an honest provider.

The graph is causal and its whole memory is in the state arrays that go in and come out, kept on
the host. That makes three things cheap which are otherwise hard: a restart goes on from a
checkpoint, several lines share one run, and when CUDA fails the CPU computes the *same* step from
the same state, so the plant sees neither a gap nor a repeated step.

Axes: B lines, N model steps, P tags, F features, D pooled features.
"""

from __future__ import annotations

import importlib
import importlib.metadata
from dataclasses import dataclass, fields
from typing import Any, Literal

import numpy as np

from edge.core.tags import FloatArray
from edge.runtime.bundle import LoadedBundle

State = dict[str, FloatArray]
"""State tensor name -> float32[B, ...]. Never modified in place: a run returns a new one."""

BLOCK_STEPS = 60
"""Steps per call when catching up: activations stay in the processor's cache."""

GOLDEN_LIMIT = 2e-3
"""Largest |difference| from the golden outputs at load. Processors round differently (measured
below 1e-5 between two x86 machines); a wrong graph or a broken provider is off by far more."""

_CUDA = "CUDAExecutionProvider"
_CPU = "CPUExecutionProvider"
_CUDA_OPTIONS = {
    "use_tf32": "0",  # the same numbers as the CPU, or the fallback would step
    "cudnn_conv_algo_search": "HEURISTIC",
    "arena_extend_strategy": "kSameAsRequested",
    "gpu_mem_limit": str(1 << 30),
}


class EngineRefused(RuntimeError):  # noqa: N818 - named for the outcome
    """No session can be built, or it does not reproduce the bundle's golden vectors."""


class InferenceFailed(RuntimeError):  # noqa: N818 - named for the outcome
    """A run raised, or its outputs are not numbers in their permitted range."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StepOutputs:
    """What the graph says about B lines and N steps, float32."""

    logit: FloatArray
    """[B, N] fused and calibrated; probability = sigmoid(logit)."""
    severity: FloatArray
    """[B, N, 3] P(severity >= 1, 2, 3), falling."""
    cam: FloatArray
    """[B, N, P] share of each tag in `classifier`."""
    deviation: FloatArray
    """[B, N, P] signed smoothed deviation from the reference, in normal spreads."""
    pooled: FloatArray
    """[B, N, D] for drift."""
    classifier: FloatArray
    """[B, N] logit of the adapted classifier."""
    deviation_score: FloatArray
    """[B, N] logit of the label-free deviation head."""
    kinds: FloatArray
    """[B, N, K] probability of each of the card's kinds, given that there is a defect."""

    @property
    def probability(self) -> FloatArray:
        """[B, N] defect probability."""
        clipped = np.clip(self.logit.astype(np.float64), -60.0, 60.0)
        return np.asarray(1.0 / (1.0 + np.exp(-clipped)), np.float32)


_OUTPUTS = tuple(field.name for field in fields(StepOutputs))


class Engine:
    """A session for one bundle.

    Attributes:
        provider: "cuda" or "cpu": what really runs, as the session itself reports it.
        reason: why this provider; to be shown to the operator.
        fallback: a GPU was asked for, or its runtime is installed, and yet the CPU runs.
        demotions: number of times a CUDA fault handed the work to the CPU.
    """

    def __init__(
        self, bundle: LoadedBundle, provider: Literal["auto", "cpu", "cuda"] = "auto"
    ) -> None:
        """Build the session and run the golden self-test.

        Raises:
            EngineRefused: no usable onnxruntime, the graph does not fit the card, or the golden
                vectors are not reproduced.
        """
        self.bundle = bundle
        self.provider = "cpu"
        self.reason = ""
        self.fallback = False
        self.demotions = 0
        self._ort = _onnxruntime()
        self._cuda: Any = None
        self._cpu: Any = self._session([_CPU])
        self._check_graph()
        self._names = [*_OUTPUTS, *(f"{state.name}_next" for state in bundle.card.states)]
        golden = self._golden(self._cpu)
        if golden:
            raise EngineRefused(f"{bundle.directory}: {golden}")
        self._choose(provider)

    def initial_state(self, lines: int = 1) -> State:
        """Zeros: the state before the first step of a batch."""
        return {
            state.name: np.zeros((lines, *state.shape), np.float32)
            for state in self.bundle.card.states
        }

    def run(
        self,
        state: State,
        features: FloatArray,
        valid: FloatArray,
        loc: FloatArray,
        scale: FloatArray,
    ) -> tuple[StepOutputs, State]:
        """Advance B lines by N steps.

        Args:
            state: as returned by the previous run, or `initial_state(B)`; not modified.
            features: float32[B, N, P, F], engineering units.
            valid: float32[B, N, P], share of good rows, 0..1.
            loc, scale: float32[B, N, P, F], reference of each step (`LoadedBundle.reference`).

        Raises:
            InferenceFailed: the run raised or gave a number outside its range; `state` still
                stands and the caller may try the same step again.
        """
        feed: dict[str, FloatArray] = {
            "features": features,
            "valid": valid,
            "loc": loc,
            "scale": scale,
            **state,
        }
        if self._cuda is not None:
            try:
                return self._run(self._cuda, feed)
            except InferenceFailed as error:
                # A CUDA fault poisons the context of the whole process: never go back.
                self._cuda = None
                self.provider, self.fallback = "cpu", True
                self.reason = f"CUDA failed, CPU continues from the same state: {error}"
                self.demotions += 1
        return self._run(self._cpu, feed)

    def run_blocks(
        self,
        state: State,
        features: FloatArray,
        valid: FloatArray,
        first_batch_step: int,
    ) -> tuple[StepOutputs, State]:
        """Replay N steps of one line from the ring, in blocks: warm-up, catch-up, re-scoring.

        Args:
            state: of one line (B = 1).
            features: float32[N, P, F], N >= 1, consecutive steps.
            valid: float32[N, P].
            first_batch_step: model steps from the start of the batch to the first of them.

        Returns:
            Outputs of all N steps and the state after the last.

        Raises:
            InferenceFailed: as `run`.
        """
        parts = []
        for first in range(0, len(features), BLOCK_STEPS):
            block = slice(first, min(first + BLOCK_STEPS, len(features)))
            steps = range(first_batch_step + block.start, first_batch_step + block.stop)
            loc, scale = self.bundle.reference(steps)
            outputs, state = self.run(
                state, features[None, block], valid[None, block], loc[None], scale[None]
            )
            parts.append(outputs)
        joined = {
            name: np.concatenate([getattr(part, name) for part in parts], axis=1)
            for name in _OUTPUTS
        }
        return StepOutputs(**joined), state

    def _run(self, session: Any, feed: dict[str, FloatArray]) -> tuple[StepOutputs, State]:
        try:
            arrays = session.run(self._names, feed)
        except Exception as error:  # onnxruntime raises a family of its own, without a common base
            raise InferenceFailed(f"onnxruntime: {' '.join(str(error).split())[:300]}") from error
        named = dict(zip(self._names, arrays))
        for name, array in named.items():
            if not np.isfinite(array).all():
                raise InferenceFailed(f'output "{name}" holds NaN or infinity')
        severity = named["severity"]
        if severity.size and (severity.min() < -1e-5 or severity.max() > 1 + 1e-5):
            raise InferenceFailed(
                f'output "severity" spans {severity.min():g}..{severity.max():g}, permitted 0..1'
            )
        outputs = StepOutputs(**{name: named[name] for name in _OUTPUTS})
        states = {name[: -len("_next")]: named[name] for name in self._names[len(_OUTPUTS) :]}
        return outputs, states

    def _session(self, providers: list[Any]) -> Any:
        options = self._ort.SessionOptions()
        # One thread, no spinning: the step never gains from a second thread, and a spinning one
        # costs the acquisition loop milliseconds of processor time after every run.
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        options.execution_mode = self._ort.ExecutionMode.ORT_SEQUENTIAL
        options.graph_optimization_level = self._ort.GraphOptimizationLevel.ORT_ENABLE_ALL
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        # What was checked is ONNX; the runtime must not take it for its own format.
        options.add_session_config_entry("session.load_model_format", "ONNX")
        options.log_severity_level = 3
        try:
            session = self._ort.InferenceSession(
                self.bundle.model, sess_options=options, providers=providers
            )
        except Exception as error:
            raise EngineRefused(
                f"{self.bundle.directory}: onnxruntime {self._ort.__version__} cannot load the "
                f"graph: {' '.join(str(error).split())[:300]}"
            ) from error
        session.disable_fallback()
        return session

    def _check_graph(self) -> None:
        card = self.bundle.card
        have = {item.name for item in self._cpu.get_inputs()}
        want = {"features", "valid", "loc", "scale", *(state.name for state in card.states)}
        out = {item.name for item in self._cpu.get_outputs()}
        needed = {*_OUTPUTS, *(f"{state.name}_next" for state in card.states)}
        if have != want or not needed <= out:
            raise EngineRefused(
                f"{self.bundle.directory}: the graph has inputs {sorted(have)} and outputs "
                f"{sorted(out)}, the card asks for {sorted(want)} and {sorted(needed)}; "
                "export the bundle again"
            )

    def _golden(self, session: Any) -> str:
        """ "" or how the session differs from the bundle's golden vectors."""
        golden = self.bundle.golden
        feed = {name: golden[name] for name in ("features", "valid", "loc", "scale")}
        try:
            outputs, _ = self._run(session, {**feed, **self.initial_state(1)})
        except InferenceFailed as error:
            return f"golden self-test failed: {error}"
        card, drift = self.bundle.card, self.bundle.drift
        widths = {
            "cam": (len(card.tags), "tags on the card"),
            "deviation": (len(card.tags), "tags on the card"),
            "pooled": (len(drift.mean), "features of drift.npz"),
            "kinds": (len(card.kinds), "kinds of defect on the card"),
            "severity": (3, "levels of severity"),
        }
        for name, (width, of_what) in widths.items():
            shape = getattr(outputs, name).shape
            if shape[-1:] != (width,):
                return f'output "{name}" has shape {list(shape)}; there are {width} {of_what}'
        for name in _OUTPUTS:
            if name not in golden:
                return f'golden self-test failed: golden.npz holds no expected output "{name}"'
            actual = getattr(outputs, name)
            expected = golden[name]
            if actual.shape != expected.shape:
                return (
                    f'golden self-test failed: "{name}" has shape {list(actual.shape)}, '
                    f"expected {list(expected.shape)}"
                )
            worst = float(np.abs(actual - expected).max())
            if worst > GOLDEN_LIMIT:
                return (
                    f'golden self-test failed: "{name}" differs by {worst:.3g}, '
                    f"permitted is {GOLDEN_LIMIT:g}"
                )
        return ""

    def _choose(self, provider: str) -> None:
        if provider == "cpu":
            self.reason = "CPU chosen in the configuration"
            return
        if _CUDA not in self._ort.get_available_providers():
            self.reason = "this onnxruntime has no CUDA provider (extra `gpu` not installed)"
            self.fallback = provider == "cuda"
            return
        self.fallback = True
        try:
            session = self._session([(_CUDA, _CUDA_OPTIONS), _CPU])
        except EngineRefused as error:
            self.reason = f"CUDA session failed: {error}"
            return
        # The list of available providers only says what was compiled in; a session that could not
        # load CUDA silently runs on the CPU.
        first = session.get_providers()[0]
        if first != _CUDA:
            self.reason = "onnxruntime could not start CUDA (driver, CUDA or cuDNN missing)"
            return
        golden = self._golden(session)
        if golden:
            self.reason = f"CUDA does not agree with the CPU: {golden}"
            return
        self._cuda = session
        self.provider, self.fallback = "cuda", False
        self.reason = "CUDA available and equal to the CPU on the golden vectors"


def _onnxruntime() -> Any:
    """Import onnxruntime. Raises EngineRefused if it is absent or installed twice."""
    found = []
    for name in ("onnxruntime", "onnxruntime-gpu"):
        try:
            importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
        found.append(name)
    if len(found) == 2:
        raise EngineRefused(
            "onnxruntime and onnxruntime-gpu are both installed and overwrite one another; "
            "uninstall both, then install exactly one: pip install 'ncm-edge[cpu]' or "
            "'ncm-edge[gpu]'"
        )
    try:
        return importlib.import_module("onnxruntime")
    except ImportError as error:
        raise EngineRefused(
            f"onnxruntime cannot be imported ({error}); pip install 'ncm-edge[cpu]' "
            "or 'ncm-edge[gpu]'"
        ) from error
