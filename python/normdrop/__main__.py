"""``python -m normdrop`` is the program ``normdrop``."""

import sys

from normdrop.cli.main import main

# Processes that a library starts import this file under another name, and must not run it again.
if __name__ == "__main__":
    sys.exit(main())
