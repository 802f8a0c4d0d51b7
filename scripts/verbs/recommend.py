"""fewstep recommend."""

import json
from typing import Any

from etils import epath

from fewstep.cli import batches, parse
from fewstep.cli.config.messages import target
from fewstep.cli.config.settings import settings
from fewstep.cli.errors import UserError
from fewstep.cli.options import Opening
from fewstep.cli.verbs.features import named as named_features
from fewstep.cli.verbs.sampling import again_line, implied, opened
from fewstep.cli.verbs.sweep import lines
from fewstep.diffusion.denoiser import INSTANT
from fewstep.errors import UsageError, lookup
from fewstep.evaluation.data import with_data
from fewstep.evaluation.distances import DISTANCES
from fewstep.evaluation.drawing import Line
from fewstep.evaluation.metrics import metric_info
from fewstep.evaluation.recommend import Recommendation, recommend
from fewstep.evaluation.report.table import number
from fewstep.ranges import MOST_CALLS, MOST_IMAGES, within
from fewstep.samplers.registry import COMPARED_SAMPLERS, compared_samplers
from fewstep.train.run import Run, tables
from fewstep.train.run.lever_texts import lever
from fewstep.train.utils.errors import RunError
from fewstep.train.utils.files import write_atomic
from fewstep.train.utils.messages import say

SAMPLERS = (
    "ddim", "heun", "dpmpp_2m", "dpmpp_3m", "unipc", "deis", "ipndm", "dpm_solver_2", "dpmpp_2s", "ddpm", "sa_solver",
    "er_sde",
)  # fmt: skip
GRIDS = ("uniform", "log_snr", "karras", "quadratic", "beta")
SCALES = "cfg.scale=1.5,2,3"  # tried of a model with a null class
METRICS = [name for name in DISTANCES if metric_info(name).better == "lower" and name != "FDinf"]


def main(
    folder: str, passes: int, samplers: str | None, grids: str | None, texts: list[str], sweeps: list[str],
    opening: Opening, metric: str, features: str, count: int, seed: int, batch: str, out: str | None, as_json: bool,
) -> None:  # fmt: skip
    """Search for the best way to sample a run at equal passes, and print the answer."""
    lookup("metric", metric, dict.fromkeys(METRICS))
    within(passes, "--passes", 1, MOST_CALLS)
    within(count, "--count", 16, MOST_IMAGES)
    size = batches.parsed(batch)
    within(seed, "--seed", 0, 2**31)
    if len(parse.words(features, "--features")) != 1:
        raise UserError(f"--features {features}: one kind of features decides; measure others with fewstep compare")
    settings(opening.set)
    run = opened(folder, opening)
    [run], _ = with_data([run], [metric], True)
    found = candidates(run, samplers, grids, texts, sweeps, opening)
    results = parse.results(out or run.folder, "--out", "recommend")
    options: dict[str, Any] = {"folder": results, "metric": metric, "count": count, "seed": seed}
    options["batch"] = batches.chosen(size, [run], count)
    try:
        answer = recommend(
            run, [line for line, _ in found.values()], passes, features=named_features(features, run), **options
        )
    except KeyboardInterrupt:
        say(f"stopped: the images sampled so far are in {results}, and the same command resumes from there")
        raise
    line, with_levers = found[answer.winner]
    command = again_line(run, opening, line, answer.budgets[line.name], with_levers, opening.set)
    told = answer.to_json() | {"command": command}
    file = results / "recommend.json"
    write_atomic(file, json.dumps(told, indent=1))
    print(json.dumps(told, indent=1) if as_json else _told(answer, command, file))


def candidates(
    run: Run, samplers: str | None, grids: str | None, texts: list[str], sweeps: list[str], opening: Opening
) -> dict[str, tuple[Line, list[str]]]:
    """{name: (line, the texts of its levers)}: what is asked for; by default dozens, and the run's fitted tables."""
    instant, den = INSTANT in run.denoiser.capabilities, run.denoiser
    own = [name for name in compared_samplers([den]) if name not in COMPARED_SAMPLERS]  # of a few-step model
    names = parse.words(samplers, "--sampler") if samplers else list(SAMPLERS) if instant else own
    spaced = parse.words(grids, "--grid") if grids else list(GRIDS) if instant else []
    process, overrides = [run.model.process], list(opening.set)
    weights = implied(overrides)
    scaled = {"cfg", *(target(text).split(".")[0] for text in overrides if text not in weights)}
    guides = instant and den.classes and getattr(den, "null_class", True) and not texts and len(scaled) == 1
    found = {}
    if not sweeps:
        found = {line.name: (line, list(texts)) for line in lines(names, spaced, texts, [], overrides).on(process)}
    for one in [sweeps] if sweeps else [[SCALES]] if guides else []:
        for line in lines(names, spaced, texts, one, overrides).on(process):
            found[line.name] = line, list(texts)
    if samplers is None:
        if instant and own:
            found |= {line.name: (line, list(texts)) for line in lines(own, [], texts, [], weights).on(process)}
        found |= _fitted(run, opening) if instant and not texts and not weights else {}
    for name, (line, with_levers) in found.items():
        found[name] = line._replace(sampler=tables.sampler(run, line.sampler, line.levers)), with_levers
    return found


def _fitted(run: Run, opening: Opening) -> dict[str, tuple[Line, list[str]]]:
    """A line for each fitted table of the run, under its levers; those that cannot be used are told."""
    folder, known, found = tables.folder(run), settings(opening.set), {}
    for file in sorted(folder.glob("*.json")) if folder.exists() else ():
        name = f"{tables.PREFIX}{file.stem}"
        try:
            kept = tables.load(file)
            wrap = tuple(lever(text, known.levers, [], "--lever")[1] for text in kept.levers)
            line = Line(name, tables.sampler(run, name, wrap), known.grids, None, wrap)
        except (UsageError, RunError) as error:
            say(f"{name} is left out: {error}")
            continue
        found[name] = line, list(kept.levers)
    return found


def _told(answer: Recommendation, again: str, file: epath.Path) -> str:
    """The answer in lines."""
    best = answer.values[answer.winner]
    told = [f"{answer.winner}: {answer.metric} {number(best.value)} ({number(best.low)} to {number(best.high)})"]
    if answer.runner_up is not None and answer.apart is not None:
        apart, other = answer.apart, answer.values[answer.runner_up]
        told.append(f"runner-up {answer.runner_up}: {number(other.value)}")
        told.append(f"difference {number(apart.value)}, 95 % {number(apart.low)} to {number(apart.high)}, paired")
        told += [] if answer.decided else ["undecided: these seeds do not tell the two apart"]
    share = answer.drawn / answer.exhaustive
    told.append(f"{len(answer.budgets)} candidates, {answer.drawn} images, {share:.0%} of drawing all of them as often")
    return "\n".join([*told, f"next: {again}", f"all rounds: {file}"])
