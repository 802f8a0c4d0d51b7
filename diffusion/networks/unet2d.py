"""The U-Net that most published weights are of: DDPM and UNet2DModel, ADM, DDPM++, NCSN++, EDM's DhariwalUNet.

Ho et al. 2020 (arXiv:2006.11239), Song et al. 2021 (arXiv:2011.13456), Dhariwal & Nichol 2021 (arXiv:2105.05233),
Karras et al. 2022 (arXiv:2206.00364).  `UNet` is the faster one to train from scratch; this one has their options.
"""

import math
from collections.abc import Sequence
from itertools import count, repeat
from typing import Annotated, Any, Literal

import jax
import jax.numpy as jnp
from flax import nnx

from fewstep.diffusion.arrays import Number, repeated
from fewstep.diffusion.denoiser import Cond
from fewstep.diffusion.networks.embeddings import Classes, Precision
from fewstep.diffusion.networks.featured import Featured
from fewstep.diffusion.networks.hooks import check_columns, check_unused, joined
from fewstep.diffusion.networks.layers import EMBED, ZEROS, Conv
from fewstep.diffusion.networks.resnet import Block, Filter, Modulated, Resampling, Style, blurred
from fewstep.diffusion.networks.time_class import Join, Order, TimeClass, Waves
from fewstep.diffusion.networks.unet import check_divisible, sizes
from fewstep.ranges import Fraction, Positive, Range, checked

Channels = Annotated[int, Range(1, 65_536)]


class _Aux(nnx.Module):
    """NCSN++'s path of the image past the blocks of a level: a convolution, then a blur at every second pixel."""

    def __init__(self, inputs: int, out: int, dtype: Any, *, rngs: nnx.Rngs):
        self.conv = Conv(inputs, out, (None, EMBED), padding=2, dtype=dtype, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        """(B, H, W, inputs) -> (B, H/2, W/2, out)."""
        return blurred(self.conv(x), 0)


@checked
class UNet2D(Featured):
    """Predicts an array of the shape of an image, in float32; with `variance` a second one in additional channels.

    shape = (H, W, C), with H and W divisible by 2**(len(channels) - 1), else UsageError; calls may have other H and W.
    Level i has channels[i] channels, `blocks` residual blocks in the encoder and one more in the decoder.  stem: the
    channels of the first convolution, channels[0] by default.  Attention follows the blocks of the levels where the
    smaller side of shape, halved i times, is in `attention`: in the encoder every block, in the decoder every one or
    the last (`decoder_attention`); middle_attention: also the first block of the middle.
    resampling: "conv", a convolution of stride 2, padded by one row and column at the end or (`pad_both`) on every
    side, and repeated pixels and a convolution; or "block", a residual block that resamples by `filter`.
    groups, group_size, eps, heads, head_size, modulation, residual, project: those of resnet.Style.
    waves, order, shift, label, null: those of time_class; waves and embedding (the width of the conditioning) are stem
    and 4 stem by default.  aux: the image joins every level past its blocks, as in NCSN++.
    dtype is that of the computation; parameters are float32.
    """

    def __init__(
        self,
        shape: Sequence[int],
        classes: Classes = 0,
        channels: tuple[Channels, ...] = (128, 256, 256, 256),
        blocks: Annotated[int, Range(1, 64)] = 2,
        attention: tuple[Annotated[int, Range(1, 8192)], ...] = (16,),
        stem: Channels | None = None,
        decoder_attention: Literal["every", "last"] = "every",
        middle_attention: bool = True,
        heads: Annotated[int, Range(1, 1024)] = 1,
        head_size: Annotated[int, Range(1, 65_536)] | None = None,
        groups: Annotated[int, Range(1, 1024)] = 32,
        group_size: Annotated[int, Range(1, 1024)] = 1,
        eps: Positive = 1e-5,
        modulation: Modulated = "add",
        resampling: Resampling = "conv",
        pad_both: bool = True,
        filter: Filter = "box",
        residual: Annotated[float, Range(above=0, most=1)] = 1.0,
        project: bool = False,
        aux: bool = False,
        embedding: Channels | None = None,
        waves: Channels | None = None,
        order: Order = "sin_cos",
        shift: Annotated[int, Range(0, 1)] = 0,
        label: Join = "after",
        null: bool = True,
        jumps: bool = False,
        guided: bool = False,
        variance: bool = False,
        dropout: Fraction = 0.0,
        dtype: Precision = "float32",
        *,
        rngs: nnx.Rngs,
    ):
        self.levels, self.pad_both, self.residual = len(channels), pad_both, residual
        height, width, colours = sizes(shape, channels, "channels")
        stem = channels[0] if stem is None else stem
        embedding = 4 * stem if embedding is None else embedding
        precision: Any = jnp.dtype(dtype)
        style = Style(
            groups=groups, group_size=group_size, eps=eps, heads=heads, head_size=head_size, modulation=modulation,
            filter=filter, residual=residual, project=project, embedding=embedding, dropout=dropout, dtype=precision,
        )  # fmt: skip
        sides = [(height >> level, width >> level) for level in range(self.levels)]
        tokens = [math.prod(side) if min(side) in attention else 0 for side in sides]  # 0 without attention
        inner = math.prod(sides[-1]) if middle_attention else 0
        self.attends, self.null_class = any(tokens) or middle_attention, null
        time = Waves(stem if waves is None else waves, order, shift)
        self.conditioning = TimeClass(time, embedding, classes, label, null, jumps, guided=guided, rngs=rngs)

        def block(inputs, out, tokens=0, resample=1.0):
            return Block(inputs, out, style, tokens, resample, rngs=rngs)

        def resampled(c, resample):
            if resampling == "block":
                return block(c, c, resample=resample)
            stride = {"strides": 2, "padding": "VALID"} if resample < 1 else {}
            return Conv(c, c, (EMBED, None), dtype=precision, rngs=rngs, **stride)

        self.stem = Conv(colours, stem, (None, EMBED), dtype=precision, rngs=rngs)
        h, skips, down, shrink, image = stem, [stem], [], [], []
        for level, c in enumerate(channels):
            if level:
                shrink.append(resampled(h, 0.5))
                if aux:
                    image.append(_Aux(colours if level == 1 else channels[level - 2], h, precision, rngs=rngs))
                skips.append(h)
            down.append(nnx.List([block(h if i == 0 else c, c, tokens[level]) for i in range(blocks)]))
            h, skips = c, skips + [c] * blocks
        self.down, self.shrink, self.aux = nnx.List(down), nnx.List(shrink), nnx.List(image)
        self.middle = nnx.List([block(h, h, inner), block(h, h)])
        up, grow = [], []
        for level, c in reversed(list(enumerate(channels))):
            stage = []
            for i in range(blocks + 1):
                attends = decoder_attention == "every" or i == blocks
                stage.append(block(h + skips.pop(), c, tokens[level] * attends))
                h = c
            up.insert(0, nnx.List(stage))
            if level:
                grow.insert(0, resampled(c, 2.0))
        self.up, self.grow = nnx.List(up), nnx.List(grow)
        self.norm = style.norm(h)
        self.head = Conv(h, colours, (EMBED, None), kernel_init=ZEROS, rngs=rngs)
        self.variance = Conv(h, colours, (EMBED, None), kernel_init=ZEROS, rngs=rngs) if variance else None

    def with_features(
        self, x: jax.Array, t: Number, d: Number | None, cond: Cond, key: jax.Array | None = None
    ) -> tuple[jax.Array, jax.Array]:
        """x (B, H, W, C), t and d (or d None) numbers or (B,) -> (B, H, W, C) in float32, with variance (B, H, W, 2C).

        Uses cond.label (B,), cond.guidance (B, 3), cond.attention (B,), and cond.skip, low and backbone (B, levels):
        column 0 is for the innermost level, the last column for full resolution.  key (B,), one per image; None: no
        dropout.  Raises UsageError for conditioning that the network was not built for.  The features are the means of
        the channels after the middle blocks.
        """
        batch, height, width, _ = x.shape
        check_divisible(height, width, self.levels, "channels")
        check_columns(cond, self.levels)
        if not self.attends:
            check_unused(cond, "this U-Net has no attention", "attention")
        embedding = self.conditioning(batch, t, d, cond.label, cond.guidance)
        keys = repeat(None) if key is None else (jax.vmap(jax.random.fold_in, (0, None))(key, i) for i in count())

        def run(block, h):
            return block(h, embedding, next(keys), cond.attention)

        h, image = self.stem(x), x
        skips = [h]
        for level, stage in enumerate(self.down):
            if level:
                h = self._shrunk(self.shrink[level - 1], h, run)
                if self.aux:
                    h = image = (h + self.aux[level - 1](image)) * self.residual
                skips.append(h)
            for block in stage:
                skips.append(h := run(block, h))
        for block in self.middle:
            h = run(block, h)
        features = h.astype(jnp.float32).mean((1, 2))
        for level, stage in reversed(list(enumerate(self.up))):
            for block in stage:
                h = run(block, joined(h, skips.pop(), cond, self.levels - 1 - level))
            if level:
                grow = self.grow[level - 1]
                h = run(grow, h) if isinstance(grow, Block) else grow(repeated(h, 2))
        h = nnx.silu(self.norm(h.astype(jnp.float32)))
        parts = [self.head(h)] + ([] if self.variance is None else [self.variance(h)])
        return jnp.concatenate(parts, axis=-1), features

    def _shrunk(self, shrink, h, run):
        if isinstance(shrink, Block):
            return run(shrink, h)
        before = int(self.pad_both)
        return shrink(jnp.pad(h, ((0, 0), (before, 1), (before, 1), (0, 0))))
