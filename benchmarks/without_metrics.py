"""A Parley server that counts nothing, to compare with: `python -m benchmarks.without_metrics MODULE FLAGS…`.

The product has no such switch; what its metrics do is replaced here before anything is loaded.
"""

import runpy
import sys

from services.common.instruments import Counter, Gauge, Histogram


def _nothing(*args: object, **options: object) -> None:
    """In place of a count."""


def _itself(metric: object, *args: object, **options: object) -> object:
    """In place of the search for a label."""
    return metric


for kind, methods in ((Counter, ("inc",)), (Gauge, ("inc", "dec", "set")), (Histogram, ("observe",))):
    for method in methods:
        setattr(kind, method, _nothing)
    setattr(kind, "labels", _itself)  # noqa: B010  as above
sys.argv = sys.argv[1:]
runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
