"""fewstep: train a diffusion or flow model once, sample it with any sampler, measure quality by network calls."""

import io
import os
import platform
import sys
import traceback
from typing import Annotated

import typer

from fewstep.cli import commands, exchange, finding

app = typer.Typer(
    name="fewstep",
    help=__doc__,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_versions(asked: bool) -> None:
    if asked:
        from fewstep.train.utils.versions import commit, versions

        known = versions() | {"commit": commit(), "platform": platform.platform()}
        print("\n".join(f"{name} {text}" for name, text in known.items() if text))
        raise typer.Exit


@app.callback()
def _of_all(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_versions, is_eager=True, help="Print the versions, and exit.")
    ] = False,
) -> None:
    """Options before the name of a command."""


for command in (*commands.COMMANDS, *finding.COMMANDS):
    app.command()(command)
for name, command in exchange.COMMANDS.items():
    app.command(name)(command)

data = typer.Typer(no_args_is_help=True, help="Prepare data.")
app.add_typer(data, name="data")
data.command()(commands.pack)


def main() -> None:
    """The console command.  A user error is one line on stderr, exit status 2; FEWSTEP_DEBUG=1 shows the traceback."""
    from fewstep.cli import compilation_cache, cpu, signals
    from fewstep.train.utils.messages import log_to_stderr

    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:  # closed by the shell: >&-
            setattr(sys, name, open(os.devnull, "w"))  # noqa: SIM115  (open as long as the process)
        if isinstance(stream := getattr(sys, name), io.TextIOWrapper):  # a file's name may be no text
            stream.reconfigure(errors="backslashreplace")
    log_to_stderr()
    signals.keep_interrupts()
    cpu.tune()
    compilation_cache.enable()
    status: int | str = 0
    try:
        _check_calls(sys.argv[1:])
        app()
    except SystemExit as end:
        status = end.code or 0
    except Exception as error:
        from fewstep.cli.explain import explained

        line = explained(error)
        if line is None or os.environ.get("FEWSTEP_DEBUG"):
            traceback.print_exc()
            status = 1
        else:
            print(f"fewstep: {' '.join(line.split())}", file=sys.stderr, flush=True)
            status = 2
    from fewstep.cli.distributed import leave

    leave(status)


def _check_calls(words):
    """UserError for the name that many programs give to the number of network calls."""
    if words and words[0] in ("sample", "compare", "pairs", "tune-skips", "samplers"):
        for word in words:
            if word.partition("=")[0] in ("--steps", "--num-steps", "--num-inference-steps"):
                from fewstep.cli.errors import UserError

                raise UserError(f"{word}: the number of network calls, which some samplers make twice a step, is --nfe")


if __name__ == "__main__":
    main()
