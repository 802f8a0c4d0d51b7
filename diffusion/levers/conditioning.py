"""Levers that only tell the network something more."""

from fewstep.diffusion.denoiser import Cond, Wrapper


class ConditioningLever(Wrapper):
    """Asks what is inside with another cond: subclasses say which by tell(cond, count, on), `on` a condition or one an
    image (count,); where it is False what is told changes nothing."""

    def tell(self, cond, count, on=True) -> Cond:
        raise NotImplementedError

    def __call__(self, x, t, s=None, cond=Cond()):
        return self.inner(x, t, s, self.tell(cond, len(x)))
