"""How far an exhaustive walk goes: each kind once in ``make test``, everything in ``make test-all``."""

import os

ALL = os.environ.get("TOBAN_TEST_ALL") == "1"
"""Walk through every crash point and every damage (an hour), not only the first of each kind."""
