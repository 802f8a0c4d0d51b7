"""What a run is told: everything that a config sets, in one place."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from inspect import isclass
from typing import Any

from flax import nnx

from fewstep.diffusion.denoiser import JUMP, Model
from fewstep.diffusion.errors import UsageError
from fewstep.diffusion.levers import LEVERS
from fewstep.diffusion.networks import axes, split
from fewstep.diffusion.prediction import VELOCITY, Prediction
from fewstep.diffusion.process import Linear, Process
from fewstep.diffusion.variance import Variance
from fewstep.train.objectives.objective import Objective


@dataclass(frozen=True)
class Experiment:
    """The parts of a training run, as constructors where they depend on one another.

    data() -> Dataset; network(shape, classes, rngs=...) -> module; optimizer(steps) -> optax transformation.
    A batch is worked off in `accumulate` parts, with the numbers of one.  flip: each training image is mirrored with
    probability 1/2, every time it is seen.  conditional: the network is told the labels, if the
    data have any.  mesh: devices along (data, fsdp, tensor), -1 for all that are left.  Raises UsageError for numbers
    that make no sense.
    """

    data: Callable
    network: Callable
    objective: Callable
    optimizer: Callable
    process: Process = Linear()
    prediction: Prediction = VELOCITY
    pairs: Callable | None = None  # () -> Split of pairs that take the place of the training images
    variance: Variance | None = None  # what a second output of the network tells
    steps: int = 10_000
    batch_size: int = 64
    seed: int = 0
    ema: tuple = (0.999,)
    accumulate: int = 1
    flip: bool = False
    conditional: bool = True
    mesh: tuple = (-1, 1, 1)
    log_every: int = 10
    save_every: int = 500
    preview_every: int = 500
    wandb: str | None = None  # a project
    levers: tuple = ()  # of previews and their scores, innermost first: (cfg(1.5),)

    def __post_init__(self):
        for name in ("steps", "batch_size", "accumulate", "log_every", "save_every", "preview_every"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise UsageError(f"train.{name} is a whole number, at least 1: got {value!r}")
        if isinstance(self.seed, bool) or not isinstance(self.seed, int) or not 0 <= self.seed < 2**32:
            raise UsageError(f"train.seed is a whole number from 0 to 2^32 - 1: got {self.seed!r}")
        if (
            not isinstance(self.ema, tuple)
            or not self.ema
            or not all(isinstance(decay, float) and 0 <= decay < 1 for decay in self.ema)
        ):
            raise UsageError(f"train.ema is a tuple of decays in [0, 1), such as (0.999,): got {self.ema!r}")
        if self.wandb is not None and (not isinstance(self.wandb, str) or not self.wandb):
            raise UsageError(f"train.wandb is the name of a project, or None: got {self.wandb!r}")
        kinds = {"process": Process, "prediction": Prediction} | ({"variance": Variance} if self.variance else {})
        for name, kind in kinds.items():
            if not isinstance(getattr(self, name), kind):
                given = getattr(self, name)
                hint = f": write it with brackets, @{given.__name__}()" if isclass(given) else ""
                raise UsageError(f"train.{name} is not a {kind.__name__.lower()}: got {given!r}{hint}")
        start, _ = self.process.ends
        if self.prediction.det(self.process, start) == 0:
            raise UsageError(
                f"train.prediction: {type(self.process).__name__} starts at alpha = 0, where this prediction says "
                f"nothing about x0: choose VELOCITY, V, X0 or edm, or a process such as VP"
            )
        for name in ("data", "network", "objective", "optimizer", *(["pairs"] if self.pairs else [])):
            if not callable(getattr(self, name)):
                raise UsageError(f"train.{name} is not something to call, such as @{name}: got {getattr(self, name)!r}")
        levers = self.levers if isinstance(self.levers, tuple) else [self.levers]
        unmade = [lever for lever in levers if getattr(lever, "__name__", "") in LEVERS or not callable(lever)]
        if unmade or levers is not self.levers:
            raise UsageError("train.levers is a tuple of levers with brackets, such as (@cfg(), @clip_x0())")
        if isclass(self.objective):
            raise UsageError("train.objective is an objective itself: write it with brackets, as in @denoising()")
        if not isinstance(self.objective, Objective):
            raise UsageError(f"train.objective is an Objective: subclass fewstep.Objective; got {self.objective!r}")
        if bool(self.pairs) != self.objective.needs_pairs:
            raise UsageError("train.pairs and the objective @reflow() belong together: set both or neither")
        if getattr(self.objective, "until", 0) is None:
            object.__setattr__(self, "objective", replace(self.objective, until=self.steps))

    def _build(self, shape, classes):
        more = {"variance": True} if self.variance else {}
        more |= {"jumps": True} if JUMP in self.objective.capabilities else {}
        return lambda: self.network(tuple(shape), self._told(classes), rngs=nnx.Rngs(self.seed), **more)

    def _told(self, classes):
        """How many of the data's classes the network knows."""
        return classes if self.conditional else 0

    def params(self, shape, classes) -> Any:
        """Freshly initialised parameters for images of this shape; may be called under jax.jit, with the same bits."""
        return split(self._build(shape, classes)())[1]

    def abstract(self, shape, classes) -> tuple[Model, Any]:
        """The model with the shapes of its parameters; nothing is initialised.

        What a module says of its `levels` and whether it `attends` is the model's; one that says nothing has none.
        """
        module = nnx.eval_shape(self._build(shape, classes))
        apply, shapes = split(module)
        told = self._told(classes), self.objective.capabilities, self.variance
        hears = {name: getattr(module, name, default) for name, default in (("levels", 0), ("attends", False))}
        return Model(apply, self.process, self.prediction, *told, **hears), shapes

    def axes(self, shape, classes) -> Any:
        """The logical names of the axes of the parameters."""
        return axes(self._build(shape, classes))
