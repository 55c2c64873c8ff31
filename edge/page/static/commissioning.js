// Every tag with its registers, and both blocks as they stand in the PLC.

import { asked, header, lasted, listen, make, node, put } from "./live.js";

const { line, wires } = document.body.dataset;
const site = await asked(`/line/${encodeURIComponent(line)}/site.json`);
const rows = new Map([...document.querySelectorAll("#rows tr")].map((row) => [row.dataset.tag, row]));
let only = false;

function show(told) {
  if (!told.line) return;
  header(told.line);
  let bad = 0;
  site.tags.forEach((tag) => {
    const row = rows.get(tag.name), [value, quality, reason, age] = told.line.tags[tag.name] ?? [null, "bad", "not read by the daemon", null];
    row.dataset.quality = quality;
    bad += quality !== "good";
    put(row.children[3], value === null ? "–" : `${+value.toPrecision(6)} ${tag.unit}`);
    put(row.children[4], quality === "good" ? "good" : `✖ ${quality}`);
    put(row.children[5], reason === "none" ? "" : reason);
    put(row.children[6], age === null ? "never" : age.toFixed(1));
  });
  put(node("table-says"), `${site.tags.length - bad} of ${site.tags.length} tags good; set-points and other context are read, too, and show their registers.`);
}

function showWires(told) {
  const found = told.wires;
  if (!found) return;
  for (const [name, row] of rows) {
    const words = found.raw[name];
    put(row.children[7], words ? words.map((w) => `${w} (${w.toString(16).padStart(4, "0")})`).join(" ") : "–");
  }
  for (const [block, { age_s, fault, rows: lines }] of Object.entries(found.blocks)) {
    put(node(`block-${block}-says`), age_s === null ? "Not read yet." : `${fault ? `✖ A PLC would not believe it: ${fault}. ` : ""}Read ${lasted(age_s)} before this was written.`);
    const body = node(`block-${block}`);
    while (body.childElementCount > lines.length) body.lastElementChild.remove();
    while (body.childElementCount < lines.length) body.append(make("tr", {}, make("td"), make("th", { scope: "row" }), make("td"), make("td")));
    lines.forEach((cells, i) => cells.forEach((cell, j) => put(body.children[i].children[j], String(cell))));
  }
  const links = found.links.map((link) => [link.name, `${link.connected ? "up" : "✖ down"}; ${link.text}${link.last_error ? `; last error: ${link.last_error}` : ""}`]);
  node("links").replaceChildren(...links.flatMap(([name, text]) => [make("dt", {}, name), make("dd", {}, text)]));
  put(node("publication"), found.publication);
}

node("only").addEventListener("click", () => {
  only = !only;
  node("only").setAttribute("aria-pressed", String(only));
  node("rows").classList.toggle("only", only);
});
listen(show);
listen(showWires, wires, false);
