"""fewstep: train a diffusion or flow model once, sample it with any sampler, see quality against network calls."""

import os
import sys
from typing import Annotated

import typer

app = typer.Typer(
    name="fewstep",
    help=__doc__,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
Set = Annotated[list[str], typer.Option("--set", metavar="NAME.PARAMETER=VALUE", help="Override a config value.")]
Trust = Annotated[bool, typer.Option("--trust", help="Allow the config to import code.")]
Lever = Annotated[list[str], typer.Option("--lever", help='A lever, such as "cfg(1.5)" or clip_x0; innermost first.')]


@app.command()
def train(
    config: Annotated[
        str, typer.Argument(help="A .gin file, or one that comes with fewstep: configs/digits/flow.gin.")
    ],
    run: Annotated[str, typer.Option(help="The folder of the run. Given again, training goes on where it stopped.")],
    set: Set = [],  # noqa: B006
    trust: Trust = False,
):
    """Train a model; the same command resumes it."""
    from scripts.train import main

    main(config, run, set, trust)


@app.command()
def sample(
    run: Annotated[str, typer.Argument(help="The folder of a run.")],
    sampler: Annotated[str, typer.Option(help="One of `fewstep samplers`.")] = "dpmpp_2m",
    nfe: Annotated[int, typer.Option(help="Network calls per image, at most.")] = 16,
    count: Annotated[int, typer.Option(help="How many images.")] = 64,
    seed: Annotated[int, typer.Option(help="Seed of the first image; the others count up from it.")] = 0,
    label: Annotated[str | None, typer.Option(help="A class, or several in turn: 3 or 0,1,2.")] = None,
    lever: Lever = [],  # noqa: B006
    grid: Annotated[str | None, typer.Option(help="Step grid; by default the process's or the sampler's.")] = None,
    out: Annotated[str, typer.Option(help="The picture; an .npz with the numbers goes beside it.")] = "samples.png",
    set: Set = [],  # noqa: B006
    trust: Trust = False,
):
    """Draw images from a run: a picture, and an .npz beside it."""
    from scripts.sample import main

    main(run, sampler, nfe, count, seed, label, lever, grid, out, set, trust)


@app.command()
def compare(
    runs: Annotated[list[str], typer.Argument(help="Folders of runs trained on the same data.")],
    nfe: Annotated[str, typer.Option(help="Budgets of network calls.")] = "1,2,4,8,16,32,64",
    sampler: Annotated[str, typer.Option(help="Samplers to compare.")] = "ddim,heun,dpmpp_2m,ddpm,euler_maruyama",
    count: Annotated[int, typer.Option(help="Images per cell.")] = 500,
    seed: Annotated[int, typer.Option(help="Seed of the first image.")] = 0,
    lever: Lever = [],  # noqa: B006
    out: Annotated[str | None, typer.Option(help="Folder of the results; RUN/compare by default.")] = None,
    set: Set = [],  # noqa: B006
    trust: Trust = False,
):
    """Quality against network calls: the same seeds through every sampler at every budget."""
    from scripts.compare import main

    main(runs, nfe, sampler, count, seed, lever, out, set, trust)


@app.command()
def runs(folder: Annotated[str, typer.Argument(help="A folder with runs in it, or in folders in it.")] = "runs"):
    """List runs: how far they are, their loss, FD and best sampler."""
    from scripts.runs import main

    main(folder)


@app.command()
def config(
    config: Annotated[str, typer.Argument(help="A .gin file.")],
    set: Set = [],  # noqa: B006
    trust: Trust = False,
):
    """Print all that a config sets, defaults and overrides included, as `train` would use it."""
    from scripts.train import resolved

    print(resolved(config, set, trust)[1], end="")


@app.command()
def samplers():
    """List the samplers: calls per step, order, what they need, paper."""
    from scripts.samplers import main

    main()


def main():
    """The console command: errors of the user are one line on stderr and exit status 2; FEWSTEP_DEBUG=1 shows where."""
    from scripts.cpu import tune

    tune()
    try:
        app()
    except Exception as error:
        if os.environ.get("FEWSTEP_DEBUG") or not _is_users(error):
            raise
        print(f"fewstep: {' '.join(str(error).split())}", file=sys.stderr, flush=True)
        sys.exit(2)


def _is_users(error) -> bool:
    """Errors that say what the user can do: our own, those of values (ValueError), and of files."""
    from train.errors import RunError

    return isinstance(error, RunError | ValueError | OSError)


if __name__ == "__main__":
    main()
