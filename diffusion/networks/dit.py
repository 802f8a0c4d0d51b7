"""Diffusion transformer for images, after Peebles & Xie 2022 (arXiv:2212.09748)."""

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Annotated, Literal

import jax
import jax.numpy as jnp
from flax import nnx

from fewstep.diffusion.arrays import Number
from fewstep.diffusion.denoiser import Cond
from fewstep.diffusion.networks.dit_blocks import BLOCKS, Norm, Style, Unit, Wide, modulated
from fewstep.diffusion.networks.embeddings import FASTEST, Classes, Conditioning, Fastest, Precision
from fewstep.diffusion.networks.featured import Featured
from fewstep.diffusion.networks.hooks import SKIPS, check_unused
from fewstep.diffusion.networks.layers import EMBED, ZEROS, Linear, Modulation
from fewstep.diffusion.networks.positions import places, rotary, sincos
from fewstep.diffusion.networks.time_class import TimeClass, Waves
from fewstep.errors import UsageError
from fewstep.ranges import Range, checked


class _Variance(nnx.Module):
    """A second output from the last tokens, zero at initialization: a block, a norm, a dense layer."""

    def __init__(self, width: int, outputs: int, block: Callable[[], nnx.Module], *, rngs: nnx.Rngs):
        self.block = block()
        self.modulation = Modulation(width, width, 2, (EMBED, None), kernel_init=ZEROS, rngs=rngs)
        self.head = Linear(width, outputs, (EMBED, None), kernel_init=ZEROS, rngs=rngs)


@checked
class DiT(Featured):
    """Predicts an array of the shape of an image, in float32; with `variance` a second one in additional channels.

    shape = (H, W, C), with H and W divisible by `patch`, else UsageError.  Calls may have other H and W; positions are
    then those of the same image on a finer or coarser grid.
    DiT-S, B, L and XL have (width, depth, heads) = (384, 12, 6), (768, 12, 12), (1024, 24, 16), (1152, 28, 16).
    positions: "sincos", added to the tokens, or "rotary", in the attention.  remat: recompute blocks in the backward
    pass instead of storing them.  dtype is that of the computation; parameters are float32.
    fastest: the highest frequency of the time embedding, in radians per unit (embeddings.py).
    unit: "attention" and a wide layer; the same as "deepnet", with norms after the sums, for deep stacks
    (arXiv:2203.00555); or "gau", two gated attention units of as many parameters, each with one head of width / heads,
    without `wide` and `qk_norm` (arXiv:2202.10447).  norm: "layer", or "rms" without the subtraction of
    the mean (arXiv:1910.07467).  wide: "gelu", or "swiglu" of about two thirds of the width, for as many parameters
    (arXiv:2002.05202).  qk_norm: as in SelfAttention.  biases: those of the layers of attention and of the wide layers.
    jump_blocks: only that many last blocks get the size of a jump (Decoupled MeanFlow, arXiv:2510.24474); 0: all.

    The published networks (facebookresearch/DiT, SiT, MeanFlow) have waves = 256, columns_first and joint.  waves: that
    many of time_class.Waves, with the class after the layers, in place of `fastest`; 0: none.  jump_layers: as in
    time_class, with waves (MeanFlow).  columns_first: positions are those of the column, then of the row.  joint: the
    second output is more channels of the same last layer, in place of a block and a layer of its own.
    """

    levels, attends, null_class = 0, True, True

    def __init__(
        self,
        shape: Sequence[int],
        classes: Classes = 0,
        patch: Annotated[int, Range(1, 1024)] = 2,
        width: Annotated[int, Range(1, 16_384)] = 384,
        depth: Annotated[int, Range(1, 256)] = 12,
        heads: Annotated[int, Range(1, 1024)] = 6,
        ratio: Annotated[int, Range(1, 64)] = 4,
        positions: Literal["sincos", "rotary"] = "sincos",
        unit: Unit = "attention",
        norm: Norm = "layer",
        wide: Wide = "gelu",
        qk_norm: bool = False,
        biases: bool = True,
        remat: bool = False,
        jump_blocks: Annotated[int, Range(0, 256)] = 0,
        fastest: Fastest = FASTEST,
        waves: Annotated[int, Range(0, 65_536)] = 0,
        jump_layers: bool = False,
        columns_first: bool = False,
        joint: bool = False,
        jumps: bool = False,
        guided: bool = False,
        variance: bool = False,
        dtype: Precision = "float32",
        *,
        rngs: nnx.Rngs,
    ):
        if len(shape) != 3:
            raise UsageError(f"a DiT is for images of shape (H, W, C), not {tuple(shape)}: use MLP for points")
        if width % heads or (width // heads if positions == "rotary" else width) % 4:
            raise UsageError(
                f"a DiT of width {width} does not divide into {heads} heads, or the heads into pairs of two "
                f"coordinates: choose a width that is a multiple of 4 heads"
            )
        if jump_blocks > depth:
            raise UsageError(f"DiT.jump_blocks is at most its depth: got {jump_blocks} of {depth} blocks")
        if jump_layers and not waves:
            raise UsageError("DiT.jump_layers needs waves: set DiT.waves = 256, or leave it False")
        if unit == "gau" and (wide != "gelu" or qk_norm):
            raise UsageError("DiT.unit = 'gau' has neither a wide layer nor qk_norm: leave both at their defaults")
        height, across, channels = shape
        self.columns_first, self.joint = columns_first, joint
        self.patch, self.heads, self.positions, self.remat = patch, heads, positions, remat
        self.dtype = jnp.dtype(dtype)
        self.first_jump = depth - jump_blocks if jump_blocks else 0
        self.trained = self._grid(height, across)
        if waves:
            features = Waves(waves, "cos_sin")
            options = jumps, jump_layers, guided
            self.conditioning = TimeClass(features, width, classes, "after", True, *options, rngs=rngs)
        else:
            self.conditioning = Conditioning(classes, width, jumps, fastest, guided, rngs=rngs)
        self.stem = Linear(patch * patch * channels, width, (None, EMBED), dtype=self.dtype, rngs=rngs)
        self.centred, style = norm == "layer", Style(depth, norm, wide, qk_norm, biases)
        block = partial(BLOCKS[unit], width, heads, ratio, math.prod(self.trained), style, dtype=self.dtype, rngs=rngs)
        self.blocks = nnx.List([block() for _ in range(depth)])
        self.modulation = Modulation(width, width, 2, (EMBED, None), kernel_init=ZEROS, rngs=rngs)
        outputs = patch * patch * channels
        head = partial(Linear, width, outputs, (EMBED, None), kernel_init=ZEROS, rngs=rngs)
        self.head = head()
        second = head if joint else partial(_Variance, width, outputs, block, rngs=rngs)
        self.variance = second() if variance else None

    def _grid(self, height: int, width: int) -> tuple[int, int]:
        """The numbers of rows and columns of tokens."""
        if height % self.patch or width % self.patch:
            raise UsageError(
                f"a DiT cuts images into patches of {self.patch}: {height}x{width} must be divisible by it"
            )
        return height // self.patch, width // self.patch

    def with_features(
        self, x: jax.Array, t: Number, d: Number | None, cond: Cond, key: jax.Array | None = None
    ) -> tuple[jax.Array, jax.Array]:
        """x (B, H, W, C), t and d (or d None) numbers or (B,) -> (B, H, W, C) in float32, with variance (B, H, W, 2C);
        uses cond.label (B,), cond.guidance (B, 3) and cond.attention (B,).

        There is no dropout: key is ignored.  Raises UsageError for labels or jumps the network was not built for, and
        for multipliers of skips.  The features are the means of the tokens after the middle block.
        """
        check_unused(cond, "a DiT has no skips", *SKIPS)
        batch, height, width, channels = x.shape
        (rows, columns), p = self._grid(height, width), self.patch
        tokens = x.reshape(batch, rows, p, columns, p, channels).swapaxes(2, 3).reshape(batch, rows * columns, -1)

        def images(h, modulation, *heads):
            scale, shift = modulation(embedding)
            h = modulated(h.astype(jnp.float32), scale, shift, self.centred)
            parts = (head(h).reshape(batch, rows, columns, p, p, channels) for head in heads)
            return [part.swapaxes(2, 3).reshape(x.shape) for part in parts]

        h = self.stem(tokens)
        turn, at = None, places((rows, columns), self.trained)
        at = at[:, ::-1] if self.columns_first else at
        if self.positions == "sincos":
            h += sincos(at, h.shape[-1]).astype(h.dtype)
        else:
            turn = rotary(at, h.shape[-1] // self.heads)
        embedding = self.conditioning(batch, t, d, cond.label, cond.guidance)
        instant = self.conditioning(batch, t, None, cond.label, cond.guidance) if self.first_jump else embedding

        def run(block, h, embedding):
            return block(h, embedding, turn, cond.attention)

        run = nnx.remat(run) if self.remat else run
        features = jnp.zeros((batch, 0))
        for i, block in enumerate(self.blocks):
            h = run(block, h, instant if i < self.first_jump else embedding)
            features = h.astype(jnp.float32).mean(1) if i == len(self.blocks) // 2 else features
        joint = [self.variance] if self.joint and self.variance is not None else []
        parts = images(h, self.modulation, self.head, *joint)
        if isinstance(self.variance, _Variance):
            parts += images(run(self.variance.block, h, embedding), self.variance.modulation, self.variance.head)
        return jnp.concatenate(parts, axis=-1), features
