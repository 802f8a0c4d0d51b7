"""The configuration of a training run: everything that a config sets."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from inspect import isclass
from typing import Annotated, Any, cast

import jax
import jax.numpy as jnp
import optax
from flax import nnx

from fewstep.diffusion.denoiser import JUMP, Cond, Model
from fewstep.diffusion.levers import LEVERS
from fewstep.diffusion.networks import axes, fused_heads, one_key, split
from fewstep.diffusion.prediction import VELOCITY, Prediction
from fewstep.diffusion.process import Linear, Process
from fewstep.diffusion.variance import Variance
from fewstep.errors import UsageError
from fewstep.ranges import Count, Fraction, Range, Seed, checked_as
from fewstep.train.data.semidiscrete import Semidiscrete
from fewstep.train.ema import Length
from fewstep.train.objectives.objective import Objective
from fewstep.train.optimizers.chain import built

Devices = Annotated[int, Range(-1, 1_000_000)]


@checked_as("train")
@dataclass(frozen=True)
class Experiment:
    """The parts of a training run, as factories where they depend on each other.

    data() -> Dataset; network(shape, classes, rngs=...) -> module; optimizer(steps) -> optax transformation.
    minutes: at most; `train.run.limit` turns them into a number of steps when a run begins.
    accumulate: the number of parts of a batch over which gradients are accumulated, with the result of the whole batch.
    flip: each training image is mirrored with probability 1/2, each time it is used.  conditional: the network gets the
    labels, if the data has any.  mesh: numbers of devices along (data, fsdp, tensor), where -1 means all that remain.
    Raises UsageError for invalid values.
    """

    data: Callable
    network: Callable
    objective: Callable
    optimizer: Callable
    process: Process = Linear()
    prediction: Prediction = VELOCITY
    pairs: Callable | None = None  # () -> Split of pairs that replace the training images
    coupling: Semidiscrete | None = None  # of noise and images; None: they are independent
    variance: Variance | None = None  # the kind of variance that the second output of the network predicts
    steps: Count = 10_000
    minutes: Annotated[float, Range(above=0, most=1e6)] | None = None
    batch_size: Count = 64
    seed: Seed = 0
    ema: tuple[Fraction, ...] = (0.999,)  # decays
    ema_lengths: tuple[Length, ...] = ()  # of averages from which any other length is rebuilt: (0.05, 0.1)
    accumulate: Count = 1
    flip: bool = False
    conditional: bool = True
    mesh: tuple[Devices, ...] = (-1, 1, 1)
    log_every: Count = 10
    save_every: Count = 500
    preview_every: Count = 500
    patience: Count | None = None  # training ends after so many previews without a lower Frechet distance
    wandb: str | None = None  # the name of a project
    levers: tuple = ()  # for previews and their scores, innermost first: (cfg(1.5),)

    def __post_init__(self):
        if not (isinstance(self.ema, tuple) and self.ema and all(isinstance(decay, float) for decay in self.ema)):
            raise UsageError(f"train.ema must be a tuple of decays in [0, 1), such as (0.999,): got {self.ema!r}")
        if len({*self.ema_lengths}) != len(self.ema_lengths) or len(self.ema_lengths) == 1:
            raise UsageError(
                f"train.ema_lengths must be two or more different lengths, such as (0.05, 0.1): got {self.ema_lengths}"
            )
        if self.wandb is not None and (not isinstance(self.wandb, str) or not self.wandb):
            raise UsageError(f"train.wandb must be the name of a project, or None: got {self.wandb!r}")
        kinds = {"process": Process, "prediction": Prediction} | ({"variance": Variance} if self.variance else {})
        for name, kind in kinds.items():
            if not isinstance(getattr(self, name), kind):
                given = getattr(self, name)
                hint = f": write it with brackets, @{given.__name__}()" if isclass(given) else ""
                raise UsageError(f"train.{name} is not a {kind.__name__.lower()}: got {given!r}{hint}")
        if self.variance:
            self.process.check_gaussian("train.variance")
        start, _ = self.process.ends
        if self.prediction.det(self.process, start) == 0:
            raise UsageError(
                f"train.prediction: {type(self.process).__name__} starts at alpha = 0, where this prediction does not "
                f"determine x0: choose VELOCITY, V, X0 or edm, or a process such as VP"
            )
        for name in ("data", "network", "objective", "optimizer", *(["pairs"] if self.pairs else [])):
            if not callable(getattr(self, name)):
                raise UsageError(f"train.{name} must be callable, such as @{name}: got {getattr(self, name)!r}")
        levers = self.levers if isinstance(self.levers, tuple) else [self.levers]
        unmade = [lever for lever in levers if getattr(lever, "__name__", "") in LEVERS or not callable(lever)]
        if unmade or levers is not self.levers:
            raise UsageError("train.levers must be a tuple of levers with brackets, such as (@cfg(), @clip_x0())")
        if isclass(self.objective):
            raise UsageError("train.objective must be an instance: write it with brackets, as in @denoising()")
        if not isinstance(self.objective, Objective):
            raise UsageError(f"train.objective must subclass fewstep.Objective: got {self.objective!r}")
        if bool(self.pairs) != self.objective.needs_pairs:
            raise UsageError("train.pairs and the objective @reflow() require each other: set both or neither")
        if self.objective.whole_batch and self.accumulate > 1:
            raise UsageError("the loss of this objective is of a whole batch: set train.accumulate = 1")
        if auxiliary := self.objective.auxiliary:
            if self.variance not in (None, auxiliary):
                raise UsageError("this objective has a second output of its own: set train.variance = None")
            object.__setattr__(self, "variance", auxiliary)
        if getattr(self.objective, "until", 0) is None:
            objective: Any = self.objective
            object.__setattr__(self, "objective", replace(objective, until=self.steps))
        if self.coupling is not None:
            self._check_coupling()

    def _check_coupling(self):
        if not isinstance(self.coupling, Semidiscrete):
            raise UsageError("train.coupling must be an instance: write it with brackets, as in @semidiscrete()")
        self.process.check_gaussian("train.coupling")
        objective = cast(Objective, self.objective)
        if not objective.needs_images or objective.copies:
            raise UsageError(
                "train.coupling is for objectives that noise images of the data, unlike this one: set None"
            )
        if self.pairs or self.variance not in (None, objective.auxiliary):
            other = "train.pairs, which have noise of their own" if self.pairs else "train.variance"
            raise UsageError(f"train.coupling does not go with {other}: set one of the two to None")

    def _build(self, shape, classes):
        more = {"variance": True} if self.variance else {}
        objective = cast(Objective, self.objective)
        more |= {"jumps": True} if JUMP in objective.capabilities else {}
        more |= {"guided": True} if objective.guided else {}
        return lambda rngs: self.network(tuple(shape), self._known_classes(classes), rngs=rngs, **more)

    @cached_property
    def _modules(self) -> dict[tuple, Any]:
        return {}

    def _module(self, shape, classes):
        """The network, with shapes in place of parameters."""
        if (known := (*shape, classes)) not in self._modules:
            self._modules[known] = nnx.eval_shape(lambda: self._build(shape, classes)(one_key()))
        return self._modules[known]

    def _known_classes(self, classes):
        """The number of classes of the network."""
        return classes if self.conditional else 0

    def params(self, shape: tuple, classes: int) -> Any:
        """Initial parameters for images of this shape; under jax.jit the result has the same bits."""
        return split(self._build(shape, classes)(nnx.Rngs(self.seed)))[1]

    def abstract(self, shape: tuple, classes: int) -> tuple[Model, Any]:
        """The model and the shapes of its parameters, without initializing them.

        `levels`, `attends` and `null_class` of the model are attributes of the module, by default 0, False and True.
        """
        module = self._module(shape, classes)
        apply, shapes = split(module)
        objective, known = cast(Objective, self.objective), self._known_classes(classes)
        options: dict[str, Any] = {"levels": getattr(module, "levels", 0), "attends": getattr(module, "attends", False)}
        options |= {"null_class": getattr(module, "null_class", True), "guided": objective.guided}
        options |= {"variance": self.variance, "calls": objective.trained_calls}
        return Model(apply, self.process, self.prediction, known, objective.capabilities, **options), shapes

    def extra_params(self, shape: tuple, classes: int) -> dict[str, Any]:
        """Initial values of what the objective trains besides the network, {group: pytree}."""
        objective = cast(Objective, self.objective)
        extra = objective.extra_params()
        if not objective.uses_features:
            return extra
        return extra | objective.feature_params(self._features(shape, classes), self.seed)

    def _features(self, shape, classes):
        """The number of features that the network returns, 0 if there are none."""
        model, params = self.abstract(shape, classes)
        x, time = (jax.ShapeDtypeStruct((1, *size), jnp.float32) for size in (shape, ()))
        label = jax.ShapeDtypeStruct((1,), jnp.int32)

        def features(params, x, t, d, label):
            return model.with_features(params, x, t, d, Cond(label), None)[2]

        jump = time if JUMP in model.capabilities else None
        found = jax.eval_shape(features, params, x, time, jump, label if model.classes else None)
        return 0 if found is None else found.shape[1]

    def optimizer_for(self, shape: tuple, classes: int) -> optax.GradientTransformation:
        """The optimizer of all groups of parameters."""
        heads = fused_heads(self._module(shape, classes))
        return cast(Objective, self.objective).optimizer(built(self.optimizer, self.steps, heads), self.steps, heads)

    def axes(self, shape: tuple, classes: int) -> Any:
        """The logical names of the axes of the parameters."""
        return axes(self._module(shape, classes))
