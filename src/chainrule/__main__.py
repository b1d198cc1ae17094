"""``chainrule`` and ``python -m chainrule``."""

import gc
import sys


def main() -> None:
    """Run the command line; imports make millions of objects that live on, so collecting waits until they are done."""
    gc.disable()
    from chainrule.cli import run

    sys.exit(run(sys.argv[1:]))


if __name__ == "__main__":
    main()
