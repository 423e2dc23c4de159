"""An OpenAI-compatible chat endpoint: vLLM, SGLang, llama.cpp's server, or a commercial one.

Address, model and key come from the environment, the key never from an argument or a file:

    QUICKCHANGE_VLM_URL=http://localhost:8000/v1
    QUICKCHANGE_VLM_MODEL=Qwen/Qwen2.5-VL-72B-Instruct
    QUICKCHANGE_VLM_KEY=...
"""

from __future__ import annotations

import base64
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from quickchange.errors import InputError

RETRIED = frozenset([408, 409, 425, 429, 500, 502, 503, 504])


@dataclass(frozen=True, kw_only=True)
class Endpoint:
    """An address and how patiently to ask it.

    Attributes:
        url: base address, up to and with ``/v1``.
        model: name that the service knows.
        key: sent as bearer token if not "".
        attempts: tries per question, at least 1.
        wait: seconds before the second try, doubled for every further one.
        timeout: seconds per try.
        sleep: waits (replaced in tests).
    """

    url: str
    model: str
    key: str = ""
    attempts: int = 5
    wait: float = 1.0
    timeout: float = 120.0
    sleep: Callable[[float], None] = time.sleep

    @staticmethod
    def from_environment(prefix: str, purpose: str) -> Endpoint:
        """Read ``{prefix}_URL``, ``{prefix}_MODEL`` and ``{prefix}_KEY``.

        Raises:
            InputError: address or model is not set; the message says what for.
            ModuleNotFoundError: httpx2 is not installed.
        """
        url, model = os.environ.get(f"{prefix}_URL", ""), os.environ.get(f"{prefix}_MODEL", "")
        if not url or not model:
            raise InputError(
                f"{purpose}: no endpoint; set {prefix}_URL (an OpenAI-compatible address ending in /v1), "
                f"{prefix}_MODEL and, where it wants one, {prefix}_KEY"
            )
        if not url.startswith(("http://", "https://")):
            raise InputError(f"{prefix}_URL is {url!r}; expected an address that starts with http:// or https://")
        import_module("httpx2")  # fail before the first stream, not after it
        return Endpoint(url=url.rstrip("/"), model=model, key=os.environ.get(f"{prefix}_KEY", ""))

    def ask(self, content: Sequence[dict[str, Any]], **options: Any) -> dict[str, Any]:
        """The first choice of one chat completion with a user message of ``content`` parts.

        Overload, server faults and lost connections are tried again with growing waits (or those the server asks for).

        Raises:
            InputError: refused, or still failing after all attempts.
        """
        import httpx2

        body = {
            "model": self.model,
            "messages": [{"role": "user", "content": list(content)}],
            "temperature": 0,
            **options,
        }
        headers = {"Authorization": f"Bearer {self.key}"} if self.key else {}
        problem = ""
        for attempt in range(self.attempts):
            pause = self.wait * 2 ** (attempt - 1)
            if attempt:
                self.sleep(pause)
            try:
                answer = httpx2.post(f"{self.url}/chat/completions", json=body, headers=headers, timeout=self.timeout)
            except httpx2.TransportError as error:
                problem = f"{type(error).__name__}: {error}"
                continue
            if answer.status_code in RETRIED:
                problem = f"status {answer.status_code}"
                continue
            if answer.status_code != 200:
                raise InputError(f"{self.url} refused with status {answer.status_code}: {answer.text[:200]}")
            try:
                choice = answer.json()["choices"][0]
                if not isinstance(choice["message"]["content"], str):
                    raise TypeError("content is no text")
                return dict(choice)
            except (ValueError, KeyError, IndexError, TypeError) as error:
                raise InputError(f"{self.url} did not answer with a chat completion ({error!r})") from error
        raise InputError(f"{self.url} failed {self.attempts} times, last with {problem}; try again later")


def words(text: str) -> dict[str, Any]:
    """A text part of a message."""
    return {"type": "text", "text": text}


def picture(image: NDArray[np.uint8], longest: int = 1024) -> dict[str, Any]:
    """An image part: uint8 RGB [H, W, 3], at most ``longest`` pixels a side, as base64 JPEG."""
    scale = min(1.0, longest / max(image.shape[:2]))
    if scale < 1:
        image = np.asarray(cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA), np.uint8)
    done, data = cv2.imencode(".jpg", cv2.cvtColor(image, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, 92])
    if not done:
        raise ValueError(f"image of shape {image.shape} could not be encoded")
    return {
        "type": "image_url",
        "image_url": {"url": "data:image/jpeg;base64," + base64.b64encode(data.tobytes()).decode()},
    }


def contact(frames: NDArray[np.uint8], columns: int) -> NDArray[np.uint8]:
    """Lay frames u8[T, H, W, 3], T a multiple of ``columns``, side by side in reading order."""
    rows = [np.concatenate(list(frames[i : i + columns]), 1) for i in range(0, len(frames), columns)]
    return np.concatenate(rows)
