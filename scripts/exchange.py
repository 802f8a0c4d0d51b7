"""The commands that exchange models with other programs, as typer reads them."""

from typing import Annotated

import typer

from fewstep.cli.commands import RunFolder
from fewstep.cli.options import Checkpoint, flat


def import_model(
    source: Annotated[str, typer.Argument(help="A diffusers folder, an EDM pickle, or a file of weights.")],
    run: Annotated[str, typer.Option(help="The folder of the run to make.")],
    name: Annotated[
        str | None, typer.Option("--as", metavar="NAME", help="Which model it is of, if its files do not say.")
    ] = None,
    weights: Annotated[
        str | None, typer.Option(metavar="NAME", help="Which of several sets of weights; the average by default.")
    ] = None,
    data: Annotated[
        str | None, typer.Option(help="The data to compare with: digits, a folder of images, an .npz.")
    ] = None,
) -> None:
    """Make a run of somebody else's trained model; nothing in its files is executed."""
    from fewstep.cli.verbs.import_model import main

    main(source, run, name, weights, data)


def export(
    run: RunFolder,
    out: Annotated[str, typer.Argument(help="The folder to write.")],
    checkpoint: Checkpoint,
    format: Annotated[
        str, typer.Option(help="safetensors: by our names; diffusers: a pipeline; original: as it was imported.")
    ] = "safetensors",
    trust: Annotated[bool, typer.Option("--trust", help="Allow the config to import code.")] = False,
) -> None:
    """Write the averaged weights of a run for other programs."""
    from fewstep.cli.verbs.export import main

    main(run, out, format, checkpoint.step, trust)


COMMANDS = {"import": flat(import_model), "export": flat(export)}
