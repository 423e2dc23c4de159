"""The scorecard as one self-contained HTML page: tables, plots and contact sheets."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import Any

from quickchange.evaluate.plots import drift_plot, picture_png, quality_plot, switch_plot
from quickchange.evaluate.scorecard.card import tables
from quickchange.evaluate.scorecard.metrics import METRICS, SWITCH_METRICS, Metric
from quickchange.evaluate.types import Frames
from quickchange.files import write_text_atomic

STYLE = """
body { font: 15px/1.45 system-ui, sans-serif; color: #222; max-width: 1040px; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.5rem; margin-bottom: .2rem } h2 { font-size: 1.1rem; margin: 2rem 0 .5rem }
.wide { overflow-x: auto } table { border-collapse: collapse; font-size: .85rem; font-variant-numeric: tabular-nums }
th, td { text-align: left; padding: .2rem .9rem .2rem 0; border-bottom: 1px solid #ddd; vertical-align: top }
td:not(:last-child) { white-space: nowrap } img { max-width: 100%; display: block }
.sheet { image-rendering: pixelated; width: 100% } p { margin: .3rem 0 .6rem } .small { font-size: .8rem; color: #555 }
"""
ABOUT = (
    "Figures are means (medians for ratios, jumps and frame counts) over held-out seeds; in parentheses the bootstrap "
    "95 % interval. Frames of streams and of ground truth are read by the same parser network."
)


def write_report(card: dict[str, Any], sheets: Sequence[tuple[str, Frames]], path: Path) -> None:
    """Write the page.

    Args:
        card: of ``scorecard``.
        sheets: (title, picture u8[H, W, 3]) pairs.
        path: of the page.
    """
    plots = {"quality": quality_plot(card), "switch": switch_plot(card)}
    if card["drift_by_metric"]:
        plots["drift"] = drift_plot(card)
    quick = f"{len(card['seeds'])} seeds, {card['settings']['difficulty']} world, protocol {card['protocol']}"
    parts = [f"<h1>Scorecard of {escape(card['model'])}</h1>", f"<p>{escape(quick)}. {escape(ABOUT)}</p>"]
    for title, head, body in tables(card):
        parts.append(f"<h2>{escape(title.capitalize())}</h2>")
        plot = next((png for name, png in plots.items() if title.startswith(name)), None)
        if plot is not None:
            parts.append(_image(plot, f"{title}, as a plot"))
        parts.append(_table(head, body))
    parts.append("<h2>Contact sheets</h2>")
    parts.append(
        "<p class='small'>Rows of a switch: reference, first garment, three frames, second garment, four frames.</p>"
    )
    for title, picture in sheets:
        parts += [f"<p class='small'>{escape(title)}</p>", _image(picture_png(picture), title, "sheet")]
    everything: list[Metric[Any]] = [*METRICS, *SWITCH_METRICS]
    formulas = [[m.name, m.span, m.better, m.formula.replace("\\", "")] for m in everything]
    parts += ["<h2>Metrics</h2>", _table(["metric", "range", "better", "formula"], formulas)]
    page = (
        "<!doctype html><html lang='en'><head><meta charset='utf-8'>"
        "<meta name='viewport' content='width=device-width, initial-scale=1'>"
        f"<title>Scorecard of {escape(card['model'])}</title><style>{STYLE}</style></head><body>\n"
        + "\n".join(parts)
        + "\n</body></html>\n"
    )
    write_text_atomic(path, page)


def _table(head: Sequence[str], body: Sequence[Sequence[str]]) -> str:
    def row(cells: Sequence[str], tag: str) -> str:
        return "<tr>" + "".join(f"<{tag}>{escape(text)}</{tag}>" for text in cells) + "</tr>"

    lines = [row(head, "th"), *(row(cells, "td") for cells in body)]
    return "<div class='wide'><table>" + "\n".join(lines) + "</table></div>"


def _image(png: bytes, title: str, kind: str = "plot") -> str:
    data = base64.b64encode(png).decode("ascii")
    return f"<img class='{kind}' alt='{escape(title, quote=True)}' src='data:image/png;base64,{data}'>"
