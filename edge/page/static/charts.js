// Charts from the packed series of the server, and the map of tags over time. uPlot is loaded before.

import { ask } from "./live.js";

const GREY = "#555", LINE = "#123f63", BAND = "rgba(70,90,110,0.22)";
const FONT = "11px system-ui, sans-serif";

// {head, times, values: one Float32Array a tag}
export async function series(path) {
  const buffer = await (await ask(path)).arrayBuffer();
  const length = new DataView(buffer).getUint32(0, true);
  const head = JSON.parse(new TextDecoder().decode(new Uint8Array(buffer, 4, length)));
  const n = head.count, start = 4 + length;
  const times = new Float64Array(buffer, start, n);
  const values = head.tags.map((_, i) => new Float32Array(buffer, start + 8 * n + 4 * n * i, n));
  return { head, times, values };
}

// NaN is a gap.
export const gaps = (values) => Array.from(values, (v) => (Number.isNaN(v) ? null : v));

export function hours(times, began) {
  return Array.from(times, (t) => (t - began) / 3600);
}

function axis(size, more) {
  return { stroke: GREY, font: FONT, size, gap: 2, grid: { stroke: "#d2d2d2", width: 1 },
    ticks: { show: false }, ...more };
}

// Replaces what `place` holds by a chart of `lines`: [{y, stroke, width, dash}], band: [upper, lower].
export function chart(place, x, lines, options = {}) {
  const old = place.chart;
  const width = place.clientWidth, height = place.clientHeight;
  if (!width || !height) return null;
  const scale = options.range ? { range: options.range } : {};
  const config = {
    width, height, padding: [8, 8, 0, 0],
    legend: { show: false },
    cursor: options.select ? { x: false, y: false, points: { show: false }, drag: { x: true, y: false, setScale: false } }
      : { show: false },
    scales: { x: { time: false, ...(options.x ? { range: options.x } : {}) }, y: scale },
    axes: [
      axis(18, { values: (_, ticks) => ticks.map((v) => `${+v.toFixed(2)} h`), space: 60 }),
      axis(options.left ?? 40, { space: 22, values: options.ticks }),
    ],
    series: [{}, ...lines.map((line) => ({
      stroke: line.stroke ?? LINE, width: line.width ?? 1, dash: line.dash, points: { show: false },
      spanGaps: line.spanGaps ?? false, paths: line.steps ? uPlot.paths.stepped({ align: 1 }) : undefined,
    }))],
    bands: options.band ? [{ series: options.band, fill: BAND }] : [],
    hooks: options.select ? { setSelect: [(u) => {
      if (u.select.width > 4) {
        options.select(u.posToVal(u.select.left, "x"), u.posToVal(u.select.left + u.select.width, "x"));
      }
    }] } : {},
  };
  const data = [x, ...lines.map((line) => line.y)];
  old?.destroy();
  place.chart = new uPlot(config, data, place);
  return place.chart;
}

// Values of a step function given at `at`, for other times.
export function at(times, at_, values) {
  let i = 0;
  return Array.from(times, (t) => {
    while (i + 1 < at_.length && at_[i + 1] <= t) i += 1;
    return at_.length && t >= at_[0] - 120 ? values[i] : null;
  });
}

const LEFT = 40;

// cells: bytes [rows][columns] in the order of `order`; groups: [{code, first, count}].
export function heat(canvas, map, order, groups, marked) {
  const ratio = devicePixelRatio || 1;
  const width = canvas.clientWidth, height = canvas.clientHeight;
  if (!width || !height) return;
  canvas.width = width * ratio;
  canvas.height = height * ratio;
  const pen = canvas.getContext("2d");
  pen.scale(ratio, ratio);
  const cells = Uint8Array.from(atob(map.cells), (c) => c.charCodeAt(0));
  const image = new ImageData(map.columns, order.length);
  order.forEach((row, y) => {
    for (let x = 0; x < map.columns; x += 1) {
      // The root, so that what speaks softly is seen beside what shouts.
      const dark = Math.sqrt(cells[row * map.columns + x] / 255);
      const shade = Math.round(250 - 235 * dark), place = 4 * (y * map.columns + x);
      image.data.set([shade, shade, shade, 255], place);
    }
  });
  const small = new OffscreenCanvas(map.columns, order.length);
  small.getContext("2d").putImageData(image, 0, 0);
  pen.imageSmoothingEnabled = false;
  pen.drawImage(small, LEFT, 0, width - LEFT, height - 16);
  const row = (height - 16) / order.length;
  pen.font = FONT;
  for (const group of groups) {
    const y = group.first * row, suspect = marked.has(group.code);
    pen.fillStyle = suspect ? "#8c0f1b" : "#333";
    pen.font = suspect ? `bold ${FONT}` : FONT;
    if (group.count * row >= 6) pen.fillText((suspect ? "▶" : " ") + group.code, 2, y + group.count * row / 2 + 4);
    pen.fillStyle = "#999";
    pen.fillRect(0, Math.round(y), width, 1);
    if (suspect) {
      pen.strokeStyle = "#8c0f1b";
      pen.lineWidth = 2;
      pen.strokeRect(LEFT + 1, y + 1, width - LEFT - 2, group.count * row - 1);
    }
  }
  pen.fillStyle = "#333";
  pen.font = FONT;
  return { left: LEFT, pen, width, height };
}
