"""What the page offers of a run: its samplers, classes and levers, and the span of every slider."""

import inspect
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, get_args, get_origin

from fewstep.cli.verbs.levers import EXAMPLES
from fewstep.errors import UsageError
from fewstep.ranges import Range, members
from fewstep.samplers import GRIDS, SAMPLERS, default_nfe, default_sampler, supports
from fewstep.samplers.registry import FITTED, adds_other_noise
from fewstep.train.run import Run, tables
from fewstep.train.run.levers import LEVERS

CALLS, COUNT = 64, 64  # the most that one request may ask for
# (low, high, start) of a slider where the range of the parameter is wider than its use, or where it has no default.
SPANS = {
    "cfg.scale": (0, 8, 1.5),
    "apg.scale": (0, 8, 1.5),
    "apg.momentum": (-0.9, 0.9, 0),
    "apg.radius": (0.1, 20, math.inf),
    "cfg_pp.strength": (0, 1, 0.6),
    "interval.low": (0, 5, 0.2),
    "interval.high": (0.1, 10, 2),
    "clip_x0.low": (-2, 0, -1),
    "clip_x0.high": (0, 2, 1),
    "dynamic_threshold.quantile": (0.8, 1, 0.995),
    "skip_tuning.rho": (0, 2, 0.8),
    "skip_tuning.outer": (0, 2, 1),
    "freeu.b1": (0, 2, 1.2),
    "freeu.b2": (0, 2, 1.4),
    "freeu.s1": (0, 2, 0.9),
    "freeu.s2": (0, 2, 0.2),
    "upsample_guidance.m": (2, 4, 2),
    "upsample_guidance.theta": (0, 3, 1),
    "attention_scale.power": (-2, 2, 0.5),
    "curvature.probes": (1, 16, 4),
}


@dataclass(frozen=True)
class Parameter:
    """A setting of a lever on the page: a slider, or a box to tick."""

    annotation: Any  # what the server accepts
    low: float
    high: float
    start: Any  # None: infinity
    step: float

    def told(self) -> dict[str, Any]:
        """As the page gets it; `open` means that infinity is allowed, at the end of the slider."""
        if self.annotation is bool:
            return {"flag": True, "start": self.start}
        span = {"low": self.low, "high": self.high, "start": self.start, "step": self.step}
        return span | {"open": get_args(self.annotation)[1].most == math.inf}


def parameters(name: str, part: Callable[..., Any]) -> dict[str, Parameter]:
    """The settings of a lever that the page offers: those with a span, shares, and flags."""
    found = {}
    for key, parameter in inspect.signature(part).parameters.items():
        if parameter.annotation is bool:
            found[key] = Parameter(bool, False, True, parameter.default, 1)
            continue
        annotation = next((m for m in members(parameter.annotation) if get_origin(m) is Annotated), None)
        kind, limits = get_args(annotation) if annotation else (None, None)
        if f"{name}.{key}" in SPANS:
            low, high, start = SPANS[f"{name}.{key}"]
        elif limits == Range(0, 1):
            low, high, start = 0, 1, parameter.default
        else:
            continue
        if kind is int:  # the cost of a draw
            annotation = Annotated[int, Range(low, high)]
        step = 1 if kind is int else 10.0 ** math.floor(math.log10((high - low) / 50))
        found[key] = Parameter(annotation, low, high, None if start == math.inf else start, step)
    return found


@dataclass(frozen=True)
class Offer:
    """What may be asked of a run."""

    samplers: Mapping[str, int | None]  # with the only number of calls, if there is one
    levers: Mapping[str, dict[str, Parameter]]
    told: dict[str, Any]  # as the page gets it


def offer(run: Run) -> Offer:
    """What the page offers of a run, and all that it may ask: no request can name a file."""
    den = run.denoiser
    samplers: dict[str, int | None] = {
        name: None for name, one in SAMPLERS.items() if supports(den, one) and not adds_other_noise(den, one)
    }
    fitted = sorted(tables.folder(run).glob("*.json")) if tables.folder(run).exists() else []
    for name in [tables.PREFIX + path.stem for path in fitted]:
        samplers[name] = tables.sampler(run, name).nfe
    offered = [name for name in LEVERS if name not in ("autoguidance", "ema") and _applies(run, name)]
    levers = {name: parameters(name, LEVERS[name]) for name in offered}
    default, process = default_sampler(run.denoiser), run.model.process
    known = {
        "name": run.name,
        "step": run.step,
        "pixels": max(run.shape[:2]) if len(run.shape) == 3 else None,
        "classes": list(run.names) or [str(i) for i in range(run.model.classes)],
        "sampler": default,
        "calls": min(CALLS, default_nfe(run.denoiser, SAMPLERS[default])),
        "samplers": [
            {"name": name, "calls": calls, "grid": FITTED if calls else SAMPLERS[name].grid_for(process)}
            for name, calls in samplers.items()
        ],
        "levers": [
            {
                "name": name,
                "text": " ".join((inspect.getdoc(LEVERS[name]) or "").split()),
                "parameters": {key: one.told() for key, one in settings.items()},
            }
            for name, settings in levers.items()
        ],
    }
    return Offer(samplers, levers, known)


def page(offers: list[Offer]) -> dict[str, Any]:
    """What the page asks for first."""
    return {"runs": [one.told for one in offers], "grids": list(GRIDS), "calls": CALLS, "count": COUNT}


def _applies(run, name):
    """Whether the model of a run has what a lever changes, such as classes."""
    try:
        run.under(EXAMPLES.get(name) or [LEVERS[name]()])
    except UsageError:
        return False
    return True
