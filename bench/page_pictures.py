"""The pictures of docs/page.md: a simulated batch with a fault, as the page shows it.

The twin's line is run by the real daemon in accelerated time until the suspected component has been
known for an hour, then the page is looked at in headless Chromium (apt: chromium, chromium-driver).

    python bench/page_pictures.py --out docs/figures
"""

from __future__ import annotations

import argparse
import io
import shutil
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

from PIL import Image

from edge.runtime import virtual_time
from edge.twin.operator import AcceptAfter
from edge.twin.plc import PlcBlock, PlcSettings
from edge.twin.scenario import Scenario
from tests.browser import Browser, chromium_of
from tests.line import CONFIG, Rig, appliance_of
from tests.page.conftest import Running, free, page_of

MAX_BYTES = 150_000
AFTER_FLAG_MIN = 60
LIMIT_MIN = 480
LIVE = "return document.body.className === 'live'"


def main() -> int:
    """Write the pictures; 0, or 1 if one is larger than it may be."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--out", type=Path, default=Path("docs/figures"))
    parser.add_argument("--recorded", type=Path, help="keep the recording, or use the one there")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        state = options.recorded or Path(scratch) / "plant"
        if not (state / "status.json.kept").exists():
            record(state)
        run = Path(scratch) / "run"
        run.mkdir()
        for name in ("status.json", "words.json"):
            shutil.copy(state / f"{name}.kept", run / name)
        arguments = ("--runtime", str(run), "--state", str(state))
        with (
            page_of(*arguments, runtime=run) as page,
            chromium_of(Path(scratch) / "profile") as driver,
        ):
            sizes = look(page, Browser(driver), options.out)
    for path, size in sizes.items():
        print(f"{path}: {size / 1000:.0f} kB")
    return int(max(sizes.values()) > MAX_BYTES)


def record(directory: Path) -> None:
    """A line whose NaOH feed corrodes, until an hour after the flag."""
    directory.mkdir(parents=True)
    appliance = appliance_of(directory, free, bundle=CONFIG / "models" / "ncm-1")
    scenario = Scenario(seed=7, fault="F03", severity=3, domain="target", start_fraction=0.05)
    plc = PlcBlock(PlcSettings(acknowledge_s=900), AcceptAfter(180.0))

    async def play() -> None:
        async with Rig(appliance, scenario=scenario, plc=plc, start_minute=0.0) as rig:
            await rig.start_twins()
            rig.start_app()
            flagged = None
            for minute in range(LIMIT_MIN):
                await rig.run(60)
                for name in ("status.json", "words.json"):
                    shutil.copy(directory / name, directory / f"{name}.kept")
                if flagged is None and rig.status()["lines"][0]["verdict"]["severity"]:
                    flagged = minute
                if flagged is not None and minute >= flagged + AFTER_FLAG_MIN:
                    break

    virtual_time.run(play())


def look(page: Running, browser: Browser, out: Path) -> dict[Path, int]:
    """Path -> bytes of each picture."""
    out.mkdir(parents=True, exist_ok=True)
    sizes = {}
    for name, path, ready in (
        ("now", "/line/ncm-1", "document.querySelectorAll('#why-tags canvas').length === 6 && "
         "document.getElementById('hits').textContent"),
        ("tags", "/line/ncm-1/tags", "document.querySelectorAll('#grid canvas').length === 51"),
        ("commissioning", "/line/ncm-1/commissioning", "document.querySelector('#block-R tr')"),
    ):  # fmt: skip
        page.pulse()
        browser.open(page.url + path)
        browser.until(LIVE)
        browser.until(f"return {ready}")
        page.pulse()
        time.sleep(1.0)
        sizes[out / f"page-{name}.png"] = keep(browser, out / f"page-{name}.png")
    browser.open(f"{page.url}/line/ncm-1")
    browser.until("return document.querySelectorAll('#why-tags canvas').length === 6")
    (page.runtime / "status.json").unlink()
    browser.until("return document.body.className === 'stale'")
    time.sleep(1.0)
    sizes[out / "page-stale.png"] = keep(browser, out / "page-stale.png")
    return sizes


def keep(browser: Browser, path: Path) -> int:
    """Store the window in few colours: the page has no more."""
    browser.picture(path)
    picture = Image.open(io.BytesIO(path.read_bytes())).convert("RGB")
    few = picture.quantize(160, Image.Quantize.FASTOCTREE, dither=Image.Dither.NONE)
    few.save(path, optimize=True)
    return path.stat().st_size


if __name__ == "__main__":
    raise SystemExit(main())
