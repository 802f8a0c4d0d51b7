"""The initial weights of training: fresh ones, or those of another run (init_from)."""

from collections.abc import Callable
from typing import NamedTuple

from etils import epath

from fewstep.cli.config.load import difference
from fewstep.cli.config.registry import CONSTANTS, NETWORKS
from fewstep.cli.errors import UserError
from fewstep.diffusion.denoiser import INSTANT, names_of
from fewstep.diffusion.foreign import Transferred
from fewstep.errors import UsageError
from fewstep.train.checkpoints import Checkpoints
from fewstep.train.checkpoints.warm_start import missing_parameters
from fewstep.train.loop import Training
from fewstep.train.run import Run
from fewstep.train.run.run import read_description
from fewstep.train.utils.files import absolute
from fewstep.train.utils.messages import say
from fewstep.train.utils.multihost import any_process, broadcast_from_main
from fewstep.train.utils.sealed import read_config

# Parameters of a network that do not change the meaning of its weights.
FREE = ("dropout", "dtype", "remat", "jump_layers", "jump_blocks")


class InitialWeights(NamedTuple):
    """The weights of another run."""

    description: dict  # what run.json stores about them
    load: Callable  # () -> the parameters, once: no reference is kept here


def initial_weights(
    training: Training,
    config_text: str,
    folder: epath.Path,
    begin: epath.PathLike | None,
    other: Callable[[epath.PathLike], Run],
) -> InitialWeights | None:
    """The weights that the run in `folder` starts from; None if it resumes, or starts from fresh ones.

    other: opens the run `begin`.  UserError if the run was started from something else, and if the weights do not fit.
    """
    objective, saved, goes_on = training.experiment.objective, folder / "checkpoints", False
    if any_process(saved.exists()):
        with Checkpoints(saved, create=False) as checkpoints:
            goes_on = checkpoints.latest() is not None
    if refusal := broadcast_from_main(_refusal(folder, begin, objective, goes_on)):
        raise UserError(refusal)
    if begin is None or (goes_on and broadcast_from_main((folder / "run.json").exists())):
        return None
    run = other(begin)
    found, fresh = _fitting(training, config_text, run, begin)
    if not goes_on:
        say(f"starting from {begin} at step {run.step}" + (f"; fresh: {', '.join(fresh)}" if fresh else ""))
    record = {"run": str(run.folder), "step": run.step, "weights": run.weights}
    if used := read_description(run.folder)["trained_features"]:
        record["trained_features"] = used
    return InitialWeights(record, [found].pop)


def _refusal(folder, begin, objective, goes_on):
    """Why the run may not start so, or None."""
    known = (folder / "run.json").exists()
    described = read_description(folder) if known else {}
    begun, refusal = described.get("begun"), None
    if "imported" in described:
        refusal = f"{folder} was imported, and stays as it is: train from it in another folder, with init_from={folder}"
    elif begin is None and not goes_on and begun:
        refusal = f"{folder} was started from {begun['run']} and has no checkpoint yet: add init_from={begun['run']}"
    elif begin is None and not goes_on and objective.trainable_part:
        refusal = (
            f"the objective trains only the part {objective.trainable_part} of the network: give init_from=RUN for the "
            f"rest"
        )
    elif begin is None and not goes_on and objective.needs_teacher:
        refusal = "the objective learns from a teacher: give its run, init_from=RUN"
    elif begin is None and not goes_on and objective.requires:
        refusal = f"the objective goes on from a run that learned {names_of(objective.requires)}: give init_from=RUN"
    elif begin is not None and goes_on and known and (begun is None or begun["run"] != str(absolute(begin))):
        how = f"the weights of {begun['run']}" if begun else "fresh weights"
        refusal = f"{folder} was started from {how}: leave init_from out, or give another folder"
    return refusal


def _fitting(training, config_text, run, path):
    """The run's parameters that have the same meaning here, and the names of those that it lacks; UserError if its
    model differs."""
    experiment = training.experiment
    ours = experiment.prediction
    other, whose = (ours, "Transferred.") if isinstance(ours, Transferred) else (experiment, "train.")
    for what in ("process", "prediction"):
        theirs, here = (_written(getattr(of, what)) for of in (run.model, other))
        if theirs != here:
            raise UserError(
                f"init_from={path}: its {what} is {theirs}, and {whose}{what} is {here}: make them equal, here or in "
                f"train.prediction = @Transferred(), as docs/import.md shows"
            )
    if experiment.objective.needs_teacher and INSTANT not in run.model.capabilities:
        raise UserError(f"init_from={path}: a teacher predicts velocities, and this run learned only jumps")
    if not experiment.objective.requires <= run.model.capabilities:
        raise UserError(
            f"init_from={path}: the objective requires {names_of(experiment.objective.requires)}, and this run learned "
            f"{names_of(run.model.capabilities)}: set `learned` of the objective to one of them"
        )
    net = training.fresh.eval_shape().params["net"]
    found = run.params
    if type(run.model.variance) is not type(experiment.variance):  # its parameters have another meaning
        found = {name: part for name, part in found.items() if name != "variance"}
    try:
        fresh, unused = missing_parameters(net, found), missing_parameters(found, net)
    except UsageError as error:
        raise UserError(f"init_from={path}: {error}") from None
    changes = difference(read_config(run.folder / "config.gin"), config_text)
    other = [line for line in changes if _of_the_network(line, config_text)]
    if unused:
        other = [f"{unused[0]} is not in the config's network", *other]
    if other:
        raise UserError(f"init_from={path}: its network differs ({'; '.join(other[:4])}): give the same one")
    only = experiment.objective.trainable_part
    if missing := [name for name in fresh if only and name.split(".")[0] != only]:
        raise UserError(f"init_from={path}: it has no {missing[0]}, which is not trained: give a run of this network")
    whole = [name for name in net if name not in found]
    return found, whole + [name for name in fresh if name.split(".")[0] not in whole]


def _of_the_network(line, config_text):
    """Whether a difference between two configs changes the meaning of weights; a macro may, if a network uses it."""
    name = line[1:].split(" = ")[0].split("/")[-1]
    part, _, parameter = name.partition(".")
    if not parameter:
        return any(f"%{name}" in other and other.split(".")[0] in NETWORKS for other in config_text.splitlines())
    return (part in NETWORKS and parameter not in FREE) or (part == "train" and parameter in ("network", "conditional"))


def _written(part):
    """As a config writes it."""
    return next((f"%{name}" for name, constant in CONSTANTS.items() if constant == part), f"@{part}")
