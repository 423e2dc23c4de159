"""Takes the pictures of the studio page in docs/ from the real page: two screenshots and a clip of live switches.

python scripts/studio_pictures.py

Starts the server with the bundled model and Chromium without a window. The clip shows what was on the screen, when it
was: every picture stands as long as it stood there.
"""

from __future__ import annotations

import base64
import io
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from PIL import Image
from playwright.sync_api import Browser, Page, sync_playwright

from quickchange.files import atomic_path

DOCS = Path(__file__).resolve().parents[1] / "docs"
CLIP_WIDTH, CLIP_COLOURS = 640, 96  # px; of the palette that the clip's pictures share
SWITCHES = ("2", "6", "4", "3")  # keys pressed in the clip
BETWEEN = 1800  # ms


def open_page(browser: Browser, url: str, **options: Any) -> Page:
    """The page, with the stream running for a while."""
    page = browser.new_context(**options).new_page()
    page.goto(url)
    page.wait_for_function("() => (window.quickchange.state().frame ?? 0) > 48", timeout=60_000)
    return page


def press(page: Page, key: str) -> None:
    """Wears a garment by its key and waits until it is on."""
    page.keyboard.press(key)
    page.wait_for_function(
        f"""() => [...document.querySelectorAll('[data-garment-id]')][{int(key) - 1}].dataset.state === 'on'""",
        timeout=60_000,
    )
    page.wait_for_timeout(700)


def save_png(page: Page, name: str) -> None:
    """Take a screenshot."""
    image = Image.open(io.BytesIO(page.screenshot())).convert("RGB")
    with atomic_path(DOCS / name) as path:  # 256 colours: a fifth of the size, and no eye can tell
        image.quantize(256, dither=Image.Dither.FLOYDSTEINBERG).save(path, optimize=True)


def record(page: Page) -> list[tuple[float, Image.Image]]:
    """(time, picture) of everything that was on the screen during the switches."""
    shots: list[tuple[float, Image.Image]] = []
    session = page.context.new_cdp_session(page)

    def keep(event: dict[str, Any]) -> None:
        image = Image.open(io.BytesIO(base64.b64decode(event["data"]))).convert("RGB")
        height = round(CLIP_WIDTH * image.height / image.width)
        shots.append((event["metadata"]["timestamp"], image.resize((CLIP_WIDTH, height), Image.Resampling.LANCZOS)))
        session.send("Page.screencastFrameAck", {"sessionId": event["sessionId"]})

    session.on("Page.screencastFrame", keep)
    session.send("Page.startScreencast", {"format": "jpeg", "quality": 90, "everyNthFrame": 4})
    page.wait_for_timeout(800)
    for key in SWITCHES:
        page.keyboard.press(key)
        page.wait_for_timeout(BETWEEN)
    session.send("Page.stopScreencast")
    return shots


def save_clip(shots: list[tuple[float, Image.Image]], path: Path) -> None:
    """An endless GIF with the true times."""
    times = [at for at, _ in shots]
    durations = [max(20, round(1000 * (b - a), -1)) for a, b in zip(times, [*times[1:], times[-1] + 0.8], strict=True)]
    spread = [shots[round(i * (len(shots) - 1) / 7)][1] for i in range(8)]
    strip = Image.new("RGB", (CLIP_WIDTH, sum(image.height for image in spread)))
    for index, image in enumerate(spread):
        strip.paste(image, (0, index * image.height))
    palette = strip.quantize(CLIP_COLOURS, method=Image.Quantize.MEDIANCUT)
    frames = [image.quantize(palette=palette, dither=Image.Dither.NONE) for _, image in shots]
    with atomic_path(path) as temporary:
        frames[0].save(
            temporary, format="GIF", save_all=True, append_images=frames[1:], duration=durations, loop=0, optimize=False
        )


def main() -> None:
    """Take all pictures."""
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if chromium is None:
        raise SystemExit("no browser; `make setup` installs Debian's chromium")
    command = [sys.executable, "-m", "quickchange", "serve", "--port", "0", "--max-sessions", "2"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server, sync_playwright() as playwright:
        try:
            line = server.stdout.readline() if server.stdout else ""
            found = re.match(r"http\S+", line)
            if not found:
                raise SystemExit("the server did not start")
            browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu"])
            page = open_page(browser, found[0], viewport={"width": 1440, "height": 900})
            for key in ("4", "8", "3"):
                press(page, key)
            save_png(page, "studio.png")
            page.context.close()
            phone = {"viewport": {"width": 390, "height": 844}, "device_scale_factor": 2, "color_scheme": "dark"}
            page = open_page(browser, found[0], **phone)
            press(page, "2")
            save_png(page, "studio-phone.png")
            page.context.close()
            page = open_page(browser, found[0], viewport={"width": 1120, "height": 700})
            save_clip(record(page), DOCS / "studio.gif")
            browser.close()
        finally:
            server.terminate()


if __name__ == "__main__":
    main()
