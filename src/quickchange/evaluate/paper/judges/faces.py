"""Find faces and align them to the pose that face recognition was trained on."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from quickchange.errors import InputError
from quickchange.evaluate.paper.judges.base import WeightsNotFoundError

SIZE = 112
# Where ArcFace's training pictures have left eye, right eye, nose tip, left and right mouth corner, as seen, in a
# 112x112 picture (insightface's five-point template).
TEMPLATE = np.array(
    [[38.2946, 51.6963], [73.5318, 51.5014], [56.0252, 71.7366], [41.5493, 92.3655], [70.7299, 92.2041]], np.float64
)
SMALLEST_SIDE = 320  # frames below are enlarged first: the detector misses faces of a few pixels


class FaceDetector:
    """YuNet (OpenCV zoo) through ``cv2.FaceDetectorYN``.

    Args:
        path: ``face_detection_yunet_2023mar.onnx``.
        confidence: least score of a face, 0..1.

    Raises:
        WeightsNotFoundError: no such file.
        InputError: OpenCV cannot read the model.
    """

    def __init__(self, path: Path, confidence: float = 0.6) -> None:
        if not path.is_file():
            raise WeightsNotFoundError(f"face detector not found at {path}")
        try:
            self._net = cv2.FaceDetectorYN.create(str(path), "", (SMALLEST_SIDE, SMALLEST_SIDE), confidence)
        except cv2.error as error:
            raise InputError(f"{path}: OpenCV cannot read this model ({error.err})") from error

    def largest(self, image: NDArray[np.uint8]) -> NDArray[np.float64] | None:
        """The five landmarks of the largest face, [5, 2] pixels in the order of ``TEMPLATE``; None without a face.

        Args:
            image: uint8 RGB [H, W, 3].
        """
        scale = max(1.0, SMALLEST_SIDE / min(image.shape[:2]))
        shown = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_CUBIC) if scale > 1 else image
        self._net.setInputSize(shown.shape[1::-1])
        _, faces = self._net.detect(cv2.cvtColor(shown, cv2.COLOR_RGB2BGR))
        if faces is None or not len(faces):
            return None
        best = faces[int(np.argmax(faces[:, 2] * faces[:, 3]))]
        return np.asarray(best[4:14].reshape(5, 2), np.float64) / scale


def similarity_transform(source: NDArray[np.float64], target: NDArray[np.float64]) -> NDArray[np.float64]:
    """The rotation, scale and shift (no reflection) that brings points [N, 2] closest to ``target``: [2, 3].

    Source: S. Umeyama, Least-squares estimation of transformation parameters between two point patterns, 1991.
    """
    a, b = source - source.mean(0), target - target.mean(0)
    u, s, vt = np.linalg.svd(b.T @ a / len(a))
    keep = np.array([1.0, np.sign(np.linalg.det(u @ vt))])
    rotation = u @ np.diag(keep) @ vt
    scale = (s * keep).sum() / a.var(0).sum()
    shift = target.mean(0) - scale * rotation @ source.mean(0)
    return np.concatenate([scale * rotation, shift[:, None]], 1)


def aligned_face(image: NDArray[np.uint8], landmarks: NDArray[np.float64]) -> NDArray[np.uint8]:
    """Cut the face out and turn it upright, u8[112, 112, 3]."""
    matrix = similarity_transform(landmarks, TEMPLATE)
    return np.asarray(cv2.warpAffine(image, matrix, (SIZE, SIZE), flags=cv2.INTER_LINEAR), np.uint8)
