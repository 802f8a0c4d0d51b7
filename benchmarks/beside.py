"""Pictures of `fewstep sample` below each other, with a grey line between, as the pages of docs/levers have them.

.venv/bin/python benchmarks/beside.py [--scale 2] docs/levers/cfg.png runs/digits/1.png runs/digits/8.png
"""

import argparse

from PIL import Image

GAP = 8


def main(out, pictures, scale=1):
    """Write the pictures to `out`, each pixel as scale x scale of them."""
    images = [Image.open(picture) for picture in pictures]
    images = [image.resize((scale * image.width, scale * image.height), Image.Resampling.NEAREST) for image in images]
    width, height = max(image.width for image in images), sum(image.height + GAP for image in images) - GAP
    whole = Image.new(images[0].mode, (width, height), "grey")
    for i, image in enumerate(images):
        whole.paste(image, (0, sum(above.height + GAP for above in images[:i])))
    whole.save(out, optimize=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out")
    parser.add_argument("pictures", nargs="+")
    parser.add_argument("--scale", type=int, default=1)
    asked = parser.parse_args()
    main(asked.out, asked.pictures, asked.scale)
