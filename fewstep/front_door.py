"""What Python users call: train a run, compare what there is, measure images."""

from collections.abc import Callable
from typing import Any

from etils import epath
from flax import nnx

from fewstep.cli.config.given import usable
from fewstep.cli.config.open_run import open_run
from fewstep.cli.config.text import config_text
from fewstep.cli.verbs.train import train_in
from fewstep.diffusion.prediction import VELOCITY, Prediction
from fewstep.diffusion.process import Linear, Process
from fewstep.train.experiment import Experiment
from fewstep.train.loop import prepare
from fewstep.train.objectives import Denoising, Objective
from fewstep.train.optimizers import adamw
from fewstep.train.run import Run


def train_run(
    folder: epath.PathLike,
    *,
    data: Any,
    network: nnx.Module | Callable[..., Any],
    params: Any = None,
    objective: Objective = Denoising(),
    optimizer: Any = adamw,
    process: Process = Linear(),
    prediction: Prediction = VELOCITY,
    init_from: str | None = None,
    **settings: Any,
) -> Run:
    """Train a model in a folder and open it; given again, training resumes where it stopped.

    data: images (N, H, W, C) or points (N, d), uint8 or in [-1, 1]; or (images, labels), a `Dataset`, a function that
    makes one.  network: ours (UNet, DiT, MLP, or a functools.partial of one), an own NNX module, its class, or with
    `params` a function f(params, x, t, ...): see `diffusion.networks.own.constructor`.  optimizer: an optax
    transformation, or a function of the number of steps that makes one.  init_from: another run whose averaged weights
    training starts from.  settings: those of `Experiment`, such as steps, batch_size, seed, ema, save_every.

    Raises UsageError for what does not fit, before anything is written.
    """
    given = {"data": data, "network": network, "objective": objective, "optimizer": optimizer} | settings
    given |= {"process": process, "prediction": prediction}
    made = {name: usable(name, value, params if name == "network" else None) for name, value in given.items()}
    experiment = Experiment(**made)
    training = prepare(experiment, experiment.data())
    named = given | {"network": network if params is None else _Unnamed()}
    train_in(epath.Path(folder), training, config_text(experiment, named), init_from=init_from)
    parts = {name: given[name] for name in ("data", "network", "objective", "process", "prediction")}
    return open_run(folder, **parts, **({} if params is None else {"params": params}))


class _Unnamed:
    """What no config names."""
