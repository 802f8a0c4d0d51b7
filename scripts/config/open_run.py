"""Opening a run folder by the config that it was trained with."""

from dataclasses import replace
from functools import cache
from typing import Any

from etils import epath

from fewstep.cli.config import registry
from fewstep.cli.config.given import handing_over, usable
from fewstep.cli.config.load import experiment, load
from fewstep.cli.config.messages import one_line
from fewstep.cli.errors import UserError
from fewstep.cli.parse import path as parsed_path
from fewstep.errors import UsageError
from fewstep.train.run import Run, restore


def open_run(
    folder: epath.PathLike,
    trust: bool = False,
    step: int | None = None,
    mesh: tuple[int, ...] = (-1, 1, 1),
    calibrate: bool = False,
    **given: Any,
) -> Run:
    """The run in this folder, ready to sample: `open_run("runs/flow").draw("dpmpp_2m", nfe=10, seeds=range(64))`.

    trust: its config may import code.  step: that of a checkpoint, None for the newest.  mesh: the devices, as for
    `sharding.make_mesh`.  calibrate: measure the variances that a sampler requires if they are missing.
    given: the parts that the run was trained with in Python, as passed to `train_run`: network=MyNet, data=images.
    Raises UserError if the folder is not a run, and RunError if it cannot be read.
    """
    path = epath.Path(folder) / "config.gin"
    if not path.is_file():
        raise UserError(f"{folder} is not a run: it has no config.gin (make one with `fewstep train`)")
    params = given.pop("params", None)
    parts = {name: usable(name, value, params) for name, value in given.items()}
    load(path, trust=trust)
    with handing_over(parts, trust), one_line(path):
        known = experiment()

    def load_data():
        load(path, trust=trust)
        source = getattr(known.data, "__name__", "")
        hint = f"if the data have moved, edit {source}.path in {path}" if f"{source}.path" in registry.PATHS else ""
        with handing_over(parts, trust), one_line(folder, hint=hint):
            return experiment().data()

    with handing_over(parts, trust):
        try:
            run = restore(folder, known, load_data, step, mesh)
        except UsageError as error:  # gin appends where it was called
            raise UserError(str(error).splitlines()[0]) from None
    return replace(run, calibrates=calibrate, opener=_opener(trust))


@cache
def _opener(trust):
    """Opens other runs in the same way, by their folder and step."""

    def opened(folder, step=None):
        return open_run(parsed_path(folder, "autoguidance.run"), trust=trust, step=step)

    return opened
