"""Speed beside peers, each comparison as a ratio within one run. Idle machine only: ``make bench``."""

from __future__ import annotations

import sys

from benchmarks import (
    decoding,
    image_fit,
    loop_overhead,
    lstm_fit,
    memory,
    mlp_step,
    pixel_fit,
    pixel_tiles,
    search,
    start_up,
    table_scale,
)

PARTS = {
    "image_fit": image_fit,
    "lstm_fit": lstm_fit,
    "pixel_fit": pixel_fit,
    "pixel_tiles": pixel_tiles,
    "decoding": decoding,
    "memory": memory,
    "start_up": start_up,
    "search": search,
    "loop_overhead": loop_overhead,
    "mlp_step": mlp_step,
    "table_scale": table_scale,
}


def main(names: list[str]) -> None:
    """Run the named parts, or all of them."""
    for name in names or list(PARTS):
        print(f"## {name}", flush=True)
        PARTS[name].main()


if __name__ == "__main__":
    main(sys.argv[1:])
