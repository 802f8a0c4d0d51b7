"""A small untrained network, and its digest in a process of its own."""

from flax import nnx

from fewstep.diffusion import VELOCITY, Linear
from fewstep.diffusion.denoiser import Model
from fewstep.diffusion.networks import UNet, split
from fewstep.train.run.computation import computation
from fewstep.train.utils.hashing import digest


def denoiser(seed=0):
    """For 8x8 images of ten classes."""
    net = UNet((8, 8, 1), 10, base=8, mult=(1,), blocks=1, attention=(), rngs=nnx.Rngs(seed))
    apply, params = split(net)
    return Model(apply, Linear(), VELOCITY, 10).denoiser(params)


if __name__ == "__main__":
    print(digest(denoiser(), computation(denoiser(), (8, 8, 1), "")))
