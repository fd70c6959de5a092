"""``python -m cell``: the same as the console script."""

import sys

from cell.main import main

sys.exit(main())
