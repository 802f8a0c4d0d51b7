"""Options shared by several commands, as dataclasses: a command takes each group as one parameter."""

import inspect
from collections.abc import Callable
from dataclasses import MISSING, dataclass, field, fields, is_dataclass
from functools import wraps
from typing import Annotated

import typer

SEVERAL = "Several processes"
Batch = Annotated[
    str, typer.Option(metavar="N|auto", help="Images sampled at once; auto: as many as this machine samples fastest.")
]


@dataclass(frozen=True, kw_only=True)
class Trust:
    """Whether a config may import code."""

    trust: Annotated[bool, typer.Option("--trust", help="Allow the config to import code.")] = False


@dataclass(frozen=True, kw_only=True)
class Reading(Trust):
    """How a run is opened to read its data."""

    data: Annotated[
        str | None, typer.Option("--data", help="Data of an imported run: digits, a folder of images, an .npz.")
    ] = None


@dataclass(frozen=True, kw_only=True)
class Overrides(Trust):
    """Values that replace those of a config, and whether it may import code."""

    set: Annotated[
        list[str], typer.Option("--set", metavar="NAME.PARAMETER=VALUE", help="Override a config value.")
    ] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """Which checkpoint of a run is opened."""

    step: Annotated[int | None, typer.Option("--step", help="The checkpoint of this step; the newest by default.")] = (
        None
    )


@dataclass(frozen=True, kw_only=True)
class Levers:
    """The levers around the network."""

    lever: Annotated[
        list[str], typer.Option("--lever", help='A lever, such as "cfg(1.5)" or clip_x0; innermost first.')
    ] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True)
class Opening(Overrides, Checkpoint, Reading):
    """How a run is opened: from which checkpoint, on which devices."""

    mesh: Annotated[
        str, typer.Option("--mesh", help="Device mesh: data,fsdp,tensor; -1 stands for all other devices.")
    ] = "-1,1,1"
    dtype: Annotated[
        str | None, typer.Option("--dtype", help="Precision of the parameters in memory: float32 or bfloat16.")
    ] = None


@dataclass(frozen=True, kw_only=True)
class Sampling(Levers):
    """How images are sampled from a run: as it was typed, before names are looked up (`verbs.sampling.look_up`)."""

    sampler: Annotated[
        str | None, typer.Option(help="One of `fewstep samplers`; by default dpmpp_2m, or that of a few-step model.")
    ] = None
    nfe: Annotated[
        int | None, typer.Option(help="Maximum network calls per image; 16 by default, fewer for few-step models.")
    ] = None
    grid: Annotated[str | None, typer.Option(help="Step grid; by default the process's or the sampler's.")] = None


@dataclass(frozen=True, kw_only=True)
class PairSampling(Sampling):
    """As pairs are drawn: along an ODE, from pure noise."""

    sampler: Annotated[str, typer.Option(help="A deterministic sampler.")] = "heun"
    nfe: Annotated[int, typer.Option(help="Maximum network calls per image.")] = 79
    grid: Annotated[str, typer.Option(help="A step grid that starts at pure noise.")] = "uniform"


@dataclass(frozen=True, kw_only=True)
class Calibrate:
    """Whether missing statistics are measured."""

    calibrate: Annotated[
        bool, typer.Option("--calibrate", help="Measure the variances that a sampler requires if they are missing.")
    ] = False


@dataclass(frozen=True, kw_only=True)
class Cluster:
    """One process of several that run the same command."""

    distributed: Annotated[
        bool, typer.Option("--distributed", help="Run as one of several processes.", rich_help_panel=SEVERAL)
    ] = False
    coordinator: Annotated[
        str | None,
        typer.Option(
            metavar="HOST:PORT", help="Address of process 0; by default from the environment.", rich_help_panel=SEVERAL
        ),
    ] = None
    processes: Annotated[int | None, typer.Option(help="Number of processes.", rich_help_panel=SEVERAL)] = None
    process: Annotated[int | None, typer.Option(help="Index of this process, from 0.", rich_help_panel=SEVERAL)] = None


def flat(function: Callable) -> Callable:
    """The function as typer reads it: the fields of a parameter that is a dataclass are options of their own."""
    given = inspect.signature(function, eval_str=True).parameters.values()
    groups = {p.name: p.annotation for p in given if isinstance(p.annotation, type) and is_dataclass(p.annotation)}
    parameters = [parameter for p in given for parameter in (_options(groups[p.name]) if p.name in groups else [p])]

    @wraps(function)
    def flattened(**values):
        made = {name: group(**{f.name: values.pop(f.name) for f in fields(group)}) for name, group in groups.items()}
        return function(**values, **made)

    kind = inspect.Parameter.KEYWORD_ONLY
    vars(flattened)["__signature__"] = inspect.Signature([p.replace(kind=kind) for p in parameters])
    flattened.__annotations__ = {p.name: p.annotation for p in parameters}
    return flattened


def _options(group):
    for f in fields(group):
        default = f.default if f.default_factory is MISSING else f.default_factory()
        yield inspect.Parameter(f.name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=f.type)
