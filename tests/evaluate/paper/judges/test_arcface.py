"""Identity with tiny stand-ins: a detector that takes white squares for faces, a recogniser that sees mean colours."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from quickchange.errors import InputError
from quickchange.evaluate.paper.judges.arcface import DETECTOR, MODELS, ArcFaceJudge, FaceEmbedder
from quickchange.evaluate.paper.judges.base import NotMeasurableError, WeightsNotFoundError
from quickchange.evaluate.paper.judges.faces import SIZE, TEMPLATE, FaceDetector, aligned_face, similarity_transform
from quickchange.evaluate.types import Frames

CELL = 8  # of an 80-pixel picture, which the detector sees at 320 with cells of 32
# Landmarks in units of the detector's cell, relative to its corner: upright, inside the square.
POINTS = (TEMPLATE / SIZE).astype(np.float32)


def write_recogniser(path: Path, size: int = SIZE) -> None:
    """[N, 3, size, size] -> mean colours, shifted so that no vector is 0."""
    nodes = [
        helper.make_node("GlobalAveragePool", ["x"], ["pooled"]),
        helper.make_node("Flatten", ["pooled"], ["flat"]),
        helper.make_node("Add", ["flat", "shift"], ["y"]),
    ]
    graph = helper.make_graph(
        nodes,
        "recogniser",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 3, size, size])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 3])],
        [numpy_helper.from_array(np.array([0.01, 0.01, 0.01], np.float32), "shift")],
    )
    _save(graph, path)


def write_detector(path: Path) -> None:
    """YuNet's outputs: at stride 32 the score is a cell's brightness, at the finer strides nothing is found."""
    nodes, constants, outputs = [], [], []
    for stride in (8, 16, 32):
        for name, channels in (("cls", 1), ("obj", 1), ("bbox", 4), ("kps", 10)):
            weight = np.zeros((channels, 3, stride, stride), np.float32)
            bias = np.zeros(channels, np.float32)
            if name in ("cls", "obj") and stride == 32:
                weight += 1 / (255 * 3 * stride**2)
            if name == "bbox":
                bias[:2] = 0.5  # centred on the cell, as large as it
            if name == "kps":
                bias[:] = POINTS.ravel()
            key = f"{name}_{stride}"
            constants += [numpy_helper.from_array(weight, f"w_{key}"), numpy_helper.from_array(bias, f"b_{key}")]
            constants.append(numpy_helper.from_array(np.array([1, -1, channels], np.int64), f"s_{key}"))
            nodes += [
                helper.make_node(
                    "Conv",
                    ["input", f"w_{key}", f"b_{key}"],
                    [f"c_{key}"],
                    kernel_shape=[stride] * 2,
                    strides=[stride] * 2,
                ),
                helper.make_node("Transpose", [f"c_{key}"], [f"t_{key}"], perm=[0, 2, 3, 1]),
                helper.make_node("Reshape", [f"t_{key}", f"s_{key}"], [key]),
            ]
            outputs.append(helper.make_tensor_value_info(key, TensorProto.FLOAT, [1, None, channels]))
    entry = helper.make_tensor_value_info("input", TensorProto.FLOAT, [1, 3, 320, 320])
    path.parent.mkdir(parents=True, exist_ok=True)
    _save(helper.make_graph(nodes, "detector", [entry], outputs, constants), path)


def _save(graph: onnx.GraphProto, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    onnx.checker.check_model(model)
    onnx.save(model, str(path))


def person(colour: tuple[int, int, int], row: int = 4, column: int = 4) -> Frames:
    """A face of one bright cell in the middle of darkness."""
    picture = np.full((10 * CELL, 10 * CELL, 3), 20, np.uint8)
    picture[row * CELL : (row + 1) * CELL, column * CELL : (column + 1) * CELL] = colour
    return picture


@pytest.fixture
def judge(weights: Path) -> ArcFaceJudge:
    write_detector(weights / DETECTOR)
    write_recogniser(weights / "arcface" / "w600k_r50.onnx")
    return ArcFaceJudge()


def test_the_first_model_is_taken_where_both_are_there(weights: Path) -> None:
    write_detector(weights / DETECTOR)
    write_recogniser(weights / "arcface" / MODELS[0])
    (weights / "arcface" / MODELS[1]).write_bytes(b"not a model, and not read")
    assert isinstance(ArcFaceJudge(), ArcFaceJudge)


def test_the_detector_says_where_the_face_is(tmp_path: Path) -> None:
    write_detector(tmp_path / "yunet.onnx")
    detector = FaceDetector(tmp_path / "yunet.onnx")
    found = detector.largest(person((255, 255, 255), row=2, column=6))
    assert found is not None
    np.testing.assert_allclose(found, (POINTS + np.array([6, 2])) * CELL, atol=0.2)
    assert detector.largest(np.zeros((80, 80, 3), np.uint8)) is None


def test_the_same_face_scores_above_another(judge: ArcFaceJudge) -> None:
    red, blue = (255, 190, 190), (190, 190, 255)
    reference = person(red)
    same = judge.score(np.stack([person(red, 3, 3), person(red, 6, 2)]), reference, reference, "")
    other = judge.score(np.stack([person(blue, 3, 3)]), reference, reference, "")
    assert same["identity"] == pytest.approx(1, abs=0.01)
    assert other["identity"] < same["identity"] - 0.05
    assert same["face_found"] == 1


def test_frames_without_a_face_count_as_such_and_none_at_all_cannot_be_judged(judge: ArcFaceJudge) -> None:
    face, empty = person((255, 255, 255)), person((0, 0, 0))
    assert judge.score(np.stack([face, empty, empty, face]), face, face, "")["face_found"] == 0.5
    with pytest.raises(NotMeasurableError, match="in the reference"):
        judge.score(face[None], empty, face, "")
    with pytest.raises(NotMeasurableError, match="in the frames"):
        judge.score(empty[None], face, face, "")


def test_missing_and_wrong_weights_are_told_apart(weights: Path) -> None:
    write_detector(weights / DETECTOR)
    with pytest.raises(WeightsNotFoundError, match="glintr100"):
        ArcFaceJudge()
    broken = weights / "broken.onnx"
    broken.write_bytes(b"not a model")
    with pytest.raises(InputError, match=r"broken\.onnx"):
        FaceEmbedder(broken)
    with pytest.raises(InputError, match=r"broken\.onnx"):
        FaceDetector(broken)
    write_recogniser(weights / "small.onnx", size=64)
    with pytest.raises(InputError, match=r"expected an ArcFace model of \[N, 3, 112, 112\]"):
        FaceEmbedder(weights / "small.onnx")


def test_similarity_transform_undoes_a_known_turn() -> None:
    angle, scale, shift = 0.4, 2.5, np.array([30.0, -7.0])
    turn = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    found = similarity_transform(TEMPLATE, TEMPLATE @ turn.T + shift)
    np.testing.assert_allclose(found, np.c_[turn, shift], atol=1e-9)
    mirrored = similarity_transform(TEMPLATE, TEMPLATE * [-1, 1])
    assert np.linalg.det(mirrored[:, :2]) > 0  # a face is turned, never mirrored


def test_an_aligned_face_has_its_landmarks_on_the_template() -> None:
    picture = np.zeros((200, 200, 3), np.uint8)
    points = TEMPLATE[:, ::-1] * [-1, 1] + [150, 40]  # lying on its side
    for x, y in points.round().astype(int):
        picture[y - 2 : y + 3, x - 2 : x + 3] = 255
    face = aligned_face(picture, points)
    assert face.shape == (SIZE, SIZE, 3)
    assert all(face[y, x].min() > 128 for x, y in TEMPLATE.round().astype(int))
