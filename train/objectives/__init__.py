"""What a network is trained to do: (model, params, state, batch, key) -> (loss, metrics)."""

from train.objectives.denoising import Denoising

__all__ = ["Denoising"]
