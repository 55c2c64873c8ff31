"""The frames of the screens as HTML: no script, no style, no text of the plant that is not escaped.

What changes is put in by the page's scripts; the drawing of the plant is part of the frame, so that
no script ever has to turn text into markup.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

Site = Mapping[str, Any]

NE107_SYMBOLS = (
    # One shape a word, as NE 107 draws them; the letter is there for who cannot tell the shapes.
    '<symbol id="ne0" viewBox="0 0 24 24"><rect x="2" y="7" width="20" height="10"/></symbol>'
    '<symbol id="ne1" viewBox="0 0 24 24"><circle cx="12" cy="12" r="11"/>'
    '<path d="M7 7l10 10M17 7l-10 10"/></symbol>'
    '<symbol id="ne2" viewBox="0 0 24 24"><path d="M1 3h22L12 23z"/>'
    '<text x="12" y="14" text-anchor="middle">C</text></symbol>'
    '<symbol id="ne3" viewBox="0 0 24 24"><path d="M12 1L23 22H1z"/>'
    '<text x="12" y="20" text-anchor="middle">?</text></symbol>'
    '<symbol id="ne4" viewBox="0 0 24 24"><path d="M2 2h20v20H2z"/>'
    '<text x="12" y="17" text-anchor="middle">M</text></symbol>'
)
SCREENS = (("", "Now"), ("/tags", "All tags"), ("/commissioning", "Commissioning"))


def frame(
    title: str,
    body: str,
    *,
    script: str,
    data: Mapping[str, str],
    nav: str = "",
    charts: bool = False,
) -> str:
    """A whole document; `data` become attributes of the body."""
    attributes = "".join(f' data-{name}="{escape(value)}"' for name, value in data.items())
    uplot = ""
    if charts:
        uplot = (
            '<link rel="stylesheet" href="/static/vendor/uplot/uPlot.min.css">'
            '<script src="/static/vendor/uplot/uPlot.iife.min.js" defer></script>'
            '<link rel="modulepreload" href="/static/charts.js">'
        )
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title>"
        '<link rel="icon" href="/static/icon.svg" type="image/svg+xml">'
        f'<link rel="stylesheet" href="/static/page.css">{uplot}'
        '<link rel="modulepreload" href="/static/live.js">'
        f'<script type="module" src="/static/{script}"></script></head>'
        f'<body class="waiting"{attributes}><a class="skip" href="#main">To the content</a>'
        f'<svg class="hidden" aria-hidden="true">{NE107_SYMBOLS}</svg>'
        f"<header><h1>{escape(title)}</h1>"
        '<p id="simulated" hidden>SIMULATED: never act on it</p>'
        f'<p id="batch"></p>{nav}'
        '<p id="health"><svg class="ne107" aria-hidden="true"><use href="#ne0"></use></svg>'
        '<span id="health-word">waiting</span></p><p id="age">no news yet</p></header>'
        '<p id="stale" role="alert"></p>'
        "<noscript><p>This page needs JavaScript; without it, `ncm-edge status` says the same."
        "</p></noscript>"
        f'<main id="main">{body}</main></body></html>'
    )


def overview(site: Site) -> str:
    """All lines, one tile each."""
    body = (
        '<section aria-labelledby="lines-head"><h2 id="lines-head">Lines</h2>'
        '<ul id="tiles"></ul></section>'
    )
    return frame(
        f"{site['name']}: overview", body, script="overview.js",
        data={"stream": "/stream", "screen": "overview"},
    )  # fmt: skip


def navigation(line: Site, lines: int, screen: str, batch: str) -> str:
    """Links between the screens of a line."""
    query = f"?batch={escape(batch)}" if batch else ""
    out = ['<nav aria-label="Screens">']
    if lines > 1:
        out.append('<a href="/">Overview</a>')
    for path, word in SCREENS:
        here = ' aria-current="page"' if path.strip("/") == screen else ""
        out.append(f'<a href="/line/{escape(line["name"])}{path}{query}"{here}>{word}</a>')
    return "".join(out) + "</nav>"


def now(line: Site, lines: int, batch: str) -> str:
    """The screen of a line: trust, danger, advice; where and why."""
    batches = line["batches"]
    body = f"""
<section id="trust" aria-labelledby="trust-head"><h2 id="trust-head">May I trust it?</h2>
<p id="trust-says"></p><dl id="trust-list"></dl>
<div id="standing" tabindex="0" role="region" aria-label="Conditions">
<ul id="conditions"></ul></div></section>
<section id="danger" aria-labelledby="danger-head"><h2 id="danger-head">{
        "Is the batch in danger?" if batches else "Is the line in danger?"}</h2>
<div id="verdict"><p id="probability"></p><p id="severity" role="status"></p><p id="case"></p></div>
<div id="danger-chart" class="chart" role="img" aria-label="Defect probability over time"></div>
<p id="hits"></p></section>
<section id="advice" aria-labelledby="advice-head"><h2 id="advice-head">What is advised?</h2>
<p id="advice-text"></p><dl id="advice-list"></dl>
<div id="demand-chart" class="chart" role="img" aria-label="NaOH demand over time"></div>
<ol id="dialogue"></ol></section>
<section id="where" aria-labelledby="where-head"><h2 id="where-head">Where?</h2>
<p id="where-says"></p>{line["drawing"]}
<h3 id="map-head">What spoke for a defect, tag by tag</h3>
<canvas id="map" role="img" aria-labelledby="map-head map-says" width="600" height="153"></canvas>
<p id="map-says"></p></section>
<section id="why" aria-labelledby="why-head"><h2 id="why-head">Why?</h2>
<p id="why-says">Choose a component of the drawing to see its tags.</p>
<div id="why-tags"></div></section>"""
    return frame(
        line["title"], body, script="now.js", charts=True,
        nav=navigation(line, lines, "", batch), data=_data(line, "now", batch),
    )  # fmt: skip


def tags(line: Site, lines: int, batch: str) -> str:
    """Every tag of a line over a batch."""
    body = """
<section id="all" aria-labelledby="all-head"><h2 id="all-head">All tags</h2>
<p id="ranges" role="group" aria-label="Range of time">
<button type="button" data-minutes="0" aria-pressed="true">whole batch</button>
<button type="button" data-minutes="240" aria-pressed="false">last 4 h</button>
<button type="button" data-minutes="60" aria-pressed="false">last hour</button>
<button type="button" data-minutes="10" aria-pressed="false">last 10 min</button>
<span id="all-says" role="status"></span></p>
<div id="grid"></div>
<details id="others"><summary>Other batches</summary><ul id="batches"></ul></details></section>"""
    return frame(
        line["title"], body, script="tags.js", charts=True,
        nav=navigation(line, lines, "tags", batch), data=_data(line, "tags", batch),
    )  # fmt: skip


CHECKLIST = (
    "Every tag is good, and its value is the one the plant's own display shows.",
    "Registers: the raw words of two tags agree with what the PLC's programming tool shows.",
    "Block W: the PLC shows the same SEQ_HEAD, and it moves every second.",
    "Block R: the heartbeat moves; keys at the panel show in CONTROL.",
    "Pull the appliance's plug: within 5 s the PLC's panel says that the advisor is gone.",
)


def commissioning(line: Site, lines: int) -> str:
    """Tag table, raw words, blocks."""
    checks = "".join(f"<li>{escape(text)}</li>" for text in CHECKLIST)
    head = ("tag", "what", "component", "value", "quality", "why", "age s", "raw words",
            "where")  # fmt: skip
    cells = "".join(f'<th scope="col">{word}</th>' for word in head)
    rows = "".join(_row(tag, code) for code, tag in _sorted(line))
    block = (
        '<section aria-labelledby="block-{0}-head"><h2 id="block-{0}-head">{1}</h2>'
        '<p id="block-{0}-says"></p><div class="scroll" tabindex="0" role="region" '
        'aria-label="Words of block {0}"><table><thead><tr><th scope="col">word</th>'
        '<th scope="col">name</th><th scope="col">raw</th><th scope="col">says</th></tr></thead>'
        '<tbody id="block-{0}"></tbody></table></div></section>'
    )
    body = (
        '<section id="table" aria-labelledby="table-head"><h2 id="table-head">Tags</h2><p>'
        '<button type="button" id="only" aria-pressed="false">only what is not good</button> '
        '<span id="table-says" role="status"></span></p><div class="scroll" tabindex="0" '
        'role="region" aria-label="Table of tags"><table><thead><tr>'
        f'{cells}</tr></thead><tbody id="rows">{rows}</tbody></table></div></section><div>'
        + block.format("W", "Block W, as the PLC was read back")
        + block.format("R", "Block R, what the PLC says")
        + '<section aria-labelledby="links-head"><h2 id="links-head">Links</h2><dl id="links"></dl>'
        '<p id="publication"></p></section><section aria-labelledby="checks-head">'
        f'<h2 id="checks-head">Write test</h2><ol>{checks}</ol></section></div>'
    )
    return frame(
        line["title"], body, script="commissioning.js",
        nav=navigation(line, lines, "commissioning", ""),
        data={**_data(line, "commissioning", ""),
              "wires": f"/line/{line['name']}/stream?part=wires"},
    )  # fmt: skip


def _sorted(line: Site) -> Sequence[tuple[str, Site]]:
    rows: list[tuple[str, Site]] = [(tag["component"], tag) for tag in line["tags"]]
    return rows + [(tag["component"], tag) for tag in line["context"]]


def _row(tag: Site, code: str) -> str:
    name = escape(tag["name"])
    return (
        f'<tr data-tag="{name}"><th scope="row">{name}</th><td>{escape(tag["text"])}</td>'
        f"<td>{escape(code)}</td><td></td><td></td><td></td><td></td>"
        f"<td></td><td>{escape(tag['where'])}</td></tr>"
    )


def _data(line: Site, screen: str, batch: str) -> dict[str, str]:
    return {"line": line["name"], "screen": screen, "batch": batch,
            "stream": f"/line/{line['name']}/stream"}  # fmt: skip


def said(status: int, text: str) -> str:
    """A page that says what is wrong."""
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8"><title>NCM Edge</title>'
        '<link rel="stylesheet" href="/static/page.css"></head><body><main id="main">'
        f"<h1>{status}</h1><p>{escape(text)}</p>"
        '<p><a href="/">To the overview</a></p></main></body></html>'
    )
