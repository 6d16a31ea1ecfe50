"""Becomes another program that ends when its parent does: `python launch.py SIGNAL PROGRAM ARGUMENTS...`.

It is run as a file, isolated (`-I -S`), so that the program's environment does not touch it.
"""

import os
import sys
from pathlib import Path

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[2]))
    from services.core.parent import end_with_parent

    end_with_parent(int(sys.argv[1]))
    os.execvp(sys.argv[2], sys.argv[2:])  # noqa: S606 - the point of this program
