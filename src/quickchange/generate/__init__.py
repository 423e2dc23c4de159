"""One video, offline: ``plan`` says what, ``run`` makes it."""

MAX_SEED = 2**53 - 1
"""The largest seed: every integer up to here is exact in JavaScript too, so a browser can show and repeat it."""
