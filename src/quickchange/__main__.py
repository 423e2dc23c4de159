"""``python -m quickchange``: the command line, where the console script is not on the path."""

from __future__ import annotations

import sys

from quickchange.cli import main

sys.exit(main())
