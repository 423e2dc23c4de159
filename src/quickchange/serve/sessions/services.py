"""What sessions share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from quickchange.serve.metrics import Metrics
from quickchange.serve.protocol.messages import ModelInfo
from quickchange.serve.recording import RecordingStore
from quickchange.serve.sessions.worker import Worker
from quickchange.serve.settings import Settings

if TYPE_CHECKING:
    from quickchange.engine.studio import Studio


@dataclass(frozen=True, kw_only=True)
class Services:
    """Everything of the server that a session needs. No session knows the registry or another session.

    Attributes:
        studio: the model, loaded and warm.
        settings: of the server.
        worker: gives turns on the device.
        metrics: counters for Prometheus.
        model: the description of the model that clients get.
        recordings: keeps and signs what sessions record.
    """

    studio: Studio
    settings: Settings
    worker: Worker
    metrics: Metrics
    model: ModelInfo
    recordings: RecordingStore
