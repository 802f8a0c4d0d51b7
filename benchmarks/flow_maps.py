"""Flow maps on Fashion-MNIST after equal time: LSD, PSD and MeanFlow from one flow, and their FD at 1 to 8 calls.

    .venv/bin/python benchmarks/flow_maps.py fashion_mnist.npz runs/maps 10
    .venv/bin/python benchmarks/flow_maps.py fashion_mnist.npz runs/maps-120 120 configs/fashion_mnist/flow.gin

Trains the flow (configs/fashion_mnist/dit.gin, or the config that is given), then each map for so many minutes from it,
and prints both tables of `compare`.  Runs that are finished are not trained again.  Measured so far: ten minutes on two
cores (results/flow_maps.md).
"""

import subprocess
import sys
from pathlib import Path

MAPS = ("lsd", "psd", "meanflow")
FLOW = "configs/fashion_mnist/dit.gin"


def fewstep(*words):
    """Run a command; what it prints goes to the terminal."""
    subprocess.run([sys.executable, "-m", "fewstep.cli.main", *map(str, words)], check=True)


def bound(**values):
    """Options --set."""
    return [word for name, value in values.items() for word in ("--set", f"{name.replace('__', '.')}={value}")]


def main(data, folder, minutes, config=FLOW):
    """Train what is missing, and compare."""
    folder = Path(folder)
    for name in ("flow", *MAPS):
        if (folder / name / "curve.png").exists():  # drawn at the end of training
            continue
        options = bound(npz__path=repr(str(Path(data).absolute())), train__preview_every=10**6)
        if name != "flow":
            options += ["--init-from", folder / "flow"]
            options += bound(train__objective=f"@{name}()", train__minutes=minutes, train__steps=10**6, adamw__lr=3e-4)
            options += bound(**{f"{name}__times": "@uniform_times", f"{name}__same": 0.5, f"{name}__label_drop": 0.1})
        fewstep("train", config, "--run", folder / name, *options)
    asked = ("--count", 2000, "--metric", "FD")
    maps = [folder / name for name in MAPS]
    fewstep("compare", *maps, "--nfe", "1,2,4,8", *asked, "--sampler", "flow_map", "--out", folder / "maps")
    fewstep("compare", folder / "flow", "--nfe", "8,64", *asked, "--sampler", "dpmpp_2m", "--out", folder / "flows")


if __name__ == "__main__":
    main(*sys.argv[1:])
