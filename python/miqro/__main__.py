"""`python -m miqro`: tools for the configuration file."""

from __future__ import annotations

import sys

from ._cli.check import main

if __name__ == "__main__":
    sys.exit(main())
