"""Networks, called net(x, t, d, cond, key=None), and how they become plain functions of their parameters."""

from diffusion.networks.graph import Apply, abstract, split
from diffusion.networks.mlp import MLP
from diffusion.networks.unet import UNet

__all__ = ["MLP", "Apply", "UNet", "abstract", "split"]
