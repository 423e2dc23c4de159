"""The studio page in a real browser: Chromium, headless, against a real server with the bundled model.

Screenshots of what was seen are left in out/screenshots.
"""

from __future__ import annotations

import io
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import httpx2
import numpy as np
import pytest
import torch
from PIL import Image
from playwright.sync_api import Browser, Page, sync_playwright

from quickchange.engine.studio import Studio
from serving import Running, running

ROOT = Path(__file__).resolve().parents[3]
SHOTS = ROOT / "out" / "screenshots"
LAPTOP, PHONE = {"width": 1440, "height": 900}, {"width": 390, "height": 844}
PATIENCE = 60_000  # ms; a busy machine renders and generates on the same two cores
READ_STAGE = """() => {
  const stage = document.querySelector('#stage');
  const copy = document.createElement('canvas');
  copy.width = 96; copy.height = 128;
  const context = copy.getContext('2d');
  context.drawImage(stage, 0, 0, 96, 128);
  return Array.from(context.getImageData(0, 0, 96, 128).data);
}"""


@pytest.fixture(scope="module")
def server() -> Iterator[Running]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # as `quickchange serve` does: the browser computes on the same cores
    with running(lambda: Studio.from_pretrained(ROOT / "models" / "mini"), resume_seconds=10.0) as server:
        yield server
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    path = shutil.which("chromium") or shutil.which("google-chrome")
    assert path, "no browser; `make test` installs Debian's chromium"
    with sync_playwright() as playwright:
        # No sandbox: continuous integration runs as root. The swiftshader flags keep it off a GPU that may be there.
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox", "--disable-gpu"])
        yield browser
        browser.close()


@dataclass
class Seen:
    """A page, and what it complained about and asked for."""

    page: Page
    complaints: list[str] = field(default_factory=list)
    hosts: set[str] = field(default_factory=set)

    def state(self) -> dict[str, object]:
        return dict(self.page.evaluate("() => window.quickchange.state()"))

    def stage(self) -> np.ndarray:
        """What is on the screen: [128, 96, 3]."""
        return np.array(self.page.evaluate(READ_STAGE), np.uint8).reshape(128, 96, 4)[..., :3]

    def chest(self) -> np.ndarray:
        return self.stage()[58:78, 40:57].reshape(-1, 3).mean(0)

    def until_moving(self) -> None:
        first = self.state()["frame"] or 0
        self.page.wait_for_function(f"() => (window.quickchange.state().frame ?? 0) > {first} + 5", timeout=PATIENCE)

    def until_on(self, garment: str) -> None:
        tile = f'[data-garment-id="{garment}"][data-state="on"]'
        self.page.wait_for_selector(tile, timeout=PATIENCE)

    def shoot(self, name: str) -> None:
        SHOTS.mkdir(parents=True, exist_ok=True)
        self.page.screenshot(path=SHOTS / f"{name}.png")


@pytest.fixture
def seen(server: Running, browser: Browser) -> Iterator[Seen]:
    yield from visit(server, browser, LAPTOP)


def visit(server: Running, browser: Browser, size: dict[str, int], **options: object) -> Iterator[Seen]:
    context = browser.new_context(viewport=size, **options)  # type: ignore[arg-type]
    context.add_init_script("localStorage.clear()")
    seen = Seen(context.new_page())
    seen.page.on("console", lambda m: seen.complaints.append(m.text) if m.type in ("error", "warning") else None)
    seen.page.on("pageerror", lambda error: seen.complaints.append(str(error)))
    seen.page.on("request", lambda request: seen.hosts.add(urlsplit(request.url).netloc))
    seen.page.on("websocket", lambda socket: seen.hosts.add(urlsplit(socket.url).netloc))
    try:
        seen.page.goto(server.url, wait_until="load")
        yield seen
    finally:
        context.close()
    assert not seen.complaints
    assert seen.hosts - {""} == {urlsplit(server.url).netloc}  # "": data and blob URLs


def thumbnail(server: Running, garment: str) -> np.ndarray:
    """The garment's colour: of the middle of its picture."""
    picture = Image.open(io.BytesIO(httpx2.get(f"{server.url}/v1/images/{garment}").content)).convert("RGB")
    pixels = np.asarray(picture.resize((96, 128)), float)[50:80, 38:58].reshape(-1, 3)
    return pixels.mean(0)


def test_a_person_changes_clothes_with_a_click(server: Running, seen: Seen) -> None:
    page = seen.page
    seen.until_moving()
    garments = [item.id for item in server.registry.catalogue.garments if item.kind == "top"]
    seen.until_on(garments[0])

    pictures = []
    for _ in range(6):
        pictures.append(seen.stage().astype(int))
        page.wait_for_timeout(150)
    assert max(np.abs(a - pictures[0]).max() for a in pictures[1:]) > 8  # it moves
    assert all(picture.std() > 20 for picture in pictures)  # and is no blank
    seen.shoot("laptop")

    plain = max(garments[1:], key=lambda name: np.abs(thumbnail(server, name) - thumbnail(server, garments[0])).sum())
    before, wanted = seen.chest(), thumbnail(server, plain)
    tile = page.locator(f'[data-garment-id="{plain}"]')
    tile.click()
    assert tile.get_attribute("data-state") in ("next", "on")
    seen.until_on(plain)
    page.wait_for_timeout(300)
    after = seen.chest()
    assert np.linalg.norm(after - wanted) < 0.5 * np.linalg.norm(before - wanted)
    switch = seen.state()["lastSwitch"]
    assert isinstance(switch, dict)
    assert switch["garment"] == plain
    assert 20 < switch["ms"] < 5000
    said = f"{int(switch['ms'] + 0.5)} ms"  # halves are rounded up there, to even numbers by round()
    assert said in tile.inner_text()
    assert said in page.locator("#live").inner_text()
    seen.shoot("laptop-after-a-switch")


def test_the_latest_click_wins(server: Running, seen: Seen) -> None:
    seen.until_moving()
    garments = [item.id for item in server.registry.catalogue.garments]
    seen.page.keyboard.press("2")
    seen.page.keyboard.press("3")
    assert seen.page.locator(f'[data-garment-id="{garments[1]}"]').get_attribute("data-state") == "idle"
    seen.until_on(garments[2])
    assert seen.page.locator('[data-garment-id][data-state="on"]').count() == 1


def test_ones_own_photo_is_cut_out_shown_and_worn(server: Running, seen: Seen, tmp_path: Path) -> None:
    page = seen.page
    seen.until_moving()
    photo = tmp_path / "shirt on a floor.jpg"
    own_photo().save(photo, quality=92)
    page.set_input_files("#file", photo)
    page.wait_for_selector("#upload-preview", state="visible", timeout=PATIENCE)
    page.wait_for_function("() => !document.querySelector('#upload-wear').disabled", timeout=PATIENCE)
    seen.shoot("upload")
    page.click("#upload-wear")
    page.wait_for_selector('[data-garment-id][data-state="on"]:has-text("ms")', timeout=PATIENCE)
    page.wait_for_timeout(300)
    red, green, blue = seen.chest()
    assert red > 1.5 * green
    assert red > 1.5 * blue


def own_photo() -> Image.Image:
    """A red shirt, laid out on a speckled grey floor."""
    rng = np.random.default_rng(0)
    floor = rng.normal(150, 10, (480, 400, 1)) + rng.normal(0, 3, (480, 400, 3))
    shirt = np.zeros((480, 400), bool)
    shirt[110:400, 120:280] = True  # body
    shirt[110:190, 60:340] = True  # sleeves
    shirt[110:130, 175:225] = False  # neck
    floor[shirt] = np.array([190, 30, 35]) + rng.normal(0, 6, (int(shirt.sum()), 3))
    return Image.fromarray(floor.clip(0, 255).astype(np.uint8))


def test_a_lost_socket_is_taken_up_again(seen: Seen) -> None:
    seen.until_moving()
    frame = seen.state()["frame"]
    seen.page.evaluate("() => window.quickchange.dropSocket()")
    seen.page.wait_for_function("() => window.quickchange.state().resumed >= 1", timeout=PATIENCE)
    seen.until_moving()
    assert int(str(seen.state()["frame"])) > int(str(frame))  # the same stream, not a new one


def test_pause_snapshot_recording_and_inspector(seen: Seen) -> None:
    page = seen.page
    seen.until_moving()
    page.keyboard.press("Space")
    page.wait_for_function("() => window.quickchange.state().sessionState === 'paused'", timeout=PATIENCE)
    page.wait_for_timeout(400)
    still = seen.stage()
    page.wait_for_timeout(400)
    assert np.array_equal(still, seen.stage())
    page.keyboard.press("Space")
    seen.until_moving()
    with page.expect_download(timeout=PATIENCE) as download:
        page.click("#snapshot")
    assert Image.open(download.value.path()).format == "PNG"
    page.click("#record")
    seen.until_moving()
    page.click("#record")
    with page.expect_download(timeout=PATIENCE) as download:
        page.get_by_role("link", name="Save MP4").click(timeout=PATIENCE)
    assert download.value.path().read_bytes()[4:8] == b"ftyp"
    page.click("#inspector-toggle")
    page.wait_for_selector("#inspector", state="visible")
    seen.until_moving()
    page.keyboard.press("4")
    page.wait_for_timeout(2500)
    assert "withdraw" in page.locator("#inspector").inner_text().lower()
    seen.shoot("inspector")


def test_a_phone_shows_stage_rack_and_controls(server: Running, browser: Browser) -> None:
    for seen in visit(server, browser, PHONE, color_scheme="dark", device_scale_factor=2, has_touch=True):
        seen.until_moving()
        width = seen.page.evaluate("() => document.documentElement.scrollWidth")
        assert width <= PHONE["width"]  # nothing sticks out
        for name in ("#stage", "#pause", "#record", "[data-garment-id]"):
            box = seen.page.locator(name).first.bounding_box()
            assert box is not None
            assert 0 <= box["y"] < PHONE["height"], name
        small = seen.page.evaluate(
            """() => [...document.querySelectorAll('button')].filter((b) => b.offsetParent)
            .filter((b) => b.offsetWidth < 40 || b.offsetHeight < 40).map((b) => b.id || b.textContent)"""
        )
        assert not small
        seen.shoot("phone-dark")
