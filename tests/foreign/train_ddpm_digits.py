"""Train a small pipeline of diffusers on the digits, as tests/foreign/ddpm-digits was: python train_ddpm_digits.py OUT

(With the extra `torch` installed.)  It takes a few minutes on two cores; its weights differ from those of the fixture,
because torch's random numbers depend on the version and the machine.
"""

import sys
from pathlib import Path

import diffusers
import torch

from fewstep.train.data import digits

STEPS, BATCH = 900, 64


def main(out: Path) -> None:
    """Write the pipeline's folder."""
    torch.manual_seed(0)
    model = diffusers.UNet2DModel(
        sample_size=8, in_channels=1, out_channels=1, layers_per_block=1, block_out_channels=(32, 64),
        down_block_types=("DownBlock2D", "AttnDownBlock2D"), up_block_types=("AttnUpBlock2D", "UpBlock2D"),
        attention_head_dim=32,
    )  # fmt: skip
    scheduler = diffusers.DDPMScheduler()
    optimizer = torch.optim.AdamW(model.parameters(), 1e-3)
    split = digits().train
    images = torch.from_numpy(split[: len(split)].image).permute(0, 3, 1, 2)
    for _ in range(STEPS):
        x0 = images[torch.randint(len(images), (BATCH,))]
        noise, t = torch.randn_like(x0), torch.randint(scheduler.config.num_train_timesteps, (BATCH,))
        loss = torch.nn.functional.mse_loss(model(scheduler.add_noise(x0, noise, t), t).sample, noise)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    diffusers.DDPMPipeline(model.half(), scheduler).save_pretrained(out)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
