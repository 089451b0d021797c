"""How long the properties are tried: shortly and always the same in the suite, at random and for long on request.

`EXAMPLES=20` tries twenty times as many examples as the suite does, new ones with every run, and prints how to repeat
the one that failed. Without it the examples are the same with every run, so that nobody's change fails for another's.
"""

import os
from typing import Final

from hypothesis import HealthCheck, settings

FACTOR: Final = int(os.environ.get("EXAMPLES", "0"))


def effort(example_count: int, **more: object) -> settings:
    """Settings of one property that tries so many examples in the suite."""
    return settings(
        max_examples=example_count * max(FACTOR, 1),
        derandomize=FACTOR == 0,
        print_blob=True,
        deadline=None,
        # A world is large on purpose, and fixtures are made for all examples of a test.
        suppress_health_check=[
            HealthCheck.too_slow,
            HealthCheck.data_too_large,
            HealthCheck.large_base_example,
            HealthCheck.filter_too_much,
            HealthCheck.function_scoped_fixture,
        ],
        **more,
    )
