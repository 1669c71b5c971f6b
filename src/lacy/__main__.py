"""Run the command line for ``python -m lacy``."""

import sys

from lacy.cli import main

sys.exit(main())
