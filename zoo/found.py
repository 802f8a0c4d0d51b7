"""What an importer finds in the files of a foreign model."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from fewstep.diffusion.prediction import Prediction
from fewstep.diffusion.process import Process
from fewstep.diffusion.variance import Variance
from fewstep.train.objectives import Objective
from fewstep.train.objectives.denoising import Denoising
from fewstep.zoo.layout import Arrays, Leaves


@dataclass(frozen=True)
class Found:
    """A foreign model in our terms.

    network: a constructor of `diffusion.networks`, a functools.partial with its arguments, as in an Experiment.
    objective: what the model learned, in one of ours with its settings; its `capabilities` are those of the model.
    arrays: the foreign arrays by name; leaves: where each of our parameters comes from in them, and more; arrays that
    the network does not use are kept for export, and `unused` names the kinds that were left out knowingly.
    texts: the source's own small files, such as configs, and `weights` the name of its weights, as export writes them.
    sampled: what the authors sampled with, in their words; options: the words of `fewstep sample` that reproduce it;
    differs: what these words do not reproduce.
    chosen: which of several sets of weights these are, as the file calls it, such as "ema"; "" if it has only one.
    """

    kind: str  # "UNet2DModel of diffusers"
    network: Callable[..., Any]
    process: Process
    prediction: Prediction
    shape: tuple[int, ...]  # of an image, (H, W, C)
    arrays: Arrays
    leaves: Leaves
    files: tuple[str, ...]  # all that was read
    licence: str
    classes: int = 0
    variance: Variance | None = None
    objective: Objective = field(default_factory=Denoising)
    sampled: Mapping[str, Any] = field(default_factory=dict)
    options: str = ""
    differs: str = ""
    unused: tuple[str, ...] = ()  # the beginnings of names
    texts: Mapping[str, str] = field(default_factory=dict)
    weights: str = "model.safetensors"
    chosen: str = ""
