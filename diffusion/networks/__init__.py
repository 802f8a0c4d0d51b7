"""Networks, called net(x, t, d, cond, key=None), and their conversion to plain functions of their parameters."""

from fewstep.diffusion.networks.dit import DiT
from fewstep.diffusion.networks.graph import Apply, abstract, axes, fused_heads, one_key, split
from fewstep.diffusion.networks.mlp import MLP
from fewstep.diffusion.networks.unet import UNet
from fewstep.diffusion.networks.unet2d import UNet2D

__all__ = ["MLP", "Apply", "DiT", "UNet", "UNet2D", "abstract", "axes", "fused_heads", "one_key", "split"]
