from __future__ import annotations

import re

import numpy as np
import pytest
from PIL import Image

from quickchange.media.cutout import cut_out
from quickchange.media.images import load_image
from quickchange.serve.catalogue import Catalogue, load_catalogue


@pytest.fixture(scope="module")
def catalogue() -> Catalogue:
    return load_catalogue()


def test_what_is_bundled(catalogue: Catalogue) -> None:
    assert len(catalogue.people) >= 4
    assert len(catalogue.garments) >= 9
    assert catalogue.people[0].path.name == "person.png"  # the demo's person comes first
    assert all(item.kind is None for item in catalogue.people)
    assert {item.kind for item in catalogue.garments} <= {"top", "bottom", "one-piece"}
    items = catalogue.people + catalogue.garments
    assert len({item.id for item in items}) == len({item.name for item in items}) == len(items)
    assert all(re.fullmatch(r"[a-z0-9][a-z0-9_-]{0,63}", item.id) for item in items)
    assert sum(item.path.stat().st_size for item in items) < 1_500_000


def test_all_pictures_have_one_size(catalogue: Catalogue) -> None:
    for item in catalogue.people + catalogue.garments:
        with Image.open(item.path) as image:
            assert image.size == (384, 512)


def test_every_garment_is_told_from_its_background_and_from_the_others(catalogue: Catalogue) -> None:
    colours = []
    for item in catalogue.garments:
        rgb, alpha = cut_out(load_image(item.path))
        assert 0.05 < float(alpha.mean()) < 0.6, item.id
        inside = rgb[alpha > 0.9].astype(float)
        colours.append(np.concatenate([inside.mean(0), inside.std(0)]))
    for index, first in enumerate(colours):
        assert all(np.linalg.norm(first - second) > 25 for second in colours[:index])


def test_ids_are_looked_up_never_paths(catalogue: Catalogue) -> None:
    garment, person = catalogue.garments[0], catalogue.people[0]
    assert catalogue.find("garment", garment.id) == garment
    assert catalogue.find("person", person.id) == person
    assert catalogue.find("person", garment.id) is None
    for name in ("", "nobody", "../demo/person", "demo/person.png", str(person.path), garment.name):
        assert catalogue.find("garment", name) is None
        assert catalogue.find("person", name) is None
