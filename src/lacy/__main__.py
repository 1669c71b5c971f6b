"""Lets ``python -m lacy`` do what ``lacy`` does."""

import sys

from lacy.cli import main

sys.exit(main())
