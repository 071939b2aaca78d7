"""A process that shares the work of a run with the one that started it: it writes no files."""

import os
import sys
import threading
from collections.abc import Sequence
from pathlib import Path

from vae_exp import parts
from vae_exp.errors import UserError
from vae_exp.training.interrupts import Unheard


def main(folder: Path, trusted: Sequence[str]) -> int:
    """Take part in a run until it is trained, or until the process that started this one ends.

    trusted: the modules that were named on the command line.
    """
    threading.Thread(target=_end_with_the_first, daemon=True).start()
    try:
        parts.trust(trusted)
        with Unheard() as interrupts:
            from vae_exp.training.tasks import assist

            assist(folder, interrupts)
    except UserError as error:
        print(" ".join(str(error).split()), file=sys.stderr)
        return 2
    return 0


def _end_with_the_first() -> None:
    os.read(0, 1)  # its stdin is a pipe that nobody writes to
    os._exit(1)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), sys.argv[2:]))
