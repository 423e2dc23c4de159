"""Errors that are the caller's to fix, apart from faults of the program."""

from __future__ import annotations


class InputError(ValueError):
    """An image, prompt or number from outside cannot be used. The message says what was found, what is expected and
    what to do about it, and may be shown to a user as it is."""


class ModelError(ValueError):
    """A model directory that is damaged, or whose parts do not belong together."""
