"""Arrays that measurements share. A docstring gives the shape where one is used."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Frame = NDArray[np.uint8]  # [H, W, 3], RGB
Frames = NDArray[np.uint8]  # [T, H, W, 3] or [N, H, W, 3], RGB
Mask = NDArray[np.bool_]  # [..., H, W]
Floats = NDArray[np.float32]
Indices = NDArray[np.int64]
