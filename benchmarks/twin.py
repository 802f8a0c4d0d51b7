"""Our U-Net as diffusers' UNet2DModel, with our weights; for benchmarks/speed.py.

Two kinds of layers differ and are replaced by torch's own: a level is left by a 2x2 convolution of stride 2 (the same
as our patches and dense layer), and entered by a 3x3 convolution before the nearest neighbours.  So are the features of
the time, of other frequencies.  All else is diffusers'.
"""

import diffusers
import numpy as np
import torch
from diffusers.models.resnet import ResnetBlock2D
from torch import nn

from fewstep.diffusion.networks.embeddings import FASTEST, FEATURES, SLOWEST
from fewstep.diffusion.networks.layers import groups_of

HEAD = 32  # channels of a head of attention


class Sinusoids(nn.Module):
    """Our features of the time."""

    def __init__(self):
        super().__init__()
        waves = np.geomspace(SLOWEST, FASTEST, FEATURES // 2, dtype=np.float32)
        self.register_buffer("waves", torch.from_numpy(waves))

    def forward(self, t):
        angles = t[:, None] * self.waves
        return torch.cat([angles.cos(), angles.sin()], dim=-1)


class Grow(nn.Module):
    """The way up to the next level."""

    def __init__(self, channels, out):
        super().__init__()
        self.conv = nn.Conv2d(channels, out, 3, padding=1)

    def forward(self, x, size=None):
        return nn.functional.interpolate(self.conv(x), scale_factor=2.0, mode="nearest")


def untrained(shape, base, mult, blocks):
    """The network of our topology, attention at the last level, with torch's own initial weights."""
    if base != FEATURES:
        raise ValueError(f"UNet2DModel has as many features of the time as base channels: base must be {FEATURES}")
    outs = [base * m for m in mult]
    last = len(outs) - 1
    net = diffusers.UNet2DModel(
        sample_size=shape[0],
        in_channels=shape[-1],
        out_channels=shape[-1],
        block_out_channels=outs,
        layers_per_block=blocks,
        down_block_types=["DownBlock2D"] * last + ["AttnDownBlock2D"],
        up_block_types=["AttnUpBlock2D"] + ["UpBlock2D"] * last,
        attention_head_dim=HEAD,
        attn_norm_num_groups=32,
        resnet_time_scale_shift="scale_shift",
    )
    net.time_proj = Sinusoids()
    for level, out in enumerate(outs[:-1]):
        up = net.up_blocks[last - level]
        net.down_blocks[level].downsamplers[0] = nn.Conv2d(out, out, 2, stride=2)
        net.up_blocks[last - level - 1].upsamplers[0] = Grow(outs[level + 1], out)
        up.resnets[0] = ResnetBlock2D(
            in_channels=2 * out, out_channels=out, temb_channels=4 * base, eps=1e-5, time_embedding_norm="scale_shift"
        )
    for block in (net.down_blocks[last], net.up_blocks[0]):  # ours attends after the last block of a level alone
        for i in range(len(block.attentions) - 1):
            block.attentions[i] = nn.Identity()
    for norm in (module for module in net.modules() if isinstance(module, nn.GroupNorm)):
        norm.num_groups = groups_of(norm.num_channels)
    return net.eval()


def _fill(parameter, array):
    with torch.no_grad():
        parameter.copy_(torch.from_numpy(np.array(array)).reshape(parameter.shape))


def _dense(layer, p, order=lambda a: a):
    """A dense layer or a convolution; order: our outputs, the last axis, in the order of theirs."""
    kernel = order(np.asarray(p["kernel"]))
    _fill(layer.weight, np.moveaxis(kernel, (-1, -2), (0, 1)))
    _fill(layer.bias, order(np.asarray(p["bias"])))


def _norm(layer, p):
    _fill(layer.weight, p["scale"])
    _fill(layer.bias, p["shift"])


def _part(i):
    """Queries, keys or values of our heads x 3 x HEAD outputs."""
    return lambda a: a.reshape(*a.shape[:-1], -1, 3, HEAD)[..., i, :].reshape(*a.shape[:-1], -1)


def _all_scales_first(a):
    """Ours are pairs, a scale and a shift for every channel."""
    return a.reshape(*a.shape[:-1], -1, 2).swapaxes(-1, -2).reshape(a.shape)


def _block(layer, attention, p):
    _norm(layer.norm1, p["norm"])
    _dense(layer.conv1, p["conv"])
    _dense(layer.time_emb_proj, p["modulation"]["dense"], _all_scales_first)
    _fill(layer.norm2.weight, np.ones(layer.norm2.num_channels, np.float32))
    _fill(layer.norm2.bias, np.zeros(layer.norm2.num_channels, np.float32))
    _dense(layer.conv2, p["last"])
    if layer.conv_shortcut is not None:
        _dense(layer.conv_shortcut, p["shortcut"])
    if "attention" in p:
        p = p["attention"]
        _norm(attention.group_norm, p["norm"])
        for i, part in enumerate((attention.to_q, attention.to_k, attention.to_v)):
            _dense(part, p["mix"]["qkv"], _part(i))
        _dense(attention.to_out[0], p["mix"]["out"])


def _stage(block, stage):
    attentions = getattr(block, "attentions", [None] * len(block.resnets))
    for i, (layer, attention) in enumerate(zip(block.resnets, attentions, strict=False)):
        _block(layer, attention, stage[i])


def transplanted(params, shape, base, mult, blocks):
    """The network with our parameters, as `diffusion.networks.graph.split` gives them.  What is not filled is NaN."""
    net = untrained(shape, base, mult, blocks)
    for parameter in net.parameters():
        _fill(parameter, np.full(parameter.shape, np.nan, np.float32))
    _dense(net.conv_in, params["stem"])
    _dense(net.time_embedding.linear_1, params["conditioning"]["time"])
    _dense(net.time_embedding.linear_2, params["conditioning"]["mix"])
    for level, down in enumerate(net.down_blocks):
        _stage(down, params["down"][level])
        if down.downsamplers:
            kernel = np.asarray(params["shrink"][level]["kernel"])
            patches = kernel.reshape(2, 2, -1, kernel.shape[-1])
            _dense(down.downsamplers[0], params["shrink"][level] | {"kernel": patches})
    _block(net.mid_block.resnets[0], net.mid_block.attentions[0], params["middle"][0])
    _block(net.mid_block.resnets[1], None, params["middle"][1])
    for level, up in zip(reversed(range(len(mult))), net.up_blocks, strict=True):
        _stage(up, params["up"][level])
        if up.upsamplers:
            _dense(up.upsamplers[0].conv, params["grow"][level - 1])
    _norm(net.conv_norm_out, params["norm"])
    _dense(net.conv_out, params["head"])
    return net
