"""fewstep: train a diffusion or flow model once, sample it with any sampler, see quality against network calls."""

import os
import sys
import traceback
from typing import Annotated

import typer

from fewstep.cli import commands
from fewstep.cli.options import Calibrate, Coordinator, Distributed, Lever, Mesh, Process, Processes, Set, Step, Trust

app = typer.Typer(
    name="fewstep",
    help=__doc__,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

data = typer.Typer(no_args_is_help=True, help="Prepare data.")
app.add_typer(data, name="data")


@app.command()
def train(
    config: Annotated[
        str, typer.Argument(help="A .gin file, or one that comes with fewstep: configs/digits/flow.gin.")
    ],
    run: Annotated[str, typer.Option(help="The folder of the run. Given again, training goes on where it stopped.")],
    begin: Annotated[
        str | None, typer.Option("--init-from", metavar="RUN", help="Begin with the averaged weights of another run.")
    ] = None,
    step: Step = None,
    set: Set = [],
    trust: Trust = False,
    distributed: Distributed = False,
    coordinator: Coordinator = None,
    processes: Processes = None,
    process: Process = None,
):
    """Train a model; the same command resumes it."""
    from fewstep.cli.distributed import start
    from fewstep.cli.train import main

    start(distributed, coordinator, processes, process)
    main(config, run, set, trust, step, begin)


@app.command()
def sample(
    run: Annotated[str, typer.Argument(help="The folder of a run.")],
    sampler: Annotated[
        str | None, typer.Option(help="One of `fewstep samplers`: dpmpp_2m, or what the model learned to jump by.")
    ] = None,
    nfe: Annotated[int | None, typer.Option(help="Network calls per image, at most: 16, or 2 by jumps.")] = None,
    count: Annotated[int | None, typer.Option(help="How many images: 64, and with --invert those given.")] = None,
    seed: Annotated[int, typer.Option(help="Seed of the first image; the others count up from it.")] = 0,
    label: Annotated[str | None, typer.Option(help="A class, or several in turn: 3 or 0,1,2.")] = None,
    lever: Lever = [],
    calibrate: Calibrate = False,
    step: Step = None,
    grid: Annotated[str | None, typer.Option(help="Step grid; by default the process's or the sampler's.")] = None,
    out: Annotated[str, typer.Option(help="The picture; an .npz with the numbers goes beside it.")] = "samples.png",
    image: Annotated[
        str | None, typer.Option("--from", metavar="IMAGE", help="Start from an image file, or all images of an .npz.")
    ] = None,
    strength: Annotated[
        float | None, typer.Option(help="How far up to noise the image goes, above 0 to 1: 0.5, or 1 with --invert.")
    ] = None,
    invert: Annotated[
        bool, typer.Option("--invert", help="Up by DDIM inversion, in as many calls again, not by noise.")
    ] = False,
    trajectory: Annotated[
        bool, typer.Option("--trajectory", help="Also OUT-trajectory.png: what is predicted at the calls.")
    ] = False,
    set: Set = [],
    trust: Trust = False,
    mesh: Mesh = "-1,1,1",
    distributed: Distributed = False,
    coordinator: Coordinator = None,
    processes: Processes = None,
    process: Process = None,
):
    """Draw images from a run: a picture, and an .npz beside it."""
    from fewstep.cli.distributed import start
    from fewstep.cli.sample import main

    start(distributed, coordinator, processes, process)
    begin = (image, strength, invert, trajectory)
    main(run, sampler, nfe, count, seed, label, lever, calibrate, grid, out, set, trust, step, mesh, *begin)


@app.command()
def compare(
    context: typer.Context,
    runs: Annotated[
        list[str] | None, typer.Argument(help="Folders of runs trained on the same data; with --exact processes too.")
    ] = None,
    nfe: Annotated[str, typer.Option(help="Budgets of network calls.")] = "1,2,4,8,16,32,64",
    sampler: Annotated[
        str | None,
        typer.Option(
            help="Samplers: by default ddim,heun,dpmpp_2m,ddpm,euler_maruyama, or what models that jump answer."
        ),
    ] = None,
    grid: Annotated[
        str | None, typer.Option(help="Step grids, for every sampler; by default the process's or the sampler's.")
    ] = None,
    metric: Annotated[
        str,
        typer.Option(
            help="FD, FDinf, KID, SW, energy, precision, recall, density, coverage, novelty, accuracy, bpd, trajectory."
        ),
    ] = "FD,SW",
    features: Annotated[
        str | None, typer.Option(help="Of pixels (by default), classifier, and files of encoders' weights.")
    ] = None,
    count: Annotated[int, typer.Option(help="Images per cell.")] = 500,
    seed: Annotated[int, typer.Option(help="Seed of the first image.")] = 0,
    repeats: Annotated[int, typer.Option(help="Sets of so many images, over which metrics are averaged.")] = 1,
    batch: Annotated[int, typer.Option(help="Images drawn at once.")] = 256,
    sweep: Annotated[
        list[str],
        typer.Option(
            metavar="NAME.PARAMETER=V,V", help="Values of a lever, sampler or grid, each on lines of its own."
        ),
    ] = [],
    exact: Annotated[bool, typer.Option("--exact", help="On Gaussian data, by moments: no network, no noise.")] = False,
    gaussian: Annotated[
        str | None, typer.Option(metavar="MEAN,STD,...", help="The data of --exact where no run is given: 0.2,0.5.")
    ] = None,
    lever: Lever = [],
    calibrate: Calibrate = False,
    step: Step = None,
    out: Annotated[str | None, typer.Option(help="Folder of the results: RUN/compare unless --exact.")] = None,
    json: Annotated[bool, typer.Option("--json", help="The result as JSON on stdout, in place of tables.")] = False,
    set: Set = [],
    trust: Trust = False,
    mesh: Mesh = "-1,1,1",
    distributed: Distributed = False,
    coordinator: Coordinator = None,
    processes: Processes = None,
    process: Process = None,
):
    """Quality against network calls: the same seeds through every sampler at every budget."""
    from fewstep.cli import compare, exactly
    from fewstep.cli.distributed import start
    from fewstep.cli.errors import refuse_given

    start(distributed, coordinator, processes, process)
    chosen = compare.Chosen(nfe, sampler, grid, lever, sweep, set)
    if exact:
        other = ("metric", "features", "count", "seed", "repeats", "batch", "calibrate", "mesh", "distributed")
        refuse_given(context, "--exact has no images", *other)
        exactly.main(runs or [], chosen, gaussian, trust, step, out, json)
    else:
        measured = compare.Measured(metric, features, count, seed, repeats, batch)
        compare.main(runs or [], chosen, measured, gaussian, calibrate, trust, step, mesh, out, json)


for command in commands.OF_RUNS:
    app.command()(command)
data.command()(commands.pack)


def main():
    """The console command: errors of the user are one line on stderr and exit status 2; FEWSTEP_DEBUG=1 shows where."""
    from fewstep.cli import compilation_cache, cpu
    from fewstep.cli.errors import explained

    cpu.tune()
    compilation_cache.enable()
    status = 0
    try:
        app()
    except SystemExit as end:
        status = end.code or 0
    except Exception as error:
        line = explained(error)
        if line is None or os.environ.get("FEWSTEP_DEBUG"):
            traceback.print_exc()
            status = 1
        else:
            print(f"fewstep: {' '.join(line.split())}", file=sys.stderr, flush=True)
            status = 2
    from fewstep.cli.distributed import leave

    leave(status)


if __name__ == "__main__":
    main()
