"""Colours: named palettes, conversions and the CIEDE2000 difference."""

from __future__ import annotations

import math

import numpy as np

from quickchange.world.spec import Colour

# Clear fabric colours, sRGB. Most pairs differ plainly.
FABRICS: dict[str, Colour] = {
    "white": (0.95, 0.95, 0.94), "black": (0.09, 0.09, 0.10), "grey": (0.55, 0.56, 0.58),
    "red": (0.80, 0.11, 0.13), "burgundy": (0.42, 0.07, 0.14), "orange": (0.94, 0.47, 0.10),
    "yellow": (0.96, 0.80, 0.16), "lime": (0.60, 0.78, 0.18), "green": (0.10, 0.55, 0.25),
    "forest": (0.07, 0.29, 0.18), "teal": (0.06, 0.55, 0.56), "sky": (0.42, 0.73, 0.92),
    "blue": (0.12, 0.35, 0.80), "navy": (0.08, 0.12, 0.33), "purple": (0.42, 0.20, 0.62),
    "lavender": (0.73, 0.62, 0.90), "pink": (0.96, 0.58, 0.70), "magenta": (0.84, 0.14, 0.50),
    "brown": (0.40, 0.24, 0.13), "beige": (0.86, 0.77, 0.62),
}  # fmt: skip
MUTED: dict[str, Colour] = {
    "denim": (0.23, 0.33, 0.50), "dark denim": (0.13, 0.17, 0.28), "light denim": (0.50, 0.60, 0.72),
    "charcoal": (0.20, 0.20, 0.22), "grey": (0.48, 0.48, 0.50), "khaki": (0.60, 0.53, 0.40),
    "olive": (0.32, 0.33, 0.20), "brown": (0.34, 0.25, 0.19), "sand": (0.74, 0.67, 0.56),
    "black": (0.11, 0.11, 0.12), "slate": (0.33, 0.38, 0.43), "wine": (0.33, 0.16, 0.19),
}  # fmt: skip
WALLS: dict[str, Colour] = {
    "light grey": (0.80, 0.80, 0.80), "warm grey": (0.72, 0.69, 0.66), "cream": (0.88, 0.85, 0.76),
    "pale blue": (0.72, 0.80, 0.87), "pale green": (0.74, 0.83, 0.74), "sage green": (0.60, 0.68, 0.60),
    "pale pink": (0.89, 0.78, 0.78), "lilac": (0.78, 0.75, 0.86), "sand": (0.82, 0.75, 0.65),
    "dusty blue": (0.55, 0.64, 0.72), "grey": (0.60, 0.61, 0.63), "pale yellow": (0.90, 0.86, 0.68),
    "mint": (0.70, 0.84, 0.80), "slate grey": (0.45, 0.48, 0.52), "terracotta": (0.75, 0.58, 0.50),
}  # fmt: skip


def to_linear(colour: Colour) -> Colour:
    """Convert sRGB to linear light, both in 0..1."""
    r, g, b = (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in colour)
    return r, g, b


def jitter(rng: np.random.Generator, colour: Colour, amount: float) -> Colour:
    """Add normal noise of standard deviation `amount` to each channel; the result is within 0.02..0.98."""
    r, g, b = (float(x) for x in np.clip(np.array(colour) + rng.normal(size=3) * amount, 0.02, 0.98))
    return r, g, b


def to_lab(colour: Colour) -> tuple[float, float, float]:
    """Convert sRGB to CIE L*a*b* (D65)."""
    xyz = np.array([[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750],
                    [0.0193339, 0.1191920, 0.9503041]]) @ np.array(to_linear(colour))  # fmt: skip
    t = xyz / np.array([0.95047, 1.0, 1.08883])
    x, y, z = np.where(t > (6 / 29) ** 3, np.cbrt(t), t / (3 * (6 / 29) ** 2) + 4 / 29)
    return float(116 * y - 16), float(500 * (x - y)), float(200 * (y - z))


def difference(first: Colour, second: Colour) -> float:
    """CIEDE2000 colour difference of two sRGB colours (Sharma, Wu, Dalal 2005)."""
    return lab_difference(to_lab(first), to_lab(second))


def lab_difference(first: tuple[float, float, float], second: tuple[float, float, float]) -> float:
    """CIEDE2000 colour difference of two L*a*b* colours."""
    (l1, a1, b1), (l2, a2, b2) = first, second
    mean7 = ((math.hypot(a1, b1) + math.hypot(a2, b2)) / 2) ** 7
    g = 0.5 * (1 - math.sqrt(mean7 / (mean7 + 25.0**7)))
    a1, a2 = a1 * (1 + g), a2 * (1 + g)
    c1, c2 = math.hypot(a1, b1), math.hypot(a2, b2)
    h1, h2 = math.degrees(math.atan2(b1, a1)) % 360, math.degrees(math.atan2(b2, a2)) % 360
    if c1 * c2 == 0:
        turn, hue = 0.0, h1 + h2
    else:
        turn = (h2 - h1 + 180) % 360 - 180
        hue = (h1 + h2) / 2 if abs(h1 - h2) <= 180 else ((h1 + h2 + 360) / 2 if h1 + h2 < 360 else (h1 + h2 - 360) / 2)
    light, chroma = (l1 + l2) / 2, (c1 + c2) / 2
    hue_part = 2 * math.sqrt(c1 * c2) * math.sin(math.radians(turn / 2))
    t = (1 - 0.17 * math.cos(math.radians(hue - 30)) + 0.24 * math.cos(math.radians(2 * hue))
         + 0.32 * math.cos(math.radians(3 * hue + 6)) - 0.20 * math.cos(math.radians(4 * hue - 63)))  # fmt: skip
    chroma7 = chroma**7
    rotation = (-2 * math.sqrt(chroma7 / (chroma7 + 25.0**7))
                * math.sin(math.radians(60 * math.exp(-(((hue - 275) / 25) ** 2)))))  # fmt: skip
    s_l = 1 + 0.015 * (light - 50) ** 2 / math.sqrt(20 + (light - 50) ** 2)
    dl, dc, dh = (l2 - l1) / s_l, (c2 - c1) / (1 + 0.045 * chroma), hue_part / (1 + 0.015 * chroma * t)
    return math.sqrt(max(dl * dl + dc * dc + dh * dh + rotation * dc * dh, 0.0))
