"""The bundled people and garments."""

from __future__ import annotations

import json
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Literal

from quickchange.serve.protocol.messages import Kind

Role = Literal["garment", "person"]


@dataclass(frozen=True)
class Item:
    """A bundled picture.

    Attributes:
        id: in the protocol.
        name: for people.
        kind: of a garment; None: a person.
        path: of the file.
    """

    id: str
    name: str
    kind: Kind | None
    path: Path


@dataclass(frozen=True)
class Catalogue:
    """All bundled pictures.

    Attributes:
        people: in the order in which the page shows them.
        garments: likewise.
    """

    people: tuple[Item, ...]
    garments: tuple[Item, ...]

    def find(self, role: Role, name: str) -> Item | None:
        """Return the item of that id, or None."""
        items = self.people if role == "person" else self.garments
        return next((item for item in items if item.id == name), None)


def load_catalogue() -> Catalogue:
    """Read assets/studio/catalogue.json, which scripts/demo_inputs.py writes."""
    assets = Path(str(files("quickchange").joinpath("assets")))
    read = json.loads((assets / "studio" / "catalogue.json").read_text(encoding="utf-8"))

    def items(name: str) -> tuple[Item, ...]:
        return tuple(Item(i["id"], i["name"], i.get("kind"), assets / i["file"]) for i in read[name])

    return Catalogue(people=items("people"), garments=items("garments"))
