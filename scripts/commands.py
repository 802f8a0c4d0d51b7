"""The commands as typer reads them: options and their help.  Each is implemented in verbs/, imported when it runs."""

from typing import Annotated

import typer

from fewstep.cli.options import (
    Batch,
    Calibrate,
    Checkpoint,
    Cluster,
    Levers,
    Opening,
    Overrides,
    PairSampling,
    Reading,
    Sampling,
    flat,
)  # fmt: skip
from fewstep.evaluation.metrics import BATCH, COUNT, METRICS

RunFolder = Annotated[str, typer.Argument(metavar="RUN", help="The folder of a run.")]
FirstSeed = Annotated[int, typer.Option(help="Seed of the first image; the others count up from it.")]
FEATURES = "pixels, classifier, or files with weights of encoders."


def train(
    config: Annotated[str, typer.Argument(help="A .gin file, or one of fewstep's: configs/digits/flow.gin.")],
    run: Annotated[str, typer.Option(help="The folder of the run. If it exists, training resumes.")],
    overrides: Overrides,
    checkpoint: Checkpoint,
    cluster: Cluster,
    init_from: Annotated[
        str | None, typer.Option("--init-from", metavar="RUN", help="Start from the averaged weights of another run.")
    ] = None,
    extend: Annotated[bool, typer.Option("--extend", help="Train further, to a larger train.steps.")] = False,
) -> None:
    """Train a model; the same command resumes it."""
    from fewstep.cli.distributed import start
    from fewstep.cli.verbs.train import main

    start(cluster)
    main(config, run, overrides, checkpoint.step, init_from, extend)


def sample(
    run: RunFolder,
    sampling: Sampling,
    calibrate: Calibrate,
    opening: Opening,
    cluster: Cluster,
    count: Annotated[int | None, typer.Option(help="Number of images; 64 by default, with --invert all given.")] = None,
    seed: FirstSeed = 0,
    label: Annotated[str | None, typer.Option(help="Classes in turn: 3, or 0,1,2, or cat,dog; all by default.")] = None,
    out: Annotated[
        str, typer.Option(help="The picture to write, with an .npz of the arrays; FOLDER/ for single images.")
    ] = "samples.png",
    scale: Annotated[int | None, typer.Option(help="Pixels per pixel of an image; by default small ones grow.")] = None,
    image: Annotated[
        str | None, typer.Option("--from", metavar="IMAGE", help="Start from an image file, or all images of an .npz.")
    ] = None,
    strength: Annotated[
        float | None, typer.Option(help="Noise added to the image, in (0, 1]; by default 0.5, with --invert 1.")
    ] = None,
    invert: Annotated[
        bool,
        typer.Option("--invert", help="Invert the image by DDIM, in as many calls again, and add no noise."),
    ] = False,
    trajectory: Annotated[
        bool, typer.Option("--trajectory", help="Also write OUT-trajectory.png: the image predicted at each call.")
    ] = False,
) -> None:
    """Sample images from a run; write a picture and an .npz."""
    from fewstep.cli.distributed import start
    from fewstep.cli.verbs.from_images import Start
    from fewstep.cli.verbs.sample import main

    start(cluster)
    begin = Start(image, strength, invert)
    main(run, sampling, opening, calibrate.calibrate, begin, count, seed, label, out, scale, trajectory)


def compare(
    context: typer.Context,
    levers: Levers,
    calibrate: Calibrate,
    opening: Opening,
    cluster: Cluster,
    runs: Annotated[
        list[str] | None,
        typer.Argument(help="Runs on the same data, folders or .npz files of images; with --exact also processes."),
    ] = None,
    nfe: Annotated[str, typer.Option(help="Budgets of network calls.")] = "1,2,4,8,16,32,64",
    sampler: Annotated[
        str | None,
        typer.Option(help="Samplers; by default ddim,heun,dpmpp_2m,ddpm,euler_maruyama, or those of few-step models."),
    ] = None,
    grid: Annotated[
        str | None, typer.Option(help="Step grids, for every sampler; by default the process's or the sampler's.")
    ] = None,
    metric: Annotated[
        str,
        typer.Option(
            help="FD, FDinf, KID, SW, mind, energy, precision, recall, density, coverage, novelty, accuracy, bpd, "
            "trajectory."
        ),
    ] = ",".join(METRICS),
    features: Annotated[str | None, typer.Option(help=f"pixels (the default), {FEATURES.partition(', ')[2]}")] = None,
    count: Annotated[int, typer.Option(help="Images per cell.")] = COUNT,
    seed: FirstSeed = 0,
    repeats: Annotated[int, typer.Option(help="Sets of --count images; metrics are averaged over them.")] = 1,
    batch: Batch = str(BATCH),
    sweep: Annotated[
        list[str],
        typer.Option(
            metavar="NAME.PARAMETER=V,V", help="Values of a lever, sampler or grid; each gets lines of its own."
        ),
    ] = [],
    exact: Annotated[bool, typer.Option("--exact", help="Exactly, on Gaussian data: no network, no sampling.")] = False,
    gaussian: Annotated[
        str | None, typer.Option(metavar="MEAN,STD,...", help="The data of --exact without a run; 0.2,0.5 by default.")
    ] = None,
    images: Annotated[
        bool, typer.Option("--images", help="Compare two folders or .npz files of images: samples, then real ones.")
    ] = False,
    out: Annotated[str | None, typer.Option(help="Folder of the results; RUN/compare unless --exact.")] = None,
    json: Annotated[bool, typer.Option("--json", help="Print the result as JSON instead of tables.")] = False,
) -> None:
    """Compare sample quality by network calls: every sampler at every budget, on the same seeds."""
    from fewstep.cli.distributed import start
    from fewstep.cli.errors import check_not_given
    from fewstep.cli.verbs import compare, compare_exact, compare_images
    from fewstep.cli.verbs.sweep import Asked

    start(cluster)
    if images:
        other = ("nfe", "sampler", "grid", "lever", "sweep", "exact", "gaussian", "out", "count", "seed", "repeats")
        check_not_given(context, "--images measures existing images", *other)
        compare_images.main(runs or [], metric, json)
        return
    asked = Asked(nfe, sampler, grid, levers.lever, sweep, opening.set)
    if exact:
        other = ("metric", "features", "count", "seed", "repeats", "batch", "calibrate", "mesh", "distributed")
        check_not_given(context, "--exact samples no images", *other)
        compare_exact.main(runs or [], asked, gaussian, opening, out, json)
    else:
        measuring = compare.Measuring(metric, features, count, seed, repeats, batch)
        compare.main(runs or [], asked, measuring, gaussian, calibrate.calibrate, opening, out, json)


def calibrate(
    run: RunFolder,
    levers: Levers,
    opening: Opening,
    count: Annotated[int, typer.Option(help="Training images.")] = 512,
    points: Annotated[int, typer.Option(help="Noise levels.")] = 40,
    seed: Annotated[int, typer.Option(help="Seed of the noise.")] = 0,
    estimate: Annotated[str, typer.Option(help="The estimate of the variance: residual or score_norm.")] = "residual",
    statistics: Annotated[str, typer.Option(help="variance, or ems for dpm_solver_v3.")] = "variance",
) -> None:
    """Measure statistics of a run's network, for samplers that require them: the variance of x0 given x_t, or ems."""
    from fewstep.cli.verbs.calibrate import main

    main(run, levers, opening, count, points, seed, estimate, statistics)


def pairs(
    run: RunFolder,
    sampling: PairSampling,
    opening: Opening,
    out: Annotated[
        str | None,
        typer.Option(help="The folder of the pairs; RUN/pairs by default. If it exists, missing pairs are added."),
    ] = None,
    count: Annotated[int, typer.Option(help="Number of pairs.")] = 10_000,
    seed: Annotated[int, typer.Option(help="Seed of the first noise, far from those of sample and compare.")] = 2**31,
    batch: Batch = "256",
) -> None:
    """Sample pairs of noise and image, from which ReFlow learns (train.objective = @reflow())."""
    from fewstep.cli.verbs.pairs import main

    main(run, sampling, opening, out, count, seed, batch)


def classifier(
    run: Annotated[str, typer.Argument(help="The folder of a run on images with labels.")],
    reading: Reading,
    steps: Annotated[int, typer.Option(help="Training steps of 128 images.")] = 1000,
    seed: Annotated[int, typer.Option(help="Seed of the initial weights and batches.")] = 0,
) -> None:
    """Train a small classifier on a run's data, for compare --features classifier."""
    from fewstep.cli.verbs.classifier import main

    main(run, steps, seed, reading)


def tune_skips(
    run: Annotated[str, typer.Argument(help="The folder of a run of a U-Net.")],
    sampling: Sampling,
    opening: Opening,
    values: Annotated[
        str, typer.Option(help="Factors of the innermost skips to try first.")
    ] = "0.5,0.6,0.7,0.8,0.9,1,1.1,1.2,1.3,1.4,1.5",
    window: Annotated[
        str | None,
        typer.Option(metavar="LOW,HIGH", help="Noise levels sigma / alpha to limit them to: 0.3,2."),
    ] = None,
    refine: Annotated[bool, typer.Option("--refine", help="Then tune the factors of all levels, by gradient.")] = False,
    metric: Annotated[str, typer.Option(help="The distance to minimize.")] = "FD",
    features: Annotated[str, typer.Option(help=f"The first to tune on, others to check: {FEATURES}")] = "pixels",
    count: Annotated[int, typer.Option(help="Images per value.")] = 1000,
    seed: FirstSeed = 0,
    batch: Batch = "256",
) -> None:
    """Tune the skip factors of a U-Net for a sampler at low NFE (lever skip_tuning)."""
    from fewstep.cli.verbs.tune_skips import main

    main(run, sampling, opening, values, window, refine, metric, features, count, seed, batch)


def levers() -> None:
    """List the levers: settings, cost, what they do."""
    from fewstep.cli.verbs.levers import main

    main()


def stats(
    run: RunFolder,
    reading: Reading,
    features: Annotated[str, typer.Option(help=FEATURES)] = "pixels",
    count: Annotated[int, typer.Option(help="Training images.")] = 500,
) -> None:
    """Compute and store the features of a run's real images for compare, and print the floor of FD."""
    from fewstep.cli.verbs.stats import main

    main(run, features, count, reading)


def runs(
    folder: Annotated[str, typer.Argument(help="A folder with runs in it or in its sub-folders.")] = "runs",
) -> None:
    """List runs: their progress, loss, FD and best sampler."""
    from fewstep.cli.verbs.runs import main

    main(folder)


def seal(run: RunFolder) -> None:
    """Accept the files of a run as they are now: after a deliberate edit, or if an earlier version wrote them."""
    from fewstep.cli.verbs.seal import main

    main(run)


def config(config: Annotated[str, typer.Argument(help="A .gin file.")], overrides: Overrides) -> None:
    """Print all parameters of a config as `train` would use them, defaults and overrides included."""
    from fewstep.cli.verbs.train import show

    show(config, overrides)


def pack(
    folder: Annotated[str, typer.Argument(help="A folder of images; two or more sub-folders are classes.")],
    out: Annotated[str, typer.Argument(help="The folder to write, which must not exist yet.")],
    size: Annotated[int, typer.Option(help="Side of the square images, in pixels.")] = 32,
    channels: Annotated[int, typer.Option(help="1 for grey, 3 for colour.")] = 3,
    strict: Annotated[bool, typer.Option("--strict", help="Refuse a folder with bad files, skip none.")] = False,
    shard_size: Annotated[int, typer.Option(help="Images per file.")] = 10_000,
) -> None:
    """Pack a folder of images into ArrayRecord shards, which are read much faster."""
    from fewstep.cli.verbs.pack import pack

    pack(folder, out, size, channels, strict, shard_size)


def samplers(
    overrides: Overrides,
    table: Annotated[str | None, typer.Option(metavar="SAMPLER", help="Print this sampler's table.")] = None,
    check: Annotated[str | None, typer.Option(metavar="SAMPLER", help="Its exact output, order, stability.")] = None,
    nfe: Annotated[int | None, typer.Option(help="Maximum number of network calls; 8 by default.")] = None,
    process: Annotated[str, typer.Option(help="Linear, VP, Cosine, VE, Shifted, Discrete or PFGM.")] = "Linear",
    grid: Annotated[str | None, typer.Option(help="Step grid; by default the process's or the sampler's.")] = None,
) -> None:
    """List the samplers: calls per step, order, requirements, paper; or print the table or check of one."""
    from fewstep.cli.verbs.samplers import main, show

    if table is None and check is None:
        main(overrides.set)
    else:
        show(table, check, nfe, process, grid, overrides.set)


COMMANDS = tuple(
    flat(command)
    for command in (
        train, sample, compare, calibrate, pairs, tune_skips, classifier, stats, runs, seal, config, samplers, levers,
    )
)  # fmt: skip
"""All but `data pack`, in the order of `fewstep --help`."""
