// Every tag of a line over a batch, lowest and highest value of each span.

import { asked, clock, header, listen, make, node, put } from "./live.js";
import { chart, gaps, hours, series } from "./charts.js";

const { line, batch } = document.body.dataset;
const base = `/line/${encodeURIComponent(line)}`;
const asking = batch ? `batch=${batch}` : "";
const AGAIN_MS = 30000;
let site = null, range = null, minutes = 0, whole = null, busy = false;
const places = new Map();

function show(told) {
  if (!told.line) return;
  header(told.line);
  for (const { name, unit } of site.tags) {
    const place = places.get(name), [value, quality, reason] = told.line.tags[name] ?? [null, "bad", "not read"];
    place.dataset.state = quality === "good" ? "" : "bad";
    put(place.querySelector("output"), value === null ? `✖ ${reason}` : `${+value.toPrecision(4)} ${unit}`);
  }
}

function frames() {
  for (const { code, name } of site.components) {
    const own = site.tags.filter((tag) => tag.component === code);
    if (!own.length) continue;
    const group = make("section", { "aria-label": `${code} ${name}` }, make("h3", {}, `${code} ${name}`));
    const row = make("div", { class: "row" });
    for (const tag of own) {
      const figure = make("figure", { "data-tag": tag.name, "data-state": "" },
        make("figcaption", { title: tag.text }, make("b", {}, tag.name), make("span", {}, tag.text), make("output", {}, "")),
        make("div", { class: "chart", role: "img", "aria-label": `${tag.name} ${tag.text} over the batch` }));
      places.set(tag.name, figure);
      row.append(figure);
    }
    group.append(row);
    node("grid").append(group);
  }
}

const path = (span = "") => `${base}/series.bin?${asking}${span}&pixels=300`;

async function draw(waiting) {
  if (busy) return;
  busy = true;
  const started = performance.now();
  try {
    const span = range ? `&first_s=${range[0]}&last_s=${range[1]}` : "";
    const found = await (waiting ?? series(path(span)));
    whole = found.head.batch;
    const began = whole.began_s - 60 * whole.first_minute;
    const x = hours(found.times, began);
    found.head.tags.forEach((name, i) => {
      const figure = places.get(name);
      if (!figure) return;
      chart(figure.querySelector(".chart"), x, [{ y: gaps(found.values[i]) }], {
        left: 36,
        select: (from, to) => {
          range = [began + 3600 * from, began + 3600 * to];
          press(null);
          draw();
        },
      });
    });
    const damaged = found.head.damaged ? ` ${found.head.damaged} minutes are damaged on the disk.` : "";
    put(node("all-says"), found.times.length
      ? `Batch ${whole.batch_id}, ${clock(found.times[0])} to ${clock(found.times.at(-1))} UTC${found.head.rows ? ", every row" : ", lowest and highest of each span"}. Drag over a chart to see a part.${damaged}`
      : "No rows are kept of this time.");
    performance.mark("drawn");
    document.body.dataset.drawn = (performance.now() - started).toFixed(0);
  } catch (error) {
    put(node("all-says"), error.message);
  } finally {
    busy = false;
  }
}

function press(chosen) {
  for (const button of document.querySelectorAll("#ranges button")) {
    button.setAttribute("aria-pressed", String(button === chosen));
  }
}

function wire() {
  for (const button of document.querySelectorAll("#ranges button")) {
    button.addEventListener("click", () => {
      minutes = Number(button.dataset.minutes);
      press(button);
      follow();
      draw();
    });
  }
  node("others").addEventListener("toggle", async () => {
    if (!node("others").open) return;
    try {
      const found = await asked(`${base}/batches.json`);
      node("batches").replaceChildren(...found.map((b) => make("li", {}, make("a", { href: `${base}/tags?batch=${b.batch_id}` },
        `${b.batch_id}`), ` ${new Date(b.began_s * 1000).toISOString().slice(0, 16).replace("T", " ")} UTC, ${((b.last_s - b.began_s) / 3600).toFixed(1)} h, ${b.state}, ${["normal", "D-3", "D-2", "D-1"][b.severity]}`)));
    } catch (error) {
      put(node("batches"), error.message);
    }
  });
}

function follow() {
  range = minutes && whole ? [whole.last_s - 60 * minutes, whole.last_s + 600] : null;
}

const first = series(path());
first.catch(() => {});
site = await asked(`${base}/site.json`);
frames();
wire();
listen(show);
await draw(first);
setInterval(() => {
  if (document.hidden || batch || (range && !minutes)) return;
  follow();
  draw();
}, AGAIN_MS);
