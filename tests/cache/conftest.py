"""Fixtures shared by the tests of cache and engine."""

from random_cache import make_cache, stream  # noqa: F401
