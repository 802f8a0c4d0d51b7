"""What `fewstep train` begins with: fresh weights, or those of another run (--init-from)."""

import json

from scripts import config, parse
from scripts.errors import UserError
from scripts.parts import CONSTANTS, NETWORKS
from train.files import absolute
from train.processes import from_first
from train.progress import say
from train.run import Run, read_description
from train.warm_start import unknown

FREE = ("dropout", "dtype", "remat")  # of a network: they do not change what its weights mean


def source(training, told, folder, begin, trust) -> Run | None:
    """The run whose weights the run in `folder` is to begin with; None where it goes on, or begins afresh.

    UserError where that is not what it was begun with, and where the weights are of something else.  Whatever the
    config of the other run binds stays bound: load the own one again.
    """
    objective = training.experiment.objective
    only = objective.only
    goes_on, refusal = json.loads(from_first(json.dumps(_known(folder, begin, objective))))
    if refusal:
        raise UserError(refusal)
    if begin is None or (goes_on and (folder / "run.json").exists()):
        return None
    path = parse.path(begin, "--init-from")
    run = config.open_run(path, trust, mesh=training.experiment.mesh)
    fresh = _fresh(training, told, run, path, only)
    run.weights  # noqa: B018  (of several processes all must ask for it)
    say(f"beginning with {path} at step {run.step}" + (f"; fresh: {', '.join(fresh)}" if fresh else ""))
    return run


def _known(folder, begin, objective):
    """Whether the run has a checkpoint, and why it may not begin so, or None."""
    saved = folder / "checkpoints"
    goes_on = saved.is_dir() and any(path.name.isdigit() for path in saved.iterdir())
    known = (folder / "run.json").exists()
    begun = read_description(folder).get("begun") if known else None
    refusal = None
    if begin is None and not goes_on and begun:
        refusal = (
            f"{folder} was to begin with {begun['run']}, and has no checkpoint yet: add --init-from {begun['run']}"
        )
    elif begin is None and not goes_on and objective.only:
        refusal = (
            f"the objective trains the network's part {objective.only} alone: say what the rest is, --init-from RUN"
        )
    elif begin is None and not goes_on and objective.teacher:
        refusal = "the objective learns from a teacher: say which run that is, --init-from RUN"
    elif begin is not None and goes_on and known and (begun is None or begun["run"] != str(absolute(begin))):
        how = f"the weights of {begun['run']}" if begun else "fresh weights"
        refusal = f"{folder} began with {how}: leave --init-from out, or give another --run folder"
    return goes_on, refusal


def _fresh(training, told, run, path, only):
    """The parts of the network that the run does not have; UserError where it is of another model."""
    experiment = training.experiment
    for what in ("process", "prediction"):
        theirs, ours = (_written(getattr(of, what)) for of in (run.model, experiment))
        if theirs != ours:
            raise UserError(f"--init-from {path}: its {what} is {theirs}, and the config's is {ours}: give the same")
    net = training.fresh.eval_shape().params["net"]
    try:
        fresh, unused = unknown(net, run.params), unknown(run.params, net)
    except ValueError as error:
        raise UserError(f"--init-from {path}: {error}") from None
    changes = config.difference((run.folder / "config.gin").read_text(), told)
    other = [line for line in changes if _of_the_network(line)]
    if gone := [name for name in unused if name.split(".")[0] != "variance"]:
        other = [f"{gone[0]} is not in the config's network", *other]
    if other:
        raise UserError(f"--init-from {path}: it is another network ({'; '.join(other[:4])}): give the same")
    if missing := [name for name in fresh if only and name.split(".")[0] != only]:
        raise UserError(f"--init-from {path}: it has no {missing[0]}, which stays as it is: give a run of this network")
    return list(dict.fromkeys(name.split(".")[0] for name in fresh))


def _of_the_network(line):
    """Whether a difference between two configs changes what weights mean."""
    part, _, parameter = line[1:].split(" = ")[0].partition(".")
    return (part in NETWORKS and parameter not in FREE) or (part == "train" and parameter in ("network", "conditional"))


def _written(part):
    """As a config writes it."""
    return next((f"%{name}" for name, constant in CONSTANTS.items() if constant == part), f"@{part}")
