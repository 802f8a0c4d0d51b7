"""PFGM++: noise of Student's t distribution in place of Gaussian noise."""

from dataclasses import dataclass
from typing import Annotated

from fewstep.diffusion.around import Around
from fewstep.diffusion.arrays import NumberT
from fewstep.diffusion.process import VE, Process
from fewstep.ranges import Range, checked


@checked
@dataclass(frozen=True)
class PFGM(Around):
    """Another process with the noise of PFGM++ (Xu et al. 2023, arXiv:2302.04265): the data are charges in a space with
    `dims` = D more dimensions, and samples follow the lines of their electric field.

    The kernel at the distance r = sigma sqrt(D) in these dimensions is p(x | x0) ~ (|x - x0|^2 + r^2)^(-(d + D) / 2)
    for images of d elements.  It is that of x0 + sigma eps with eps = z sqrt(D / chi^2_D): multivariate Student's t of
    D degrees of freedom.  D = 1 is PFGM (Xu et al. 2022, arXiv:2209.11178); D to infinity is diffusion.  The flow is
    the same function of E[x0 | x] as in diffusion, so training and deterministic samplers are unchanged.
    """

    process: Process = VE()
    dims: Annotated[float, Range(1, 1e15)] = 128.0

    def __post_init__(self) -> None:
        super().__post_init__()
        self.process.check_gaussian("PFGM.process")

    @property
    def freedom(self) -> float:
        return self.dims

    def lam(self, t: NumberT) -> NumberT:
        return self.process.lam(t)

    def dlam(self, t: NumberT) -> NumberT:
        return self.process.dlam(t)
