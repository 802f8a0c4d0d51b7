"""Whether a config goes on with the run in a folder, and for how many steps."""

from collections.abc import Callable

from etils import epath

from fewstep.cli.config.load import difference
from fewstep.cli.errors import UserError
from fewstep.evaluation.metrics import COUNT
from fewstep.train.loop import Training
from fewstep.train.run.limit import steps_within
from fewstep.train.utils.config_values import config_values, steps_of, values_of
from fewstep.train.utils.sealed import read_config


def goes_further(folder: epath.Path, text: str, extend: bool) -> bool:
    """Whether a config, given as text, trains the run in a folder for more steps; False also if there is no run.

    UserError if it contradicts the run, or if the run is not to be extended.
    """
    path = folder / "config.gin"
    if not path.is_file():
        return False
    before = read_config(path)
    differs, old, new = difference(before, text), values_of(before), values_of(text)
    steps, known = steps_of(new), steps_of(old)
    setting = {"train.steps", old.get("train.steps", "")[1:], new.get("train.steps", "")[1:]}  # the last are of macros
    longer = steps is not None and known is not None and steps > known
    if longer and {one[1:].split(" = ")[0] for one in differs} <= setting:
        if extend:
            return True
        raise UserError(
            f"{folder} has train.steps = {known}, not {steps}: to train it further add --extend (extend=True in "
            f"Python), or give another folder, and this one as init_from={folder}"
        )
    if differs:
        raise UserError(
            f"the config contradicts the run {folder} (- the run, + now): {'; '.join(differs)}. "
            f"Give another folder, or the run's own config: {path}"
        )
    return False


def steps_for(folder: epath.Path, minutes: float, extend: bool, training: Callable[[], Training]) -> int:
    """The number of steps for train.minutes: that of the run in the folder, or for a new run, of this training, as many
    as fit.  UserError for a run that is to be extended."""
    known = steps_of(config_values(folder))
    if known is None:
        return steps_within(training(), minutes, COUNT)
    if extend:
        raise UserError(f"train.minutes are of a new run: to extend {folder} give the number of train.steps instead")
    return known
