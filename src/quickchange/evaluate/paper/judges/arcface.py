"""Identity: ArcFace cosine between the reference's face and the face in the frames (the paper's Cur).

The recognition models that the field uses, insightface's ONNX files, run with onnxruntime: ``glintr100.onnx`` of
antelopev2 or ``w600k_r50.onnx`` of buffalo_l. Their weights are for non-commercial research only.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from quickchange.errors import InputError
from quickchange.evaluate.paper.judges.base import (
    Judge,
    Metric,
    NotMeasurableError,
    WeightsNotFoundError,
    spread_out,
    weights_path,
)
from quickchange.evaluate.paper.judges.faces import SIZE, FaceDetector, aligned_face
from quickchange.evaluate.types import Frames

MODELS = ("glintr100.onnx", "w600k_r50.onnx")
ORIGIN = "github.com/deepinsight/insightface (model pack antelopev2 or buffalo_l)"
DETECTOR = "yunet/face_detection_yunet_2023mar.onnx"
DETECTOR_ORIGIN = "github.com/opencv/opencv_zoo (models/face_detection_yunet)"


class FaceEmbedder:
    """An ArcFace network as ONNX: [N, 3, 112, 112] RGB in -1..1 -> [N, D].

    Raises:
        InputError: not an ONNX model, or one of another input.
    """

    def __init__(self, path: Path) -> None:
        import onnxruntime

        try:
            self._session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime raises its own classes for every kind of damage
            raise InputError(f"{path}: not a model that onnxruntime can read ({error})") from error
        given = self._session.get_inputs()[0]
        if list(given.shape[1:]) != [3, SIZE, SIZE]:
            raise InputError(f"{path}: takes {given.shape}; expected an ArcFace model of [N, 3, {SIZE}, {SIZE}]")
        self._input = given.name

    def embed(self, faces: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Unit vectors [N, D] of aligned faces, uint8 RGB [N, 112, 112, 3]."""
        x = (faces.astype(np.float32).transpose(0, 3, 1, 2) - 127.5) / 127.5
        out = np.concatenate([self._session.run(None, {self._input: face[None]})[0] for face in x])
        return np.asarray(out / np.linalg.norm(out, axis=1, keepdims=True), np.float32)


class ArcFaceJudge(Judge):
    """Mean cosine over up to ``most`` frames in which a face is found, and the share of such frames.

    Raises:
        WeightsNotFoundError: recognition or detection weights are missing.
    """

    name = "arcface"
    metrics = (
        Metric(
            name="identity",
            column="ID (Cur)",
            low=-1.0,
            high=1.0,
            higher_is_better=True,
            source="Deng et al., ArcFace, CVPR 2019; CurricularFace's Cur is the same measure on another loss",
        ),
        Metric(
            name="face_found",
            column="",
            low=0.0,
            high=1.0,
            higher_is_better=True,
            source="Wu et al., YuNet, 2023",
        ),
    )

    def __init__(self, device: str = "cpu", most: int = 32) -> None:
        super().__init__(device)
        self.detector = FaceDetector(weights_path(self.name, DETECTOR, DETECTOR_ORIGIN))
        self.embedder, self.most = FaceEmbedder(_recognition()), most

    def _faces(self, images: Frames) -> list[NDArray[np.uint8]]:
        found = ((image, self.detector.largest(image)) for image in images)
        return [aligned_face(image, landmarks) for image, landmarks in found if landmarks is not None]

    def score(self, frames: Frames, reference: Frames, garment: Frames, prompt: str) -> dict[str, float]:
        """See ``Judge.score``."""
        source = self._faces(reference[None])
        if not source:
            raise NotMeasurableError("arcface: no face found in the reference")
        looked_at = frames[spread_out(len(frames), self.most)]
        faces = self._faces(looked_at)
        if not faces:
            raise NotMeasurableError("arcface: no face found in the frames")
        similarity = self.embedder.embed(np.stack(faces)) @ self.embedder.embed(source[0][None])[0]
        return {"identity": float(similarity.mean()), "face_found": len(faces) / len(looked_at)}


def _recognition() -> Path:
    """The first of ``MODELS`` that is there. WeightsNotFoundError, which names the first of all, if none is."""
    missing = []
    for name in MODELS:
        try:
            return weights_path("arcface", f"arcface/{name}", ORIGIN)
        except WeightsNotFoundError as error:
            missing.append(error)
    raise missing[0]
