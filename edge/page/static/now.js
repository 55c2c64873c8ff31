// The screen of a line: may I trust it, is there danger, where, why, what is advised.

import { asked, clock, header, lasted, listen, make, node, put } from "./live.js";
import { at, chart, gaps, heat, hours, series } from "./charts.js";

const { line, batch } = document.body.dataset;
const base = `/line/${encodeURIComponent(line)}`;
const asking = batch ? `batch=${batch}` : "";
const AGAIN_MS = 20000;

const state = {
  site: null, told: null, history: null, model: null, chosen: "", byHand: false, envelope: null,
  rows: null, recent: [], asking: 0,
};

const words = { ok: "", note: "attention: ", bad: "fault: " };

function definitions(list, items) {
  // The same rows again and again: only what changed is touched, so that nothing flickers.
  const wanted = items.length * 2;
  while (list.childElementCount > wanted) list.lastElementChild.remove();
  while (list.childElementCount < wanted) list.append(make("dt"), make("dd"));
  items.forEach(({ label, text, level }, i) => {
    const dt = list.children[2 * i], dd = list.children[2 * i + 1];
    put(dt, label);
    if (dd.dataset.text !== text || dd.dataset.level !== (level ?? "ok")) {
      dd.dataset.text = text;
      dd.dataset.level = level ?? "ok";
      dd.title = text;
      dd.replaceChildren(make("span", { class: "hidden" }, words[level ?? "ok"]), text);
    }
  });
}

function items(list, texts) {
  if (list.dataset.texts === JSON.stringify(texts)) return;
  list.dataset.texts = JSON.stringify(texts);
  list.replaceChildren(...texts.map((text) => make("li", { title: text }, text)));
}

// Since when a condition stands, if the log of this batch knows.
function since(condition) {
  const last = state.history?.events.filter((e) => e.condition === condition).at(-1);
  return last?.raised && !batch ? ` (since ${clock(last.t_s)} UTC)` : "";
}

// Once a second.

function show(told) {
  state.told = told;
  const now = told.line;
  if (!now) return;
  header(now);
  put(node("trust-says"), now.ne107.says);
  definitions(node("trust-list"), [...now.trust,
    ...(told.history ? [{ label: "history", text: told.history, level: "bad" }] : [])]);
  items(node("conditions"), now.conditions.map((c) => `${c.text}${since(c.condition)}`));
  danger(now);
  advice(now);
  drawing(now);
  live(now);
}

function danger(now) {
  const { valid, probability, severity, means, text, since_s } = now.verdict;
  const box = node("verdict");
  box.dataset.severity = valid ? severity : "none";
  put(node("probability"), valid ? `${(100 * probability).toFixed(0)} %` : "–");
  put(node("severity"), valid ? `${severity ? `Severity ${severity} (D-${4 - severity})` : "Normal"}: ${means}` : text);
  const began = valid && severity && since_s ? since_s : null;
  const since = began === null ? "" : ` since ${clock(began)} UTC (${lasted(state.told.written_s - began)})`;
  const limit = state.model?.threshold;
  const flag = limit ? ` Flag from ${(100 * limit).toFixed(0)}\u00a0%.` : "";
  put(node("case"), severity && valid ? `Case open${since}.` : `No case open.${flag}`);
  if (state.model?.hits && valid) put(node("hits"), state.model.hits[severity]);
  else if (state.model?.why) put(node("hits"), `No hit rates: ${state.model.why}`);
}

function advice(now) {
  put(node("advice-text"), now.advice.text);
  node("advice").dataset.state = now.advice.state;
  const demand = now.advice.demand;
  const rows = now.advice.rows.map(([label, text]) => ({ label, text }));
  if (demand !== null) rows.push({ label: "NaOH demand", text: `${demand < 0 ? "" : "+"}${(100 * demand).toFixed(2)} %` });
  definitions(node("advice-list"), rows);
}

function drawing(now) {
  const suspects = new Map(now.suspects.map((s, i) => [s.component, { ...s, rank: i + 1 }]));
  const bad = new Map();
  state.site.tags.forEach((tag) => {
    if (now.tags[tag.name]?.[1] === "bad") bad.set(tag.component, (bad.get(tag.component) ?? 0) + 1);
  });
  for (const group of document.querySelectorAll("#plant [data-code]")) {
    const { code } = group.dataset;
    const suspect = suspects.get(code), faults = bad.get(code) ?? 0;
    group.classList.toggle("suspect", Boolean(suspect));
    group.classList.toggle("first", suspect?.rank === 1);
    group.classList.toggle("faulty", faults > 0);
    const share = suspect ? `${(100 * suspect.score).toFixed(0)} %` : "";
    put(group.querySelector(".mark"), suspect ? `${suspect.rank}: ${suspect.part || "any"} ${share}` : "");
    flag(group.querySelector(".flag"));
    put(group.querySelector(".note"), faults && !suspect ? `${faults} bad` : "");
    for (const part of group.querySelectorAll(".part")) {
      part.classList.toggle("suspect", part.dataset.part === suspect?.part);
    }
    // The drawing says it in short; the sentence above it in words.
    if (suspect) group.setAttribute("aria-describedby", "where-says");
    else group.removeAttribute("aria-describedby");
  }
  const first = now.suspects[0];
  put(node("where-says"), first
    ? `Suspected: ${first.component} ${first.name}${first.part ? `, ${first.part}` : ""} (${(100 * first.score).toFixed(0)} %)${now.suspects.slice(1).map((s) => `, then ${s.component} (${(100 * s.score).toFixed(0)} %)`).join("")}`
    : now.verdict.valid ? "No component is suspected." : "No verdict, so nothing is suspected.");
  if (first && !state.byHand && state.chosen !== first.component) choose(first.component, false);
  if (!state.chosen) choose(state.site.components[0].code, false);
}

// The flag is as wide as its text.
function flag(group) {
  const width = 14 + 7.2 * group.querySelector(".mark").textContent.length;
  group.querySelector("path").setAttribute("d", `M${group.dataset.x} ${group.dataset.y}h${-width}v19h${width}z`);
}

// Why: the tags of a component.

function choose(code, byHand = true) {
  const component = state.site.components.find((c) => c.code === code);
  // The daemon may run a configuration that has what this drawing has not.
  if (!component || state.chosen === code) return;
  state.byHand ||= byHand;
  state.chosen = code;
  state.rows = state.envelope = null;
  for (const group of document.querySelectorAll("#plant [data-code]")) {
    group.setAttribute("aria-pressed", String(group.dataset.code === code));
  }
  const tags = own();
  put(node("why-head"), `Why? ${code} ${component.name}`);
  put(node("why-says"), tags.length ? "" : "No tag of the model belongs to this component.");
  const place = node("why-tags");
  place.dataset.count = tags.length;
  place.replaceChildren(...tags.map(({ tag }) => make("figure", { "data-tag": tag.name, "data-state": "" },
    make("figcaption", { title: tag.text }, make("b", {}, tag.name), make("span", {}, tag.text), make("em", {}, ""), make("output", {}, "")),
    make("div", { class: "chart", role: "img", "aria-label": tag.text }))));
  if (state.told?.line) live(state.told.line);
  fetchRows();
}

const own = () => state.site.tags.map((tag, i) => ({ tag, i })).filter(({ tag }) => tag.component === state.chosen);

async function fetchRows() {
  const code = state.chosen;
  if (!code) return;
  try {
    const [rows, envelope] = await Promise.all([
      series(`${base}/series.bin?${asking}&component=${encodeURIComponent(code)}&pixels=400`),
      asked(`${base}/envelope.json?${asking}&component=${encodeURIComponent(code)}`),
    ]);
    if (code !== state.chosen) return;
    state.rows = rows;
    state.envelope = envelope;
    const newest = rows.times.at(-1) ?? 0;
    state.recent = state.recent.filter((r) => r.t > newest);
    put(node("why-says"), envelope.source ? `Grey band: ${envelope.source}.` : `No envelope: ${envelope.why}.`);
    drawTags();
  } catch (error) {
    put(node("why-says"), `The rows cannot be shown: ${error.message}`);
  }
}

function drawTags() {
  const { rows, envelope } = state;
  if (!rows) return;
  const began = rows.head.batch.began_s - 60 * rows.head.batch.first_minute;
  const more = batch ? [] : state.recent;
  const times = [...rows.times, ...more.map((r) => r.t)];
  const x = hours(times, began);
  for (const { tag, i } of own()) {
    const figure = node("why-tags").querySelector(`[data-tag="${CSS.escape(tag.name)}"]`);
    const place = rows.head.tags.indexOf(tag.name);
    if (!figure || place < 0) continue;
    const y = [...gaps(rows.values[place]), ...more.map((r) => r.values[i])];
    const band = envelope.tags[tag.name];
    const low = band ? at(times, envelope.times, band[0]) : [];
    const high = band ? at(times, envelope.times, band[1]) : [];
    const lines = band ? [{ y: high, stroke: "#8895a1", width: 1 }, { y: low, stroke: "#8895a1", width: 1 }, { y, width: 1.25 }] : [{ y }];
    chart(figure.querySelector(".chart"), x, lines, { band: band ? [1, 2] : undefined, range: spread(y, low, high) });
  }
}

// Room for the value and the envelope, and a little more; a flat line stays in the middle.
function spread(...all) {
  let low = Infinity, high = -Infinity;
  for (const values of all) {
    for (const v of values) {
      if (v === null) continue;
      if (v < low) low = v;
      if (v > high) high = v;
    }
  }
  if (low > high) return [0, 1];
  const room = Math.max((high - low) * 0.06, Math.abs(high) * 1e-4, 1e-6);
  return [low - room, high + room];
}

function live(now) {
  if (!batch && state.told.state === "live") {
    const t = state.told.written_s;
    if (!state.recent.length || t > state.recent.at(-1).t) {
      state.recent.push({ t, values: state.site.tags.map((tag) => now.tags[tag.name]?.[0] ?? null) });
      if (state.recent.length > 600) state.recent.shift();
    }
  }
  for (const { tag } of own()) {
    const figure = node("why-tags").querySelector(`[data-tag="${CSS.escape(tag.name)}"]`);
    if (!figure) continue;
    const [value, quality, reason] = now.tags[tag.name] ?? [null, "bad", "not in the status"];
    const text = value === null ? "no value" : `${number(value)} ${tag.unit}`;
    put(figure.querySelector("output"), text);
    const [mark, says] = compare(tag.name, value, quality, reason);
    figure.dataset.state = mark;
    put(figure.querySelector("em"), says);
    const label = `${tag.name} ${tag.text}: ${text}${mark === "out" ? `, ${says.slice(2)} the band of good batches` : mark ? `, ${says.slice(2)}` : ""}`;
    const place = figure.querySelector(".chart");
    if (place.getAttribute("aria-label") !== label) place.setAttribute("aria-label", label);
  }
}

function compare(name, value, quality, reason) {
  if (quality !== "good") return ["bad", `✖ ${quality}: ${reason}`];
  const band = state.envelope?.tags[name];
  if (!band?.[0].length || batch) return ["", ""];
  const low = band[0].at(-1), high = band[1].at(-1);
  if (value > high) return ["out", "▲ above"];
  if (value < low) return ["out", "▼ below"];
  return ["", ""];
}

const number = (v) => (Math.abs(v) >= 1000 ? v.toFixed(0) : Math.abs(v) >= 100 ? v.toFixed(1) : v.toFixed(2));

// History: at the start, and again every now and then.

async function fetchHistory() {
  try {
    const [history, model] = await Promise.all([asked(`${base}/batch.json?${asking}`), asked(`${base}/model.json`)]);
    state.history = history;
    state.model = model;
    drawHistory();
  } catch (error) {
    put(node("map-says"), error.message);
  }
  await fetchRows();
}

function drawHistory() {
  const { history, model } = state;
  const { steps } = history;
  const began = history.batch.began_s - 60 * history.batch.first_minute;
  const dialogue = history.events.filter((e) => e.kind === "suggestion" || e.kind === "answer");
  items(node("dialogue"), dialogue.slice(-3).reverse().map((e) => `${clock(e.t_s)} ${e.text}`));
  const x = hours(steps.t_s, began);
  if (x.length) {
    const limit = model.threshold ?? null;
    chart(node("danger-chart"), x, [
      { y: steps.probability.map((p) => (p === null ? null : 100 * p)), width: 1.5 },
      { y: x.map(() => (limit === null ? null : 100 * limit)), stroke: "#8c0f1b", dash: [5, 4] },
    ], { range: [0, 100], left: 44, ticks: (_, ticks) => ticks.map((v) => `${v} %`) });
    const known = steps.probability.filter((p) => p !== null);
    node("danger-chart").setAttribute("aria-label", known.length
      ? `Defect probability over the batch: now ${(100 * known.at(-1)).toFixed(0)} %, highest ${(100 * Math.max(...known)).toFixed(0)} %`
      : "Defect probability over the batch: no valid verdict yet");
    const demand = steps.demand.map((d) => (d === null ? null : 100 * d));
    if (demand.some((d) => d !== null)) {
      chart(node("demand-chart"), x, [{ y: demand, width: 1.5 }],
        { left: 44, ticks: (_, ticks) => ticks.map((v) => `${+v.toFixed(2)} %`) });
      node("demand-chart").setAttribute("aria-label", `NaOH demand above the feed-forward over the batch, now ${demand.filter((d) => d !== null).at(-1).toFixed(2)} %`);
    }
  }
  drawMap(began);
}

function drawMap(began) {
  const { history, site, told } = state;
  const map = history.cam;
  if (!map) {
    put(node("map-says"), "No model step of this batch has been judged yet.");
    return;
  }
  const order = [], groups = [];
  for (const { code } of site.components) {
    const rows = site.tags.map((tag, i) => [tag.component, i]).filter(([c]) => c === code).map(([, i]) => i);
    if (rows.length) groups.push({ code, first: order.length, count: rows.length });
    order.push(...rows);
  }
  const marked = new Set((batch ? [] : told?.line?.suspects ?? []).map((s) => s.component));
  const canvas = node("map");
  const drawn = heat(canvas, map, order, groups, marked);
  if (!drawn) return;
  const x = hours(map.times, began), n = 6;
  for (let i = 0; i <= n; i += 1) {
    const place = Math.round((i / n) * (x.length - 1));
    drawn.pen.textAlign = i === 0 ? "left" : i === n ? "right" : "center";
    drawn.pen.fillText(`${x[place].toFixed(1)} h`, drawn.left + (i / n) * (drawn.width - drawn.left), drawn.height - 4);
  }
  canvas.groups = groups.map((g) => ({ ...g, of: order.length }));
  put(node("map-says"), said(map));
}

// The same as a sentence: which tags spoke most in the last part of the batch.
function said(map) {
  const cells = Uint8Array.from(atob(map.cells), (c) => c.charCodeAt(0));
  const from = Math.max(0, map.columns - Math.max(1, Math.round(map.columns / 12)));
  const sums = state.site.tags.map((tag, i) => {
    let sum = 0;
    for (let x = from; x < map.columns; x += 1) sum += cells[i * map.columns + x];
    return [sum, tag];
  }).sort((a, b) => b[0] - a[0]);
  return `Dark speaks for a defect. Lately most: ${sums.slice(0, 3).map(([, tag]) => `${tag.name} (${tag.component} ${tag.text})`).join(", ")}.`;
}

// Keys and clicks.

function wire() {
  for (const group of document.querySelectorAll("#plant [data-code]")) {
    group.addEventListener("click", () => choose(group.dataset.code));
    group.addEventListener("keydown", (event) => {
      if (event.key === "Enter" || event.key === " ") {
        event.preventDefault();
        choose(group.dataset.code);
      }
    });
  }
  node("map").addEventListener("click", (event) => {
    const { groups, clientHeight } = node("map");
    const found = groups?.find((g) => event.offsetY / (clientHeight - 16) * g.of < g.first + g.count);
    if (found) choose(found.code);
  });
  // Another window, or a sentence that takes more room: charts are drawn for the room they have.
  let pause = 0;
  const room = new ResizeObserver(() => {
    clearTimeout(pause);
    pause = setTimeout(() => { drawTags(); if (state.history) drawHistory(); }, 100);
  });
  for (const id of ["danger-chart", "demand-chart", "map", "why-tags"]) room.observe(node(id));
}

state.site = await asked(`${base}/site.json`);
wire();
if (batch) put(node("where-head"), `Where? Batch ${batch}; drawing, health and advice are of now`);
listen(show);
await fetchHistory();
setInterval(() => { if (!document.hidden && !batch) fetchHistory(); }, AGAIN_MS);
