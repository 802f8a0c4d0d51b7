"""Options that several commands have."""

from typing import Annotated

import typer

Set = Annotated[list[str], typer.Option("--set", metavar="NAME.PARAMETER=VALUE", help="Override a config value.")]
Trust = Annotated[bool, typer.Option("--trust", help="Allow the config to import code.")]
Mesh = Annotated[str, typer.Option("--mesh", help="Devices to divide among, as data,fsdp,tensor; -1: all others.")]
_several = {"rich_help_panel": "Several processes"}
Distributed = Annotated[
    bool, typer.Option("--distributed", help="One of several processes of one command.", **_several)
]
Coordinator = Annotated[
    str | None, typer.Option(metavar="HOST:PORT", help="Where process 0 is; a cluster's environment tells.", **_several)
]
Processes = Annotated[int | None, typer.Option(help="How many processes there are.", **_several)]
Process = Annotated[int | None, typer.Option(help="Which of them this is, from 0.", **_several)]
Lever = Annotated[list[str], typer.Option("--lever", help='A lever, such as "cfg(1.5)" or clip_x0; innermost first.')]
Calibrate = Annotated[
    bool, typer.Option("--calibrate", help="Measure the variances that a sampler needs where that was not done.")
]
Step = Annotated[int | None, typer.Option("--step", help="The checkpoint of this step; the newest by default.")]
