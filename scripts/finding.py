"""The commands that find a way to sample for a model, as typer reads them."""

from typing import Annotated

import typer

from fewstep.cli.commands import RunFolder
from fewstep.cli.options import Cluster, Levers, Opening, flat


def fit(
    run: RunFolder,
    levers: Levers,
    opening: Opening,
    cluster: Cluster,
    nfe: Annotated[int, typer.Option(help="Network calls of the table.")] = 6,
    name: Annotated[str | None, typer.Option(help="Name of the table, for --sampler fitted:NAME; fit-N.")] = None,
    count: Annotated[int, typer.Option(help="Trajectories; a quarter of them is not fitted on, and decides.")] = 200,
    steps: Annotated[int, typer.Option(help="Steps of the descent by gradient; 0 for least squares alone.")] = 200,
    seed: Annotated[int, typer.Option(help="Seed of the first noise; those of 1000000 and above judge.")] = 500_000,
    label: Annotated[str | None, typer.Option(help="Classes in turn: 3, or 0,1,2, or cat,dog; all by default.")] = None,
) -> None:
    """Fit a table of few network calls to a run: times and coefficients, from its own trajectories."""
    from fewstep.cli.distributed import start
    from fewstep.cli.verbs.fit import main

    start(cluster)
    main(run, levers, opening, nfe, name, count, steps, seed, label)


COMMANDS = (flat(fit),)
