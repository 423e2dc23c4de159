"""Whether the face is the same: the head, aligned by its keypoints, against the reference's.

The descriptor is our own and is not trained on faces: colours and slopes at three sizes. It tells the world's people
apart at sizes where a face has twenty pixels. It is not valid for photographs.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from quickchange.evaluate.scorecard.metrics.base import Case, Metric, Shot
from quickchange.evaluate.types import Floats

FACE = slice(0, 5)  # nose, eyes, ears
HEAD = (1, 2, 7)  # labels: skin, hair, eyes
SURE = 0.3  # probability from which a keypoint counts
SIZES = (0.7, 1.4, 2.8)  # blur in pixels of the crop
CROP = 48  # pixels of the crop's side
REACH = 1.5  # half side of the crop in distances between the ears
COLOUR_SCALE = 12.0  # L*a*b* distance at which a colour counts 1/e
CHIN = 0.7  # how far below the middle of the face the head ends, in distances between the ears; below is clothing
TURN = 0.5  # greatest rotation that is undone, in radians
SHIFTS = tuple((x, y) for y in (-2, 0, 2) for x in (-2, 0, 2))  # crop pixels; keypoints are off by that much


def face_points(shot: Shot, t: int) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Nose, eyes and ears in frame ``t``: places f64[5, 2] in pixels, and which of them are sure, bool[5]."""
    points = shot.reading.keypoints[t, FACE]
    return points[:, :2].astype(np.float64), points[:, 2] > SURE


def head_size(reference: Shot) -> float:
    """The reference's distance between the ears in pixels; from the eyes where an ear is hidden."""
    points, _ = face_points(reference, 0)
    ears, eyes = np.linalg.norm(points[3] - points[4]), np.linalg.norm(points[1] - points[2])
    return max(float(ears), 2.2 * float(eyes), 4.0)


def crop(shot: Shot, t: int, reference: Shot) -> tuple[Floats, NDArray[np.bool_]] | None:
    """The head in the reference's place and size: L*a*b* f32[CROP,CROP,3] and mask; None without two keypoints."""
    here, sure = face_points(shot, t)
    there, sure_there = face_points(reference, 0)
    both = sure & sure_there
    if both.sum() < 2:
        return None
    a, b = here[both], there[both]
    middle_a, middle_b = a.mean(0), b.mean(0)
    a, b = a - middle_a, b - middle_b
    turn = np.arctan2((b[:, 0] * a[:, 1] - b[:, 1] * a[:, 0]).sum(), (a * b).sum())
    turn = float(np.clip(turn, -TURN, TURN))
    rotation = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    # Crop pixel p shows the reference's place corner + step * p, which lies here turned about the keypoints' middle.
    step = 2 * REACH * head_size(reference) / CROP
    corner = there[sure_there].mean(0) - step * (CROP - 1) / 2
    origin = middle_a + rotation @ (corner - middle_b) - 0.5
    matrix = np.concatenate([step * rotation, origin[:, None]], 1)
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    picture = cv2.warpAffine(shot.lab[t], matrix, (CROP, CROP), flags=flags, borderMode=cv2.BORDER_REPLICATE)
    head = np.isin(shot.reading.ids[t], HEAD).astype(np.uint8)
    mask = cv2.warpAffine(head, matrix, (CROP, CROP), flags=cv2.INTER_NEAREST | cv2.WARP_INVERSE_MAP)
    mask[int(CROP / 2 + CHIN * CROP / (2 * REACH)) :] = 0
    return np.asarray(picture, np.float32), np.asarray(mask > 0)


def likeness(first: Floats, second: Floats, mask: NDArray[np.bool_]) -> float:
    """How alike two crops are inside a mask, in [0, 1]: over blurs, half colour and half correlation of slopes."""
    scores = []
    for sigma in SIZES:
        a, b = (cv2.GaussianBlur(picture, (0, 0), sigma) for picture in (first, second))
        colour = float(np.exp(-np.linalg.norm(a - b, axis=2)[mask].mean() / COLOUR_SCALE))
        slopes = []
        for picture in (a, b):
            light = np.ascontiguousarray(picture[..., 0])
            slopes.append(np.concatenate([cv2.Scharr(light, cv2.CV_32F, *order)[mask] for order in ((1, 0), (0, 1))]))
        length = float(np.linalg.norm(slopes[0]) * np.linalg.norm(slopes[1]))
        scores.append((colour + max(0.0, float(slopes[0] @ slopes[1]) / max(length, 1e-6))) / 2)
    return float(np.mean(scores))


def similarity(shot: Shot, reference: Shot) -> float:
    """Mean likeness of the sampled frames' heads to the reference's, best of small shifts; heads not found count 0.

    nan where the reference shows no head.
    """
    own = crop(reference, 0, reference)
    if own is None or not own[1].any():
        return float("nan")
    scores = []
    for t in range(len(shot.sampled)):
        found = crop(shot.sampled, t, reference)
        if found is None or not found[1].any():
            scores.append(0.0)
            continue
        mask = own[1] | found[1]
        scores.append(max(likeness(np.roll(found[0], shift, (1, 0)), own[0], mask) for shift in SHIFTS))
    return float(np.mean(scores))


def identity(case: Case) -> float:
    """Likeness of the heads to the reference's over that of the truth, at most 1; nan where the truth has none."""
    true = case.truth.once(similarity, case.reference)
    # Not even the truth shows the reference's head: a stream cannot be blamed, nor praised.
    if not true > 0:
        return float("nan")
    return min(1.0, similarity(case.shown, case.reference) / true)


METRICS: tuple[Metric[Case], ...] = (
    Metric(
        "identity",
        "likeness of the head (aligned by nose, eyes and ears) to the reference's, over the truth's, at most 1; "
        f"likeness: mean over three blurs of exp(-L\\*a\\*b\\* distance / {COLOUR_SCALE:g}) and the "
        "correlation of slopes",
        "0..1",
        "higher",
        "other person",
        identity,
    ),
)
