"""Time and peak memory of answering for one large image in tiles, against its size.

    python -m benchmarks.pixel_tiles [SIDE ...]

A U-Net with random weights (widths from 8, so that the machine is busy with tiles and not with arithmetic) answers for
images of SIDE x SIDE grey pixels, each in a fresh process. Beyond the image and its answer, 2 bytes a pixel, memory
should not grow with the area, and time should grow with it.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time

from benchmarks.memory import _megabytes

SIDES = (1024, 2048, 4096)


def answer(side: int) -> None:
    """Answer for one image in this process; prints seconds and megabytes."""
    import torch

    from chainrule.data.samples import Batch
    from chainrule.data.schema import MaskTarget
    from chainrule.models.catalog import CATALOG
    from chainrule.nn.fronted import Fronted
    from chainrule.tasks.segment import Segment, SegmentConfig

    class Halves(torch.nn.Module):
        def forward(self, image: torch.Tensor) -> tuple[torch.Tensor]:
            return (image / 255 - 0.5,)

    target = MaskTarget(classes=("background", "object"), levels=((0,), (255,)), pixels=(1, 1), background=0)
    task = Segment(SegmentConfig(), target)
    config = CATALOG["unet"].config(in_channels=1, num_classes=2, widths=(8, 16, 32, 64, 128))
    network = Fronted(Halves(), task.wrap(CATALOG["unet"].build(config), None)).eval()
    image = torch.randint(0, 256, (1, 1, side, side), dtype=torch.uint8)
    with torch.inference_mode():
        first = Batch((image[..., :1024, :1024],), None, torch.arange(1))
        list(task.answers(network, first))  # what the network itself takes for one tile
        before, started = _megabytes("VmHWM"), time.perf_counter()
        list(task.answers(network, Batch((image,), None, torch.arange(1))))
    print(json.dumps({"seconds": time.perf_counter() - started, "grown": _megabytes("VmHWM") - before}))


def main(sides: tuple[int, ...] = SIDES) -> None:
    """Print a line for each side."""
    for side in sides:
        words = [sys.executable, "-m", "benchmarks.pixel_tiles", "answer", str(side)]
        done = json.loads(subprocess.run(words, check=True, capture_output=True).stdout.splitlines()[-1])
        pixels, seconds = side * side, done["seconds"]
        print(
            f"{side:>6} x {side}: {seconds:6.1f} s, {1e6 * seconds / pixels:.2f} s a megapixel; peak grew by "
            f"{done['grown']:5.0f} MB, of which {2 * pixels / 2**20:.0f} MB are the answer",
            flush=True,
        )


if __name__ == "__main__":
    if sys.argv[1:2] == ["answer"]:
        answer(int(sys.argv[2]))
    else:
        main(tuple(map(int, sys.argv[1:])) or SIDES)
