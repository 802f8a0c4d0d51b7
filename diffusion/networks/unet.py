"""U-Net for images, after Ho et al. 2020 (arXiv:2006.11239) and Dhariwal & Nichol 2021 (arXiv:2105.05233)."""

import math
from collections.abc import Callable, Sequence
from functools import partial
from itertools import count, pairwise, repeat
from typing import Annotated, Any

import jax
import jax.numpy as jnp
from flax import nnx

from fewstep.diffusion.arrays import Number, repeated
from fewstep.diffusion.denoiser import Cond
from fewstep.diffusion.networks.embeddings import FASTEST, Classes, Conditioning, Fastest, Precision
from fewstep.diffusion.networks.featured import Featured
from fewstep.diffusion.networks.hooks import check_columns, check_unused, joined
from fewstep.diffusion.networks.layers import EMBED, ZEROS, Block, Conv, GroupNorm, Linear
from fewstep.errors import UsageError
from fewstep.ranges import Fraction, Range, checked


def sizes(shape: Sequence[int], entries: tuple[int, ...], option: str) -> tuple[int, int, int]:
    """(H, W, C) of a shape; UsageError unless it is one of images that a level for each entry of `option` can halve."""
    if len(shape) != 3:
        raise UsageError(f"a U-Net is for images of shape (H, W, C), not {tuple(shape)}: use MLP for points")
    if not 0 < len(entries) <= 16:
        raise UsageError(f"a U-Net has a level for each entry of {option}, 1 to 16 of them: got {option} = {entries}")
    height, width, channels = shape
    check_divisible(height, width, len(entries), option)
    return height, width, channels


def check_divisible(height: int, width: int, levels: int, option: str = "mult") -> None:
    """Raises UsageError unless an image can be halved levels - 1 times."""
    step = 2 ** (levels - 1)
    if height % step or width % step:
        raise UsageError(
            f"a U-Net of {levels} levels (entries of {option}) halves the image {levels - 1} times: {height}x{width} "
            f"must be divisible by {step}"
        )


def _halved(x: jax.Array) -> jax.Array:
    """(B, H, W, C) -> (B, H/2, W/2, 4C): each 2x2 patch becomes one pixel."""
    b, h, w, c = x.shape
    return x.reshape(b, h // 2, 2, w // 2, 2, c).swapaxes(2, 3).reshape(b, h // 2, w // 2, 4 * c)


class _Variance(nnx.Module):
    """A second output from the last features, zero at initialization: a residual block, a norm, a convolution."""

    def __init__(self, inputs: int, channels: int, block: Callable[..., Block], *, rngs: nnx.Rngs):
        self.block = block(inputs, inputs, tokens=0)
        self.norm = GroupNorm(inputs)
        self.head = Conv(inputs, channels, (EMBED, None), kernel_init=ZEROS, rngs=rngs)

    def __call__(self, h: jax.Array, embedding: jax.Array, key: jax.Array | None) -> jax.Array:
        h = self.block(h, embedding, key)
        return self.head(nnx.silu(self.norm(h.astype(jnp.float32))))


@checked
class UNet(Featured):
    """Predicts an array of the shape of an image, in float32; with `variance` a second one in additional channels.

    shape = (H, W, C), with H and W divisible by 2**(len(mult) - 1), else UsageError; calls may have other H and W.
    Level i has base * mult[i] channels, `blocks` residual blocks in the encoder and one more in the decoder.
    Self-attention follows the last block, in encoder and decoder, of the levels where the smaller side of shape, halved
    i times, is in `attention`, and the middle if the last level is among them.  dtype is that of the computation;
    parameters are float32.
    fastest: the highest frequency of the time embedding, in radians per unit (embeddings.py).
    """

    def __init__(
        self,
        shape: Sequence[int],
        classes: Classes = 0,
        base: Annotated[int, Range(1, 4096)] = 32,
        mult: tuple[Annotated[int, Range(1, 64)], ...] = (1, 2),
        blocks: Annotated[int, Range(1, 64)] = 2,
        attention: tuple[Annotated[int, Range(1, 8192)], ...] = (4,),
        fastest: Fastest = FASTEST,
        jumps: bool = False,
        guided: bool = False,
        variance: bool = False,
        dropout: Fraction = 0.0,
        dtype: Precision = "float32",
        *,
        rngs: nnx.Rngs,
    ):
        self.levels = len(mult)
        height, width, channels = sizes(shape, mult, "mult")
        layer: dict[str, Any] = {"dtype": jnp.dtype(dtype), "rngs": rngs}
        block = partial(Block, embedding=4 * base, dropout=dropout, **layer)

        def stage(inputs: list[int], out: int, tokens: int) -> nnx.List:
            last = len(inputs) - 1
            return nnx.List([block(c, out, tokens=tokens if i == last else 0) for i, c in enumerate(inputs)])

        outs = [base * m for m in mult]
        sides = [(height >> level, width >> level) for level in range(self.levels)]
        tokens = [math.prod(side) if min(side) in attention else 0 for side in sides]  # 0 without attention
        self.attends = any(tokens)
        stages = list(zip([base, *outs[:-1]], outs, tokens, strict=True))
        self.conditioning = Conditioning(classes, 4 * base, jumps, fastest, guided, rngs=rngs)
        self.stem = Conv(channels, base, (None, EMBED), **layer)
        self.down = nnx.List([stage([into] + [out] * (blocks - 1), out, n) for into, out, n in stages])
        self.shrink = nnx.List([Linear(4 * c, c, (EMBED, None), **layer) for c in outs[:-1]])
        self.middle = nnx.List([block(outs[-1], outs[-1], tokens=n) for n in (tokens[-1], 0)])
        self.up = nnx.List([stage([2 * out] * blocks + [out + into], out, n) for into, out, n in stages])
        self.grow = nnx.List([Conv(c, above, (EMBED, None), **layer) for above, c in pairwise(outs)])
        self.norm = GroupNorm(outs[0])
        self.head = Conv(outs[0], channels, (EMBED, None), kernel_init=ZEROS, rngs=rngs)
        self.variance = _Variance(outs[0], channels, block, rngs=rngs) if variance else None

    def with_features(
        self, x: jax.Array, t: Number, d: Number | None, cond: Cond, key: jax.Array | None = None
    ) -> tuple[jax.Array, jax.Array]:
        """x (B, H, W, C), t and d (or d None) numbers or (B,) -> (B, H, W, C) in float32, with variance (B, H, W, 2C).

        Uses cond.label (B,), cond.guidance (B, 3), cond.attention (B,), and cond.skip, low and backbone (B, levels):
        column 0 is for the innermost level, the last column for full resolution.  key (B,), one per image; None: no
        dropout.  Raises UsageError for labels or jumps the network was not built for, for another number of columns,
        and for attention if it has none.  The features are the means of the channels after the middle blocks.
        """
        batch, height, width, _ = x.shape
        check_divisible(height, width, self.levels)
        check_columns(cond, self.levels)
        if not self.attends:
            check_unused(cond, "this U-Net has no attention", "attention")
        embedding = self.conditioning(batch, t, d, cond.label, cond.guidance)
        keys = repeat(None) if key is None else (jax.vmap(jax.random.fold_in, (0, None))(key, i) for i in count())

        def run(block, h):
            return block(h, embedding, next(keys), cond.attention)

        h = self.stem(x)
        skips = [h]
        for level, stage in enumerate(self.down):
            if level:
                skips.append(h := self.shrink[level - 1](_halved(h)))
            for block in stage:
                skips.append(h := run(block, h))
        for block in self.middle:
            h = run(block, h)
        features = h.astype(jnp.float32).mean((1, 2))
        for level, stage in reversed(list(enumerate(self.up))):
            for block in stage:
                h = run(block, joined(h, skips.pop(), cond, self.levels - 1 - level))
            if level:
                h = repeated(self.grow[level - 1](h), 2)
        out = self.head(nnx.silu(self.norm(h.astype(jnp.float32))))
        if self.variance is None:
            return out, features
        return jnp.concatenate([out, self.variance(h, embedding, next(keys))], axis=-1), features
