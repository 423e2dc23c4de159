"""Every error that the library raises on purpose, as one tree.

    QuickchangeError
    ├── InputError               a picture, prompt, number or path from outside cannot be used      (ValueError)
    │   └── NotAnImageError      the bytes are not a picture in a readable format
    ├── ModelError               a model directory is damaged, or its parts do not fit together     (ValueError)
    │   └── ModelNotFoundError   a model directory, or a part of it, is missing                     (FileNotFoundError)
    ├── RecipeError              a training recipe is wrong, or contradicts an earlier run          (ValueError)
    ├── CheckpointError          a checkpoint is damaged, or belongs to another run                 (ValueError)
    ├── IllegalTransitionError   the cache's state does not allow a transition                      (RuntimeError)
    └── SessionClosedError       a control came after the end of its stream                         (RuntimeError)

Rooms add their own branches: ``train.loop.DivergedError``, ``serve.protocol.ProtocolError`` and ``ProblemError``. The
message always says what was found, what is expected and what to do. The command line catches the root once.
"""

from __future__ import annotations


class QuickchangeError(Exception):
    """The root: catches everything below."""


class InputError(QuickchangeError, ValueError):
    """An image, prompt or number from outside cannot be used. The message may be shown to a user as it is."""


class NotAnImageError(InputError):
    """The bytes are not a picture in a format that is read here."""


class ModelError(QuickchangeError, ValueError):
    """A model directory is damaged, or its parts do not fit together."""


class ModelNotFoundError(ModelError, FileNotFoundError):
    """A model directory, or a part of it, is missing."""


class RecipeError(QuickchangeError, ValueError):
    """A training recipe is wrong, or contradicts the run that it is to go on with."""


class CheckpointError(QuickchangeError, ValueError):
    """A checkpoint is damaged, or belongs to another stage or recipe."""


class IllegalTransitionError(QuickchangeError, RuntimeError):
    """A transition that the cache's state does not allow."""


class SessionClosedError(QuickchangeError, RuntimeError):
    """A control or a frame was asked of a session that has ended."""
