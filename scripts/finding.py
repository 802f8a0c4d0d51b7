"""The commands that find a way to sample for a model, as typer reads them."""

from typing import Annotated

import typer

from fewstep.cli.commands import FEATURES, RunFolder
from fewstep.cli.options import Batch, Cluster, Levers, Opening, flat
from fewstep.evaluation.metrics import BATCH


def fit(
    run: RunFolder,
    levers: Levers,
    opening: Opening,
    cluster: Cluster,
    nfe: Annotated[int, typer.Option(help="Network calls of the table.")] = 6,
    method: Annotated[
        str, typer.Option(help="table; amed, whose times a network chooses; amed_dpm_solver_2 or amed_ipndm.")
    ] = "table",
    name: Annotated[
        str | None, typer.Option(help="Name of the table, for --sampler fitted:NAME; fit-N, or METHOD-N.")
    ] = None,
    count: Annotated[int, typer.Option(help="Trajectories; a quarter of them is not fitted on, and decides.")] = 200,
    steps: Annotated[
        int, typer.Option(help="Gauss-Newton steps of all numbers, 0 for least squares alone; epochs of amed.")
    ] = 10,
    seed: Annotated[int, typer.Option(help="Seed of the first noise; those of 1000000 and above judge.")] = 500_000,
    label: Annotated[str | None, typer.Option(help="Classes in turn: 3, or 0,1,2, or cat,dog; all by default.")] = None,
    spectral: Annotated[
        str | None,
        typer.Option(metavar="SAMPLER", help="Only fit the grid of this sampler, to the spectrum of the data."),
    ] = None,
) -> None:
    """Fit a table of few network calls to a run: times and coefficients, from its own trajectories."""
    from fewstep.cli.distributed import start
    from fewstep.cli.verbs.fit import main

    start(cluster)
    main(run, levers, opening, nfe, name, count, steps, seed, label, spectral, method)


def recommend(
    run: RunFolder,
    levers: Levers,
    opening: Opening,
    passes: Annotated[int, typer.Option(help="Network passes per image; guidance takes two per call.")] = 8,
    sampler: Annotated[str | None, typer.Option(help="Samplers to try; by default a dozen.")] = None,
    grid: Annotated[str | None, typer.Option(help="Grids; by default uniform,log_snr,karras,quadratic,beta.")] = None,
    sweep: Annotated[
        list[str],
        typer.Option(metavar="NAME.PARAMETER=V,V", help="Values to try; by default cfg.scale=1.5,2,3 with classes."),
    ] = [],
    metric: Annotated[str, typer.Option(help="The distance that decides: FD, KID, SW, mind or energy.")] = "FD",
    features: Annotated[str, typer.Option(help=f"On which: {FEATURES}")] = "pixels",
    count: Annotated[int, typer.Option(help="Images of each of the last two; no round has more.")] = 2000,
    seed: Annotated[int, typer.Option(help="Seed of the first image.")] = 1_000_000,
    batch: Batch = str(BATCH),
    out: Annotated[str | None, typer.Option(help="Folder of the results; RUN/recommend by default.")] = None,
    json: Annotated[bool, typer.Option("--json", help="Print the answer as JSON.")] = False,
) -> None:
    """Recommend a sampler, grid, lever and fitted table for a run at so many network passes."""
    from fewstep.cli.verbs.recommend import main

    main(run, passes, sampler, grid, levers.lever, sweep, opening, metric, features, count, seed, batch, out, json)


def play(
    runs: Annotated[list[str], typer.Argument(metavar="RUN [RUN]", help="The folder of a run, or of two to compare.")],
    opening: Opening,
    port: Annotated[int, typer.Option(help="The port on this machine; by default a free one.")] = 0,
    batch: Annotated[int, typer.Option(help="Images sampled at once.")] = 16,
) -> None:
    """Open a page that draws while its sliders move: sampler, calls, grid, seed, class, levers."""
    from fewstep.cli.verbs.play import main

    main(runs, opening, port, batch)


COMMANDS = (flat(play), flat(fit), flat(recommend))
