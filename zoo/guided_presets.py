"""What the published files of guided-diffusion, improved-diffusion and consistency models do not say of themselves.

The facts are those of the flags in their README.md and scripts/launch.sh, at 22e0df8, 1bc7bbb and e32b69e.
"""

from dataclasses import dataclass
from typing import Literal

from fewstep.zoo.guided_shapes import Shapes


@dataclass(frozen=True)
class Preset:
    """A published model.

    shapes: what its file must show.  size: pixels of a side.  heads: their number, or `head_size` the size of each.
    order: of the rows of queries, keys and values (layout.qkv).  schedule, steps: those of `Discrete`; or "edm" and
    "consistency", under VE.  rescaled: the network is told the index times 1000 / steps.  nfe: network calls in the
    authors' samples.
    """

    file: str
    shapes: Shapes
    size: int
    heads: int = 1
    head_size: int | None = None
    order: Literal["h3s", "3hs"] = "h3s"
    schedule: Literal["linear", "cosine", "edm", "consistency"] = "linear"
    steps: int = 1000
    rescaled: bool = False
    dropout: float = 0.0
    nfe: int = 250

    @property
    def kind(self) -> str:
        """What its authors call it."""
        if self.schedule in ("edm", "consistency"):
            return "EDM teacher" if self.schedule == "edm" else "consistency model"
        return "ADM" if self.shapes.resampling == "block" else "improved DDPM"

    @property
    def repository(self) -> str:
        """Where it was published."""
        if self.schedule in ("edm", "consistency"):
            return "openai/consistency_models"
        return "openai/guided-diffusion" if self.shapes.resampling == "block" else "openai/improved-diffusion"


def _shapes(width, factors, blocks, sides, size, **more):
    """Those of a model with so many channels times the factors, and attention at these sides."""
    attends = tuple(size >> level in sides for level in range(len(factors)))
    channels = tuple(int(width * factor) for factor in factors)
    return Shapes(channels=channels, blocks=blocks, attends=attends, waves=width, **more)


SIDES = (32, 16, 8)
AT_64, AT_256 = (1, 2, 3, 4), (1, 1, 2, 2, 4, 4)
_64 = _shapes(192, AT_64, 3, SIDES, 64, classes=1000)
_256 = _shapes(256, AT_256, 2, SIDES, 256)
_IDDPM = {"schedule": "cosine", "steps": 4000, "heads": 4, "nfe": 4000}


def _iddpm(width, factors, size, classes=0):
    return _shapes(width, factors, 3, (16, 8), size, classes=classes, resampling="conv")


PRESETS = {
    "adm-64": Preset("64x64_diffusion.pt", _64, 64, head_size=64, order="3hs", schedule="cosine", dropout=0.1),
    "adm-128": Preset("128x128_diffusion.pt", _shapes(256, (1, 1, 2, 3, 4), 2, SIDES, 128, classes=1000), 128, heads=4),
    "adm-256": Preset("256x256_diffusion.pt", _256.of(classes=1000), 256, head_size=64),
    "adm-256-uncond": Preset("256x256_diffusion_uncond.pt", _256, 256, head_size=64),
    "adm-512": Preset(
        "512x512_diffusion.pt", _shapes(256, (0.5, 1, 1, 2, 2, 4, 4), 2, SIDES, 512, classes=1000), 512, head_size=64
    ),
    "lsun-bedroom": Preset("lsun_bedroom.pt", _256, 256, head_size=64, dropout=0.1, nfe=1000),
    "lsun-cat": Preset("lsun_cat.pt", _256, 256, head_size=64, dropout=0.1, nfe=1000),
    "lsun-horse": Preset("lsun_horse.pt", _256, 256, head_size=64, dropout=0.1, nfe=1000),
    "lsun-horse-nodropout": Preset("lsun_horse_nodropout.pt", _256, 256, head_size=64, nfe=1000),
    "iddpm-cifar10": Preset(
        "cifar10_uncond_50M_500K.pt", _iddpm(128, (1, 2, 2, 2), 32), 32, rescaled=True, dropout=0.3, **_IDDPM
    ),
    "iddpm-cifar10-vlb": Preset(
        "cifar10_uncond_vlb_50M_500K.pt", _iddpm(128, (1, 2, 2, 2), 32), 32, rescaled=True, dropout=0.3, **_IDDPM
    ),
    "iddpm-imagenet64": Preset("imagenet64_uncond_100M_1500K.pt", _iddpm(128, AT_64, 64), 64, rescaled=True, **_IDDPM),
    "iddpm-imagenet64-vlb": Preset(
        "imagenet64_uncond_vlb_100M_1500K.pt", _iddpm(128, AT_64, 64), 64, rescaled=True, **_IDDPM
    ),
    "iddpm-imagenet64-cond": Preset("imagenet64_cond_270M_250K.pt", _iddpm(192, AT_64, 64, 1000), 64, **_IDDPM),
    "iddpm-lsun-bedroom": Preset(
        "lsun_uncond_100M_2400K_bs64.pt",
        _shapes(128, AT_256, 2, (16,), 256, modulation="add", resampling="conv"),
        256,
        nfe=1000,
    ),
}


def _published(name, shapes, size):
    """The teacher of EDM, and the distilled (cd) and trained (ct) consistency models, of one data set."""
    known = {"head_size": 64, "order": "3hs"}
    models = {"cd-l2": f"cd_{name}_l2.pt", "cd-lpips": f"cd_{name}_lpips.pt", "ct": f"ct_{name}.pt"}
    teacher = Preset(f"edm_{name}_ema.pt", shapes, size, schedule="edm", dropout=0.1, nfe=79, **known)
    found = {f"cm-{name}-edm": teacher}
    for model, file in models.items():
        found[f"cm-{name}-{model}"] = Preset(file, shapes, size, schedule="consistency", nfe=1, **known)
    return found


PRESETS |= _published("imagenet64", _64.of(outputs=3), 64)
for _name in ("bedroom256", "cat256"):
    PRESETS |= _published(_name, _256.of(outputs=3, modulation="add"), 256)
