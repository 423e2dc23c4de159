"""Measure the time from a click to the screen in the real page, in Chromium without a window on this machine.

    python benchmarks/programs/click_to_screen.py     # 24 switches -> benchmarks/click-to-screen.json

The page measures it: from the key press to the animation frame that draws the first picture in the new garment.
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import sys
from pathlib import Path

from playwright.sync_api import sync_playwright
from serve_load import about, server

from quickchange.files import write_json_atomic

HERE = Path(__file__).resolve().parent
STATE = "() => window.quickchange.state()"
SWITCHED = "(before) => JSON.stringify(window.quickchange.state().lastSwitch) !== before"
PATIENCE = 30_000  # ms


def main() -> None:
    """Measure as the command line asks, and write the record."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--switches", type=int, default=24, help="how many (default: %(default)s)")
    parser.add_argument("--threads", type=int, help="that the server computes with (default: its own choice)")
    parser.add_argument("--out", type=Path, default=HERE.parent / "click-to-screen.json", help="JSON file")
    args = parser.parse_args()
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if chromium is None or args.switches < 2:
        parser.error("needs Chromium (`make setup` installs Debian's) and at least 2 switches")
    times, shown, generated = [], [], []
    with server(2, args.threads) as (url, _), sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu"])
        page = browser.new_page(viewport={"width": 1440, "height": 900})
        page.goto(url)
        page.wait_for_function("() => (window.quickchange.state().frame ?? 0) > 60", timeout=60_000)
        for number in range(args.switches):
            before = page.evaluate("() => JSON.stringify(window.quickchange.state().lastSwitch)")
            page.keyboard.press(str(2 + number % 8))
            page.wait_for_function(SWITCHED, arg=before, timeout=PATIENCE)
            page.wait_for_timeout(1200 + 37 * (number % 24))  # the next one: anywhere between chunks
            state = page.evaluate(STATE)
            times.append(state["lastSwitch"]["ms"])
            shown.append(state["shownFps"])
            generated.append(state["generatedFps"])
        browser.close()
    record = about(threads=args.threads, switches=args.switches) | {
        "first_ms": round(times[0]),
        "p50_ms": round(statistics.median(times)),
        "p95_ms": round(statistics.quantiles(times, n=20, method="inclusive")[18]),
        "shown_fps": round(statistics.median(shown), 1),
        "generated_fps": round(statistics.median(generated), 1),
        "times_ms": [round(ms) for ms in times],
    }
    write_json_atomic(args.out, record)
    for name, value in record.items():
        sys.stdout.write(f"{name:15} {value}\n")


if __name__ == "__main__":
    main()
