"""The commands beside train, sample and compare."""

from typing import Annotated

import typer

from fewstep.cli.options import Lever, Mesh, Set, Step, Trust


def calibrate(
    run: Annotated[str, typer.Argument(help="The folder of a run.")],
    lever: Lever = [],
    count: Annotated[int, typer.Option(help="Training images.")] = 512,
    points: Annotated[int, typer.Option(help="Noise levels.")] = 40,
    seed: Annotated[int, typer.Option(help="Of the noise.")] = 0,
    estimate: Annotated[str, typer.Option(help="The one that samplers use: residual or score_norm.")] = "residual",
    step: Step = None,
    set: Set = [],
    trust: Trust = False,
    mesh: Mesh = "-1,1,1",
):
    """Measure the variance that a run's network leaves open, for samplers that need it."""
    from fewstep.cli.calibrate import main

    main(run, lever, count, points, seed, estimate, set, trust, step, mesh)


def pairs(
    run: Annotated[str, typer.Argument(help="The folder of a run.")],
    out: Annotated[
        str | None,
        typer.Option(help="The folder of the pairs: RUN/pairs by default; given again, what is missing is drawn."),
    ] = None,
    count: Annotated[int, typer.Option(help="How many.")] = 10_000,
    sampler: Annotated[str, typer.Option(help="A sampler without noise.")] = "heun",
    nfe: Annotated[int, typer.Option(help="Network calls per image, at most.")] = 79,
    grid: Annotated[str, typer.Option(help="A step grid that begins where there is nothing but noise.")] = "uniform",
    seed: Annotated[int, typer.Option(help="Seed of the first noise, far from those of sample and compare.")] = 2**31,
    batch: Annotated[int, typer.Option(help="Images drawn at once.")] = 256,
    lever: Lever = [],
    step: Step = None,
    set: Set = [],
    trust: Trust = False,
    mesh: Mesh = "-1,1,1",
):
    """Draw pairs of noise and image, to learn straighter paths from (train.objective = @reflow())."""
    from fewstep.cli.pairs import main

    main(run, out, sampler, nfe, grid, count, seed, batch, lever, set, trust, step, mesh)


def classifier(
    run: Annotated[str, typer.Argument(help="The folder of a run on images with labels.")],
    steps: Annotated[int, typer.Option(help="Training steps of 128 images.")] = 1000,
    seed: Annotated[int, typer.Option(help="Of its initial weights and batches.")] = 0,
    trust: Trust = False,
):
    """Train a small classifier on a run's data, for compare --features classifier."""
    from fewstep.cli.classifier import main

    main(run, steps, seed, trust)


def tune_skips(
    run: Annotated[str, typer.Argument(help="The folder of a run of a U-Net.")],
    sampler: Annotated[str | None, typer.Option(help="One of `fewstep samplers`: dpmpp_2m.")] = None,
    nfe: Annotated[int | None, typer.Option(help="Network calls per image, at most: 16.")] = None,
    grid: Annotated[str | None, typer.Option(help="Step grid; by default the process's or the sampler's.")] = None,
    lever: Lever = [],
    values: Annotated[
        str, typer.Option(help="Factors of the innermost skips to begin with.")
    ] = "0.5,0.6,0.7,0.8,0.9,1,1.1,1.2,1.3,1.4,1.5",
    window: Annotated[
        str | None,
        typer.Option(metavar="LOW,HIGH", help="The noise levels sigma / alpha where they hold: 0.3,2."),
    ] = None,
    refine: Annotated[bool, typer.Option("--refine", help="Then all levels' factors, by gradient.")] = False,
    metric: Annotated[str, typer.Option(help="The distance that is to become small.")] = "FD",
    features: Annotated[
        str, typer.Option(help="Those tuned on, and others to check: pixels, classifier, files of encoders' weights.")
    ] = "pixels",
    count: Annotated[int, typer.Option(help="Images for every value.")] = 1000,
    seed: Annotated[int, typer.Option(help="Seed of the first image.")] = 0,
    batch: Annotated[int, typer.Option(help="Images drawn at once.")] = 256,
    step: Step = None,
    set: Set = [],
    trust: Trust = False,
    mesh: Mesh = "-1,1,1",
):
    """Search the factors of a U-Net's skips for a sampler in few calls, for the lever skip_tuning."""
    from fewstep.cli.tune_skips import main

    main(
        run, sampler, nfe, grid, lever, values, window, refine, metric, features, count, seed, batch, set, trust, step,
        mesh,
    )  # fmt: skip


def levers():
    """List the levers: settings, cost, what they do."""
    from fewstep.cli.levers import main

    main()


def stats(
    run: Annotated[str, typer.Argument(help="The folder of a run.")],
    features: Annotated[str, typer.Option(help="Of pixels, classifier, and files of encoders' weights.")] = "pixels",
    count: Annotated[int, typer.Option(help="Training images.")] = 500,
    trust: Trust = False,
):
    """Compute the features of a run's real images, which compare then finds there, and the floor of FD."""
    from fewstep.cli.stats import main

    main(run, features, count, trust)


def runs(folder: Annotated[str, typer.Argument(help="A folder with runs in it, or in folders in it.")] = "runs"):
    """List runs: how far they are, their loss, FD and best sampler."""
    from fewstep.cli.runs import main

    main(folder)


def config(
    config: Annotated[str, typer.Argument(help="A .gin file.")],
    set: Set = [],
    trust: Trust = False,
):
    """Print all that a config sets, defaults and overrides included, as `train` would use it."""
    from fewstep.cli.train import resolved

    print(resolved(config, set, trust)[1], end="")


def pack(
    folder: Annotated[str, typer.Argument(help="A folder of images; two or more sub-folders are classes.")],
    out: Annotated[str, typer.Argument(help="The folder to write, which must not exist yet.")],
    size: Annotated[int, typer.Option(help="Side of the square images, in pixels.")] = 32,
    channels: Annotated[int, typer.Option(help="1 for grey, 3 for colour.")] = 3,
    strict: Annotated[bool, typer.Option("--strict", help="Refuse a folder with bad files, skip none.")] = False,
    shard_size: Annotated[int, typer.Option(help="Images in one file.")] = 10_000,
):
    """Turn a folder of images into ArrayRecord shards, which are read far faster."""
    from fewstep.cli.data import pack

    pack(folder, out, size, channels, strict, shard_size)


def samplers(
    table: Annotated[str | None, typer.Option(metavar="SAMPLER", help="Print this sampler's table.")] = None,
    check: Annotated[
        str | None, typer.Option(metavar="SAMPLER", help="Print its exact effect on Gaussian data, order, stability.")
    ] = None,
    nfe: Annotated[int, typer.Option(help="Network calls, at most.")] = 8,
    process: Annotated[str, typer.Option(help="The process: Linear, VP, Cosine, VE, Shifted or Discrete.")] = "Linear",
    grid: Annotated[str | None, typer.Option(help="Step grid; by default the process's or the sampler's.")] = None,
    set: Set = [],
):
    """List the samplers: calls per step, order, what they need, paper; or show one of them as numbers."""
    from fewstep.cli.samplers import main, show

    if table is None and check is None:
        main(set)
    else:
        show(table, check, nfe, process, grid, set)


OF_RUNS = (calibrate, pairs, tune_skips, classifier, stats, runs, config, samplers, levers)
