"""fewstep recommend."""

import json
import shlex

from etils import epath

from fewstep.cli import parse
from fewstep.cli.config.settings import settings
from fewstep.cli.options import Opening
from fewstep.cli.verbs.features import named as named_features
from fewstep.cli.verbs.sampling import opened
from fewstep.cli.verbs.sweep import lines
from fewstep.diffusion.denoiser import INSTANT
from fewstep.errors import lookup
from fewstep.evaluation.data import with_data
from fewstep.evaluation.distances import DISTANCES
from fewstep.evaluation.drawing import Line
from fewstep.evaluation.metrics import metric_info
from fewstep.evaluation.recommend import Recommendation, recommend
from fewstep.evaluation.report.table import number
from fewstep.ranges import MOST_IMAGES, within
from fewstep.samplers.registry import FITTED, compared_samplers
from fewstep.train.run import tables
from fewstep.train.run.lever_texts import lever
from fewstep.train.run.levers import LEVERS
from fewstep.train.utils.files import write_atomic
from fewstep.train.utils.messages import say

SAMPLERS = (
    "ddim", "heun", "dpmpp_2m", "dpmpp_3m", "unipc", "deis", "ipndm", "dpm_solver_2", "dpmpp_2s", "ddpm", "sa_solver",
    "er_sde",
)  # fmt: skip
GRIDS = ("uniform", "log_snr", "karras", "quadratic")
SCALES = "cfg.scale=1.5,2,3"  # tried of a model with a null class
METRICS = [name for name in DISTANCES if metric_info(name).better == "lower" and name != "FDinf"]


def main(
    folder: str, passes: int, samplers: str | None, grids: str | None, texts: list[str], sweeps: list[str],
    opening: Opening, metric: str, features: str, count: int, seed: int, batch: int, out: str | None, as_json: bool,
) -> None:  # fmt: skip
    """Search for the best way to sample a run at equal passes, and print the answer."""
    lookup("metric", metric, dict.fromkeys(METRICS))
    within(passes, "--passes", 1, 4096)
    within(count, "--count", 16, MOST_IMAGES)
    within(batch, "--batch", 1, MOST_IMAGES)
    within(seed, "--seed", 0, 2**31)
    settings(opening.set)
    run = opened(folder, opening)
    [run], _ = with_data([run], [metric], True)
    instant = INSTANT in run.denoiser.capabilities
    names = parse.words(samplers, "--sampler") if samplers else list(SAMPLERS) if instant else []
    names = names or compared_samplers([run.denoiser])
    spaced = parse.words(grids, "--grid") if grids else list(GRIDS) if instant else []
    if not sweeps and instant and run.denoiser.classes and getattr(run.denoiser, "null_class", True):
        sweeps = [SCALES]
    process, overrides = [run.model.process], list(opening.set)
    found = lines(names, spaced, texts, [], overrides).on(process)
    given = {line.name: list(texts) for line in found}
    if sweeps:
        for line in lines(names, spaced, texts, sweeps, overrides).on(process):
            given[line.name] = [*texts, *_swept(line)]
            found.append(line)
    for line, with_levers in _fitted(run, opening) if instant and not texts else ():
        given[line.name] = with_levers
        found.append(line)
    kinds = [named_features(text, run) for text in parse.words(features, "--features")]
    results = parse.results(out or run.folder, "--out", "recommend")
    try:
        answer = recommend(
            run, found, passes, folder=results, metric=metric, features=kinds, count=count, seed=seed, batch=batch
        )
    except KeyboardInterrupt:
        say(f"stopped: the images sampled so far are in {results}, and the same command resumes from there")
        raise
    by_name = {line.name: line for line in found}
    again = _command(run, by_name[answer.winner], answer, given[answer.winner], opening)
    told = json.loads(answer.to_json()) | {"command": again}
    write_atomic(results / "recommend.json", json.dumps(told, indent=1))
    print(json.dumps(told, indent=1) if as_json else _told(answer, again, results / "recommend.json"))


def _swept(line: Line) -> list[str]:
    """The texts of swept levers."""
    values: dict[str, list[str]] = {}
    for at, value in line.swept.items():
        name, _, parameter = at.partition(".")
        if name in LEVERS:
            values.setdefault(name, []).append(f"{parameter}={value}")
    return [f"{name}({', '.join(parts)})" for name, parts in values.items()]


def _fitted(run, opening: Opening) -> list[tuple[Line, list[str]]]:
    """A line for each fitted table of the run, with the texts of its levers."""
    folder, known, found = tables.folder(run), settings(opening.set), []
    for file in sorted(folder.glob("*.json")) if folder.exists() else ():
        kept = tables.load(file)
        wrap = tuple(lever(text, known.levers, [], "--lever")[1] for text in kept.levers)
        sampler = tables.sampler(run, f"{tables.PREFIX}{file.stem}", wrap)
        found.append((Line(f"{tables.PREFIX}{file.stem}", sampler, known.grids, None, wrap), list(kept.levers)))
    return found


def _command(run, line: Line, answer: Recommendation, texts: list[str], opening: Opening) -> str:
    """The command that samples like the winner."""
    words = ["fewstep", "sample", str(run.folder), "--sampler", line.sampler.name]
    words += ["--nfe", str(answer.calls[line.name])]
    words += ["--grid", line.grid] if line.grid and line.sampler.grid != FITTED else []
    words += [word for text in texts for word in ("--lever", text)]
    swept = [f"{at}={value}" for at, value in line.swept.items() if at.split(".")[0] not in LEVERS]
    words += [word for text in [*opening.set, *swept] for word in ("--set", text)]
    return shlex.join(words)


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
    told.append(f"{len(answer.calls)} candidates, {answer.drawn} images, {share:.0%} of drawing all of them as often")
    return "\n".join([*told, f"next: {again}", f"all rounds: {file}"])
