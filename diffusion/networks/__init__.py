"""Networks, called net(x, t, d, cond, key=None), and how they become plain functions of their parameters."""

from diffusion.networks.dit import DiT
from diffusion.networks.graph import Apply, abstract, axes, split
from diffusion.networks.mlp import MLP
from diffusion.networks.unet import UNet

__all__ = ["MLP", "Apply", "DiT", "UNet", "abstract", "axes", "split"]
