"""A real Chromium, headless, for the tests that look at a page as people do.

`chromium` is one browser a test session; every test gets a window of its own. The browser can reach
nothing but 127.0.0.1, and keeps a list of every request it was asked to make, so that a test can
say that none went elsewhere.
"""

from __future__ import annotations

import base64
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
DRIVER = shutil.which("chromedriver")
SIZE = (1280, 800)
"""A panel's screen."""
WAIT_S = 20.0
AXE = Path(__file__).parent / "vendor" / "axe-core" / "axe.min.js"
missing = "" if CHROMIUM and DRIVER else "chromium or chromedriver is not installed"


class Browser:
    """A window of a Chromium."""

    def __init__(self, driver: Any) -> None:
        self.driver = driver
        """The WebDriver, for what the methods below do not say."""

    def open(self, url: str) -> None:
        """Load a page; returns when its load event has fired."""
        self.driver.get(url)

    def run(self, script: str, *values: Any) -> Any:
        """The value of a script (`return ...`) in the page."""
        return self.driver.execute_script(script, *values)

    def until(self, script: str, *values: Any, limit_s: float = WAIT_S) -> Any:
        """Wait until the script's value is true and return it; fails with the page's text."""
        from selenium.common.exceptions import TimeoutException
        from selenium.webdriver.support.ui import WebDriverWait

        try:
            return WebDriverWait(self.driver, limit_s, poll_frequency=0.05).until(
                lambda driver: driver.execute_script(script, *values)
            )
        except TimeoutException:
            raise AssertionError(
                f"not within {limit_s:g} s: {script}\n--- the page says:\n{self.text()[:3000]}\n"
                f"--- its console:\n{self.complaints()}"
            ) from None

    def text(self, selector: str = "body") -> str:
        """What is seen of an element."""
        found = self.run(
            "const e = document.querySelector(arguments[0]);"
            "return e && (e.innerText ?? e.textContent)",
            selector,
        )
        assert found is not None, f"nothing matches {selector}"
        return str(found)

    def click(self, selector: str) -> None:
        """Click an element as a mouse does."""
        from selenium.webdriver.common.by import By

        self.driver.find_element(By.CSS_SELECTOR, selector).click()

    def press(self, *keys: str) -> None:
        """Press keys, by the names of selenium's Keys (`TAB`, `ENTER`) or as characters."""
        from selenium.webdriver.common.action_chains import ActionChains
        from selenium.webdriver.common.keys import Keys

        actions = ActionChains(self.driver)
        for key in keys:
            actions = actions.send_keys(getattr(Keys, key, key))
        actions.perform()

    def picture(self, path: Path) -> None:
        """A PNG of the window."""
        path.write_bytes(base64.b64decode(self.driver.get_screenshot_as_base64()))

    def requests(self) -> list[str]:
        """URLs asked for since the last call, by any window."""
        out = []
        for entry in self.driver.get_log("performance"):
            message = json.loads(entry["message"])["message"]
            if message["method"] == "Network.requestWillBeSent":
                out.append(str(message["params"]["request"]["url"]))
            elif message["method"] == "Network.webSocketCreated":
                out.append(str(message["params"]["url"]))
        return out

    def elsewhere(self, host: str = "127.0.0.1") -> list[str]:
        """Those of `requests` that did not go to `host`."""
        own = ("data", "blob", "about")
        return [u for u in self.requests() if urlsplit(u).hostname != host
                and urlsplit(u).scheme not in own]  # fmt: skip

    def complaints(self) -> list[str]:
        """Errors and warnings of the console since the last call."""
        return [f"{e['level']}: {e['message']}" for e in self.driver.get_log("browser")
                if e["level"] in ("SEVERE", "WARNING")]  # fmt: skip

    def accessibility(self, level: tuple[str, ...] = ("serious", "critical")) -> list[str]:
        """What axe-core finds wrong at these levels: rule, meaning, elements."""
        # Into an isolated evaluation, so that the page's content security policy stays as it is.
        self.driver.execute_cdp_cmd(
            "Runtime.evaluate", {"expression": AXE.read_text(encoding="utf-8")}
        )
        found = self.driver.execute_async_script(
            "const done = arguments[0]; axe.run(document).then(r => done(r.violations))"
        )
        return [
            f"{v['impact']}: {v['id']}: {v['help']}: "
            + "; ".join(" ".join(map(str, node["target"])) for node in v["nodes"][:5])
            for v in found
            if v["impact"] in level
        ]


@contextmanager
def chromium_of(directory: Path, *flags: str) -> Iterator[Any]:
    """A driver with a Chromium of its own, whose profile lies in `directory`."""
    from selenium import webdriver
    from selenium.webdriver.chrome.options import Options
    from selenium.webdriver.chrome.service import Service

    options = Options()
    options.binary_location = str(CHROMIUM)
    for flag in (
        "--headless=new", "--no-first-run", "--disable-gpu", "--disable-dev-shm-usage",
        "--disable-background-networking", "--disable-component-update", "--disable-sync",
        "--disable-default-apps", "--disable-extensions", "--hide-scrollbars",
        "--force-device-scale-factor=1", f"--user-data-dir={directory}",
        "--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE 127.0.0.1 , EXCLUDE localhost",
        f"--window-size={SIZE[0]},{SIZE[1]}", *flags,
        *(("--no-sandbox",) if os.geteuid() == 0 else ()),
    ):  # fmt: skip
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"performance": "ALL", "browser": "ALL"})
    # The driver is named, so that nothing is looked for on the network.
    driver = webdriver.Chrome(options=options, service=Service(executable_path=str(DRIVER)))
    try:
        # The window's inside is what a panel shows.
        driver.execute_cdp_cmd(
            "Emulation.setDeviceMetricsOverride",
            {"width": SIZE[0], "height": SIZE[1], "deviceScaleFactor": 1, "mobile": False},
        )
        driver.set_page_load_timeout(30)
        driver.set_script_timeout(30)
        yield driver
    finally:
        driver.quit()


@pytest.fixture(scope="session")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """One Chromium for the session."""
    if missing:
        pytest.skip(missing)
    with chromium_of(tmp_path_factory.mktemp("chromium")) as driver:
        yield driver


@pytest.fixture
def browser(chromium: Any) -> Iterator[Browser]:
    """A blank window; what it was asked to load before is forgotten."""
    window = Browser(chromium)
    window.open("about:blank")
    window.requests()
    window.complaints()
    yield window
    # A page left open would go on asking for what the next test has stopped.
    window.open("about:blank")

