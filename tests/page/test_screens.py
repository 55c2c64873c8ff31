"""The screens in a real Chromium: what an operator clicks, reads and hears."""

from __future__ import annotations

import json
import re

import pytest

from tests.browser import Browser
from tests.page.conftest import MINUTES, Running

LINE = "/line/ncm-1"
SCREENS = (LINE, f"{LINE}/tags", f"{LINE}/commissioning", f"{LINE}/batch/1")
LIVE = "return document.body.className === 'live'"
FRAMES = "return document.querySelectorAll('#why-tags canvas').length"


def show(page: Running, browser: Browser, path: str = LINE) -> None:
    page.pulse()
    browser.open(page.url + path)
    browser.until(LIVE)


def test_the_first_look_answers_the_questions(page: Running, browser: Browser) -> None:
    show(page, browser)
    text = browser.until("const t = document.getElementById('trust').innerText;"
                         "return t.includes('last inference') && t")  # fmt: skip
    assert "on CPU: CPU chosen in the configuration" in text
    assert "% good in the last model step" in text
    assert "ncm-1 (target), serial 3" in text
    assert "of the limit: input as in training" in text
    assert browser.text("#health-word") == "check function"
    assert browser.text("#simulated") == "SIMULATED: never act on it"
    danger = browser.until("const t = document.getElementById('danger').innerText;"
                           "return t.includes('Validated') && t")  # fmt: skip
    assert "Severity" in danger
    assert "Case open since" in danger
    assert "(simulated): of " in danger
    assert browser.text("#where-says").startswith("Suspected: C")
    assert browser.text("#advice-text").startswith("No suggestion: ")
    said = browser.until("const t = document.getElementById('map-says').innerText;"
                         "return t.startsWith('Dark') && t")  # fmt: skip
    assert said.count("(C") == 3
    assert "Batch 1 running" in browser.text("#batch")


def test_the_suspect_is_outlined_named_and_its_tags_are_shown(
    page: Running, browser: Browser
) -> None:
    show(page, browser)
    first = browser.until("return document.querySelector('.suspect.first')?.dataset.code")
    assert first in browser.text("#why-head")
    assert browser.text(f"#component-{first} .mark").startswith("1: ")
    outline = (
        "return getComputedStyle(document.querySelector(arguments[0] + ' > .body')).strokeWidth"
    )
    plain = browser.run("return [...document.querySelectorAll('#plant [data-code]')].find("
                        "g => !g.classList.contains('suspect')).dataset.code")  # fmt: skip
    assert browser.run(outline, f"#component-{first}") > browser.run(outline, f"#component-{plain}")
    # For who hears the page: name, role, and the sentence that names the suspects.
    found = browser.driver.execute_cdp_cmd("DOM.getDocument", {})
    node = browser.driver.execute_cdp_cmd(
        "DOM.querySelector",
        {"nodeId": found["root"]["nodeId"], "selector": f"#component-{first}"},
    )
    (said,) = browser.driver.execute_cdp_cmd(
        "Accessibility.getPartialAXTree", {**node, "fetchRelatives": False}
    )["nodes"]
    assert said["role"]["value"] == "button"
    assert said["name"]["value"].startswith(f"{first} ")
    assert "1: " in said["name"]["value"]
    assert said["description"]["value"].startswith("Suspected: ")


@pytest.mark.parametrize("how", ["mouse", "keys"])
def test_a_component_is_chosen_and_its_tags_are_seen(
    how: str, page: Running, browser: Browser
) -> None:
    show(page, browser)
    browser.until(FRAMES)
    if how == "mouse":
        browser.click("#component-C09")
    else:
        browser.run("document.getElementById('component-C08').focus()")
        browser.press("TAB")
        assert browser.run("return document.activeElement.id") == "component-C09"
        browser.press("ENTER")
    assert browser.text("#why-head") == "Why? C09 pH probes"
    names = browser.run("return [...document.querySelectorAll('#why-tags figure')]"
                        ".map(f => f.dataset.tag)")  # fmt: skip
    assert names[:4] == ["AIT-106A.PV", "AIT-106B.PV", "AIT-106C.PV", "AIT-106D.PV"]
    browser.until(f"{FRAMES} === arguments[0]", len(names))
    assert browser.run("return document.querySelector('#component-C09').ariaPressed") == "true"
    assert browser.text("#why-says").startswith("Grey band: normal batches the model was made with")
    value = browser.text("#why-tags figure output")
    assert value.endswith(" pH")
    assert 5.0 < float(value.split()[0]) < 14.0
    label = browser.run("return document.querySelector('#why-tags .chart').ariaLabel")
    assert label.startswith("AIT-106A.PV")
    assert value in label
    # An operator's choice stays, whatever is suspected meanwhile.
    page.pulse()
    browser.until("return document.getElementById('age').textContent === 'now'")
    assert browser.text("#why-head") == "Why? C09 pH probes"


def test_the_whole_page_can_be_walked_with_tab(page: Running, browser: Browser) -> None:
    show(page, browser)
    browser.run("document.activeElement.blur()")
    seen = []
    for _ in range(30):
        browser.press("TAB")
        here = browser.run("const e = document.activeElement; return e.id || e.textContent")
        seen.append(here)
        ring = browser.run(
            "const e = document.activeElement, h = e.querySelector?.(':scope > .halo');"
            "return h ? getComputedStyle(h).strokeWidth : getComputedStyle(e).outlineWidth"
        )
        assert float(ring.removesuffix("px")) >= 3, here
        if here == "component-C12":
            break
    assert seen[0] == "To the content"
    assert seen[1:4] == ["Now", "All tags", "Commissioning"]
    assert [s for s in seen if s.startswith("component-")] == [
        f"component-C{n:02}" for n in range(1, 13)
    ]


@pytest.mark.parametrize("path", SCREENS)
def test_no_request_leaves_no_rule_is_broken_everybody_can_use_it(
    path: str, page: Running, browser: Browser
) -> None:
    show(page, browser, path)
    browser.until("return document.querySelector('canvas, #block-W tr')")
    assert browser.elsewhere() == []
    assert browser.complaints() == []
    assert browser.accessibility(("moderate", "serious", "critical")) == []
    assert browser.run("return document.documentElement.scrollWidth <= 1280"), "scrolls sideways"


def test_the_first_screen_needs_no_scrolling(page: Running, browser: Browser) -> None:
    show(page, browser)
    browser.until(FRAMES)
    assert browser.run("return document.documentElement.scrollHeight") <= 800
    cut = browser.run(
        "return [...document.querySelectorAll('main > section')].filter("
        "s => s.scrollHeight > s.clientHeight + 1).map(s => s.id)"
    )
    assert cut == []


def test_all_tags_are_drawn_and_a_part_can_be_seen(page: Running, browser: Browser) -> None:
    show(page, browser, f"{LINE}/tags")
    browser.until("return document.querySelectorAll('#grid canvas').length === 51")
    assert "Batch 1, " in browser.text("#all-says")
    browser.click("#ranges [data-minutes='10']")
    browser.until("return document.getElementById('all-says').textContent.includes('every row')")
    browser.click("#others summary")
    browser.until("return document.querySelector('#batches a')?.textContent === '1'")


def test_commissioning_shows_registers_and_blocks(page: Running, browser: Browser) -> None:
    words = json.loads((page.runtime / "words.json").read_text(encoding="utf-8"))["lines"]["ncm-1"]
    show(page, browser, f"{LINE}/commissioning")
    seq = words["blocks"]["W"]["words"][0]
    browser.until("return document.querySelectorAll('#block-W tr').length > 30")
    assert browser.text("#block-W tr").split() == ["0", "SEQ_HEAD", str(seq), str(seq)]
    assert "advice enabled" in browser.text("#block-R")
    raw = words["raw"]["FIC-103.PV"]
    assert browser.text("tr[data-tag='FIC-103.PV'] td:nth-child(8)") == " ".join(
        f"{w} ({w:04x})" for w in raw
    )
    assert "51 of 51 tags good" in browser.text("#table-says")
    browser.click("#only")
    assert browser.run("return [...document.querySelectorAll('#rows tr')].filter("
                       "r => r.offsetHeight).length") == 0  # fmt: skip
    document = json.loads((page.runtime / "status.json").read_text(encoding="utf-8"))
    tags = document["lines"][0]["tags"]
    tags[3] |= {"value": None, "quality": "bad", "reason": "timeout"}
    page.status(tags=tags)
    browser.until("return document.getElementById('table-says').textContent.startsWith('50 of 51')")
    assert "PI-101.PV" in browser.text("#rows")
    assert "✖ bad" in browser.text("#rows")


def test_a_bad_tag_is_marked_with_more_than_a_colour(page: Running, browser: Browser) -> None:
    document = json.loads((page.runtime / "status.json").read_text(encoding="utf-8"))
    tags = document["lines"][0]["tags"]
    place = [tag["name"] for tag in tags].index("FI-107.PV")
    tags[place] |= {"value": None, "quality": "bad", "reason": "frozen"}
    show(page, browser)
    page.status(tags=tags)
    browser.until("return document.querySelector('#component-C07.faulty .note')?.textContent === "
                  "'1 bad'")  # fmt: skip
    browser.click("#component-C07")
    assert "✖ bad: frozen" in browser.text("[data-tag='FI-107.PV']")
    assert "▲ 100.0% good in the last model step; bad now: FI-107.PV" in browser.run(
        "const d = [...document.querySelectorAll('#trust-list dd')].find("
        "d => d.dataset.level === 'note');"
        "return getComputedStyle(d, '::before').content.replaceAll('\"', '') + d.dataset.text"
    )


AHEAD = """const D = Date; Date = class extends D {
  constructor(...a) { super(...(a.length ? a : [D.now() + arguments_ms])); }
  static now() { return D.now() + arguments_ms; }
};"""


@pytest.mark.parametrize("ahead_ms", [-90 * 86_400_000, 3_600_000])
def test_a_browser_with_a_wrong_clock_tells_the_same_age(
    ahead_ms: int, page: Running, browser: Browser
) -> None:
    script = browser.driver.execute_cdp_cmd(
        "Page.addScriptToEvaluateOnNewDocument",
        {"source": AHEAD.replace("arguments_ms", str(ahead_ms))},
    )
    try:
        show(page, browser)
        wrong_s = browser.run("return Date.now() / 1000 - performance.timeOrigin / 1000")
        assert abs(wrong_s - ahead_ms / 1000) < 120
        assert browser.text("#age") in ("now", *(f"{n} s ago" for n in range(10)))
        since = browser.until("return document.getElementById('case').textContent.match(/since.*/)")
        # Since when: by the plant's clock, in a batch that was looked at for minutes.
        minutes = re.search(r"\((\d+) (min|s)\)", since[0])
        assert minutes is not None, since[0]
        assert int(minutes[1]) <= (MINUTES if minutes[2] == "min" else 90)
    finally:
        browser.driver.execute_cdp_cmd("Page.removeScriptToEvaluateOnNewDocument", script)


def test_news_that_stops_turns_the_page_grey(page: Running, browser: Browser) -> None:
    show(page, browser)
    (page.runtime / "status.json").unlink()
    browser.until("return document.body.className === 'stale'")
    assert browser.text("#stale") == "ncm-edge has stopped. What is shown is the last it said."
    assert browser.run("return document.getElementById('stale').getAttribute('role')") == "alert"
    shade = browser.run("return getComputedStyle(document.querySelector('main')).filter")
    assert "grayscale" in shade
    assert browser.text("#severity")
    assert browser.text("#health-word") == "failure: not heard"
    assert browser.run("return document.getElementById('health').dataset.ne107") == "1"
