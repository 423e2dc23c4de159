"""The generated world of clothed people: exact triplets (reference, garment, video) for training and evaluation.

The room does not know networks and never imports torch. `sample_spec` draws everything that a picture shows. `Renderer`
and `render_clip` turn a spec into frames, id maps and keypoints. `render_shards` writes data sets, `read_shard` reads
them.

Lengths are decimetres, the unit of the body data. The y axis points up, z towards the camera, +x to the person's left.
"""

from __future__ import annotations

from quickchange.world.clip import Clip, render_clip
from quickchange.world.render import Renderer
from quickchange.world.sampling import sample_spec
from quickchange.world.shards import read_shard, render_shards
from quickchange.world.spec import ClipSpec, GarmentSpec, Label

__all__ = [
    "Clip",
    "ClipSpec",
    "GarmentSpec",
    "Label",
    "Renderer",
    "read_shard",
    "render_clip",
    "render_shards",
    "sample_spec",
]
