"""Peak memory of ``fit`` against the number of images, and its growth while training.

    python -m benchmarks.memory [IMAGES ...]

Images of 32 x 32 x 3 bytes stand in a mapped file; up to 512 MB of them are copied into memory, more are read where
they are. Each number in a fresh process, for some steps of a small network.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path

SIZES = (10_000, 100_000, 300_000, 1_000_000)
SHAPE = (32, 32, 3)
STEPS = 60
SETTLED = 10  # steps after which memory should not grow


def write(path: Path, count: int) -> None:
    """Noise with a class in its brightness, block by block."""
    import numpy as np

    generator = np.random.default_rng(0)
    with path.open("wb") as file:
        for start in range(0, count, 10_000):
            rows = min(10_000, count - start)
            classes = (np.arange(start, start + rows) % 10).astype(np.uint8)
            noise = generator.integers(0, 200, (rows, *SHAPE), dtype=np.uint8)
            file.write((noise + 5 * classes[:, None, None, None]).tobytes())


def fit(path: Path, count: int, out: Path) -> None:
    """Some steps and the scores in this process; prints megabytes."""
    import numpy as np

    from chainrule.fitting import start_training

    images = np.memmap(path, dtype=np.uint8, mode="r", shape=(count, *SHAPE))
    shares = {"data.valid_share": 2_000 / count, "data.test_share": 2_000 / count}
    settings = {**shares, "train.steps": STEPS, "train.batch_size": 64, "train.precision": "float32"}
    training = start_training((images, np.arange(count) % 10), settings, "resnet20", out)
    resident = [_megabytes("VmRSS") for _ in training]
    training.finish()
    grown = max(resident[:-1]) - resident[SETTLED - 1]  # the last step validates as well, in larger batches
    print(json.dumps({"peak": _megabytes("VmHWM"), "training": resident[-1], "grown": grown}))


def _megabytes(name: str) -> float:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{name}:")) / 1024


def main(sizes: tuple[int, ...] = SIZES) -> None:
    """Print a line for each number of images."""
    for count in sizes:
        with tempfile.TemporaryDirectory(dir="/var/tmp") as folder:
            path = Path(folder) / "images.bin"
            write(path, count)
            words = [sys.executable, "-m", "benchmarks.memory", "fit", str(path), str(count), str(Path(folder) / "run")]
            done = json.loads(subprocess.run(words, check=True, capture_output=True).stdout.splitlines()[-1])
        print(
            f"{count:>9,} images, {path_megabytes(count):5.0f} MB: peak {done['peak']:5.0f} MB, while training "
            f"{done['training']:5.0f} MB, grown by {done['grown']:.1f} MB after step {SETTLED}",
            flush=True,
        )


def path_megabytes(count: int) -> float:
    """Megabytes of the images themselves."""
    return count * SHAPE[0] * SHAPE[1] * SHAPE[2] / (1 << 20)


if __name__ == "__main__":
    if sys.argv[1:2] == ["fit"]:
        fit(Path(sys.argv[2]), int(sys.argv[3]), Path(sys.argv[4]))
    else:
        main(tuple(map(int, sys.argv[1:])) or SIZES)
