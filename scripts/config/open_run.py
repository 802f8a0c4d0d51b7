"""Opening a run folder by the config that it was trained with."""

from dataclasses import replace
from functools import cache
from typing import Any

from etils import epath

from fewstep.cli.config import registry
from fewstep.cli.config.given import PARTS, handing_over, kept_parts, parts_given, usable
from fewstep.cli.config.load import BINDINGS, experiment, load
from fewstep.cli.config.messages import building
from fewstep.cli.errors import UserError
from fewstep.cli.parse import path as parsed_path
from fewstep.errors import UsageError, nearest
from fewstep.train.data.absent import no_data
from fewstep.train.run import Run, restore
from fewstep.train.utils.errors import RunError
from fewstep.train.utils.files import check_is_text, read_text
from fewstep.train.utils.messages import say
from fewstep.train.utils.sealed import config_parts

FOREIGN = ("model_index.json", "config.json")  # of models of other programs


def open_run(
    folder: epath.PathLike,
    trust: bool = False,
    step: int | None = None,
    mesh: tuple[int, ...] = (-1, 1, 1),
    calibrate: bool = False,
    dtype: str | None = None,
    **given: Any,
) -> Run:
    """The run in this folder, ready to sample: `open_run("runs/flow").draw("dpmpp_2m", nfe=10, seeds=range(64))`.

    trust: its config may import code.  step: that of a checkpoint, None for the newest.  mesh: the devices, as for
    `sharding.make_mesh`.  calibrate: measure the variances that a sampler requires if they are missing.  dtype: that of
    the parameters in memory, "float32" or "bfloat16"; by default as they are saved.
    given: the parts that the run was trained with in Python and that its folder does not have, as passed to
    `train_run`: network=MyNet.  data=... replaces the data that the config names, if they have moved.

    Raises UsageError if the folder is not a run or cannot be read, and for parts that are not needed.
    """
    check_is_text(folder)
    path = epath.Path(folder) / "config.gin"
    if not path.parent.exists():
        raise UserError(f"{folder} is not a run: it does not exist")
    if not path.exists() or path.is_dir():
        foreign = path.parent.is_file() or any((path.parent / name).exists() for name in FOREIGN)
        make = f"`fewstep import {folder} --run RUN`" if foreign else "`fewstep train`"
        raise UserError(f"{folder} is not a run: it has no config.gin (make one with {make})")
    params = given.pop("params", None)
    text = read_text(path)
    _check_needed(path, text, given, params)
    parts = kept_parts(path.parent, text) | {name: usable(name, value, params) for name, value in given.items()}
    with BINDINGS, handing_over(parts, trust):
        load(path, trust=trust, includes=False)
        with building(path):
            known = experiment()
        if config_parts(text)[1] is None:
            _say_once(f"{folder} is unsealed, of an earlier fewstep: training it or `fewstep seal {folder}` seals it")

        def load_data():
            if "data" in parts:
                return parts["data"]()
            source = getattr(known.data, "__name__", "")
            moved = f"if the data have moved, edit {source}.path in {path}, and accept it with `fewstep seal {folder}`"
            hint = moved if f"{source}.path" in registry.PATHS else ""
            with BINDINGS, handing_over(parts, trust), building(folder, hint=hint):
                load(path, trust=trust, includes=False)
                return experiment().data()

        try:
            run = restore(folder, known, load_data, step, mesh, dtype)
        except RunError:
            raise
        except UsageError as error:  # gin appends where it was called
            raise UserError(str(error).splitlines()[0]) from None
    own = "network" in parts_given(text)
    has_data = "data" in parts or getattr(known.data, "__name__", "") != no_data.__name__
    return replace(run, calibrates=calibrate, opener=_opener(trust), own=own, has_data=has_data)


def _check_needed(path, text, given, params):
    """UsageError for parts that no run has, and for those that the config of this one names."""
    needed = {*parts_given(text), "data"}
    for name in given:
        if name not in PARTS:
            raise UsageError(f"open_run has no argument {name!r}: {nearest(name, (*PARTS, 'params', 'trust', 'step'))}")
        if name not in needed:
            raise UsageError(f"{path} names the {name} of this run: leave {name}=... out")
    if params is not None and "network" not in given:
        raise UsageError("params are those of a function: pass it too, network=f")


_say_once = cache(say)


@cache
def _opener(trust):
    """Opens other runs in the same way, by their folder and step."""

    def opened(folder, step=None):
        return open_run(parsed_path(folder, "autoguidance.run"), trust=trust, step=step)

    return opened
