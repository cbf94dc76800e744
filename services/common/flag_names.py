"""The name of every flag of every Parley program, so that a variable or key meant for a neighbour is no typo.

Kept true by tests/unit/common/test_settings.py.
"""

FLAG_NAMES: frozenset[str] = frozenset()
FLAG_PREFIXES: tuple[str, ...] = ("llm_gen_",)
"""Flags with an open end: any generation parameter."""
