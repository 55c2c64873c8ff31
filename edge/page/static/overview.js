// All lines of the appliance, one tile each: the worst is seen first by its mark, not by its place.

import { health, listen, make, node, put } from "./live.js";

const ORDER = { 1: 0, 2: 1, 3: 2, 4: 3, 0: 4 };
const tiles = new Map();

function tile(name) {
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  svg.setAttribute("class", "ne107");
  svg.setAttribute("aria-hidden", "true");
  svg.append(document.createElementNS("http://www.w3.org/2000/svg", "use"));
  const item = make("li", {},
    make("a", { href: `/line/${encodeURIComponent(name)}` }, svg, make("b", {}, ""), make("span", { class: "word" }, "")),
    make("p", { class: "verdict" }, ""), make("p", { class: "suspects" }, ""),
    make("p", { class: "batch" }, ""), make("p", { class: "trim" }, ""));
  node("tiles").append(item);
  tiles.set(name, item);
  return item;
}

function show(told) {
  const lines = told.lines ?? [];
  const here = new Set(lines.map((line) => line.name));
  for (const [name, item] of tiles) {
    if (!here.has(name)) {
      item.remove();
      tiles.delete(name);
    }
  }
  for (const line of lines) {
    const item = tiles.get(line.name) ?? tile(line.name);
    item.dataset.severity = line.severity ?? "none";
    health(item, line.ne107);
    put(item.querySelector("b"), line.title);
    put(item.querySelector(".word"), line.ne107.word);
    put(item.querySelector(".verdict"), line.verdict);
    put(item.querySelector(".suspects"), line.suspects.map((s) => `${s.component} ${s.name}${s.part ? `, ${s.part}` : ""}`).join("; "));
    put(item.querySelector(".batch"), `batch ${line.batch}`);
    put(item.querySelector(".trim"), `trim ${line.trim}`);
  }
  const worst = lines.map((line) => line.ne107).sort((a, b) => ORDER[a.number] - ORDER[b.number])[0];
  if (worst) {
    health(node("health"), worst);
    put(node("health-word"), lines.length > 1 ? `worst: ${worst.word}` : worst.word);
  }
}

listen(show);
