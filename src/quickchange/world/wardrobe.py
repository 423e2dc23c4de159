"""Random garments: cuts, fabrics and prints."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np

from quickchange.world.colour import FABRICS, MUTED, difference, jitter
from quickchange.world.spec import Colour, Difficulty, GarmentSpec, PatternSpec, PersonSpec

Rng = np.random.Generator
Sampler = Callable[[Rng, PersonSpec, Difficulty], GarmentSpec]
APART = 25.0  # least CIEDE2000 difference of the main colours of two garments of a clip
CONTRAST = 30.0  # least CIEDE2000 difference of the colours within one garment
EASY_PATTERNS = (("solid", 0.40), ("horizontal", 0.15), ("vertical", 0.12), ("checks", 0.08), ("dots", 0.10),
                 ("colour_block", 0.15))  # fmt: skip
FULL_PATTERNS = (("solid", 0.18), ("horizontal", 0.1), ("vertical", 0.1), ("checks", 0.06), ("gingham", 0.08),
                 ("plaid", 0.1), ("dots", 0.1), ("chevron", 0.06), ("camo", 0.06), ("floral", 0.1), ("denim", 0.03),
                 ("knit", 0.03), ("colour_block", 0.08))  # fmt: skip
EASY_PRINTS = ("disc", "star", "bar")
FULL_PRINTS = ("disc", "star", "bar", "letters", "triangle", "badge")
LETTERS = "ABCDEFGHKLMNPRSTUVXYZ"


def pick(rng: Rng, weighted: Sequence[tuple[str, float]]) -> str:
    """Draw one name, with probability proportional to its weight."""
    weights = np.array([weight for _, weight in weighted])
    return weighted[int(rng.choice(len(weighted), p=weights / weights.sum()))][0]


def _fabric_colour(rng: Rng, palette: dict[str, Colour], amount: float = 0.025) -> Colour:
    return jitter(rng, list(palette.values())[int(rng.integers(len(palette)))], amount)


def _contrasting(rng: Rng, *others: Colour) -> Colour:
    """Draw a fabric colour that differs from all `others` by more than `CONTRAST`."""
    while True:
        colour = _fabric_colour(rng, FABRICS)
        if all(difference(colour, other) > CONTRAST for other in others):
            return colour


def sample_pattern(rng: Rng, difficulty: Difficulty) -> PatternSpec:
    """Draw a fabric at random."""
    easy = difficulty == "easy"
    name = pick(rng, EASY_PATTERNS if easy else FULL_PATTERNS)
    main = _fabric_colour(rng, FABRICS)
    second = _contrasting(rng, main)
    third = _contrasting(rng, main, second)
    periods = {"horizontal": (0.95, 1.6), "vertical": (0.95, 1.5), "checks": (1.2, 1.7), "dots": (1.05, 1.5)}
    low, high = periods.get(name, (1.0, 1.5)) if easy else (0.5, 1.8)
    has_print = rng.random() < 0.3 and (name == "solid" or not easy)
    prints = EASY_PRINTS if easy else FULL_PRINTS
    accent = "none"
    if name == "colour_block":
        accent = "sleeves"
    elif not easy or name == "solid":
        accent = pick(rng, (("none", 0.7), ("edges", 0.3)) if easy
                       else (("none", 0.5), ("edges", 0.2), ("sleeves", 0.15), ("placket", 0.15)))  # fmt: skip
        if accent == "placket" and has_print:
            accent = "none"  # a print across a button placket cannot be recognised
    return PatternSpec(
        name=name, colours=(main, second, third), period=float(rng.uniform(low, high)),
        duty=float(rng.uniform(0.4, 0.55) if name != "dots" else rng.uniform(0.32, 0.45)),
        seed=int(rng.integers(1 << 31)),
        accent=accent, accent_colour=second,  # type: ignore[arg-type]
        print_name=prints[int(rng.integers(len(prints)))] if has_print else "none",  # type: ignore[arg-type]
        print_colours=(third if name != "solid" else second, third),
        print_size=float(rng.uniform(0.75, 0.95) if easy else rng.uniform(0.6, 1.0)),
        print_text="".join(LETTERS[int(i)] for i in rng.integers(len(LETTERS), size=int(rng.integers(1, 4)))),
        wrinkles=0.14 if easy else float(rng.uniform(0.15, 0.4)),
    )  # fmt: skip


def _plain(rng: Rng) -> PatternSpec:
    """Draw a muted fabric of one colour."""
    names = list(MUTED)
    name = names[int(rng.integers(len(names)))]
    colour = jitter(rng, MUTED[name], 0.02)
    return PatternSpec("denim" if "denim" in name else "solid", (colour, colour, colour), 1.5, 0.5,
                       int(rng.integers(1 << 31)), "none", colour, "none", (colour, colour), 0.5, "", 0.15)  # fmt: skip


def _blocked(pattern: PatternSpec, sleeveless: bool) -> PatternSpec:
    """Move the colour block of a sleeveless garment from the sleeves to below the chest."""
    if pattern.name != "colour_block" or not sleeveless:
        return pattern
    return dataclasses.replace(pattern, accent="block")


def sample_upper(rng: Rng, person: PersonSpec, difficulty: Difficulty) -> GarmentSpec:
    """Draw a tee, a long-sleeved shirt or a tank top."""
    kind = pick(rng, (("tee", 0.4), ("long", 0.35), ("tank", 0.25)))
    neck = pick(rng, (("crew", 0.5), ("v", 0.25), ("scoop", 0.25)))
    width, depth = {"crew": ((0.42, 0.52), (0.10, 0.15)), "v": ((0.40, 0.52), (0.22, 0.34)),
                    "scoop": ((0.50, 0.62), (0.20, 0.28))}[neck]  # fmt: skip
    sleeve = {"tee": (0.22, 0.48), "long": (0.7, 0.96), "tank": (0.14, 0.14)}[kind]
    cut_in = float(rng.uniform(0.26, 0.36))
    return GarmentSpec(
        slot="upper", kind=kind, sleeve=float(rng.uniform(*sleeve)), hem=float(rng.uniform(-0.04, 0.08)),  # type: ignore[arg-type]
        waist=0.0, leg=0.0, neck=neck, neck_width=float(rng.uniform(*width)),  # type: ignore[arg-type]
        neck_depth=float(rng.uniform(*depth)), armhole=cut_in if kind == "tank" else 0.0,
        loose=float(rng.uniform(0.08, 0.14) if kind == "tank" else rng.uniform(0.08, 0.28)), flare=1.0,
        pattern=_blocked(sample_pattern(rng, difficulty), kind == "tank" and difficulty == "full"),
    )  # fmt: skip


def sample_lower(rng: Rng, person: PersonSpec, difficulty: Difficulty) -> GarmentSpec:
    """Draw trousers, shorts or a skirt; of one muted colour if the difficulty is "easy"."""
    shorts = 0.25 if difficulty == "full" else 0.0
    kind = pick(rng, (("trousers", 0.65), ("shorts", shorts), ("skirt", 0.35 if person.female else 0.0)))
    leg = {"trousers": (0.86, 0.97), "shorts": (0.25, 0.45), "skirt": (0.35, 0.8)}[kind]
    pattern = _plain(rng)
    if difficulty == "full" and rng.random() < 0.8:
        pattern = _blocked(sample_pattern(rng, difficulty), True)
    return GarmentSpec(
        slot="lower", kind=kind, sleeve=0.0, hem=0.0, waist=float(rng.uniform(0.20, 0.28)),  # type: ignore[arg-type]
        leg=float(rng.uniform(*leg)), neck="crew", neck_width=0.0, neck_depth=0.0, armhole=0.0,
        loose=float(rng.uniform(0.05, 0.22) if kind == "trousers" else 0.14), flare=float(rng.uniform(0.8, 1.2)),
        pattern=pattern,
    )  # fmt: skip


def sample_one_piece(rng: Rng, person: PersonSpec, difficulty: Difficulty) -> GarmentSpec:
    """Draw a dress."""
    neck = pick(rng, (("crew", 0.4), ("v", 0.3), ("scoop", 0.3)))
    sleeveless = rng.random() < 0.35
    return GarmentSpec(
        slot="onepiece", kind="dress", sleeve=0.14 if sleeveless else float(rng.choice([0.25, 0.4, 0.9])), hem=0.0,
        waist=0.0, leg=float(rng.uniform(0.3, 0.9)), neck=neck, neck_width=float(rng.uniform(0.45, 0.6)),  # type: ignore[arg-type]
        neck_depth=float(rng.uniform(0.14, 0.26)), armhole=float(rng.uniform(0.3, 0.4)) if sleeveless else 0.0,
        loose=0.07, flare=float(rng.uniform(0.8, 1.2)),
        pattern=_blocked(sample_pattern(rng, difficulty), sleeveless),
    )  # fmt: skip


def apart(first: GarmentSpec, second: GarmentSpec) -> bool:
    """Whether two garments differ plainly, in their main colours and in the mean of their colours."""
    a, b = first.pattern, second.pattern
    if difference(a.colours[0], b.colours[0]) <= APART:
        return False
    return difference(_blend(a), _blend(b)) > APART / 2


def _blend(pattern: PatternSpec) -> Colour:
    share = {"solid": 0.0, "denim": 0.0, "knit": 0.0, "colour_block": 0.3}.get(pattern.name, pattern.duty)
    r, g, b = (float(x) for x in np.array(pattern.colours[0]) * (1 - share) + np.array(pattern.colours[1]) * share)
    return r, g, b


def sample_distinct(rng: Rng, sampler: Sampler, person: PersonSpec, difficulty: Difficulty,
                    count: int) -> list[GarmentSpec]:  # fmt: skip
    """Draw `count` garments with one sampler, each pair of them `apart`."""
    chosen: list[GarmentSpec] = []
    while len(chosen) < count:
        garment = sampler(rng, person, difficulty)
        if all(apart(garment, other) for other in chosen):
            chosen.append(garment)
    return chosen
