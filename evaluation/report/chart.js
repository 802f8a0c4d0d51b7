"use strict";
// Charts by Observable Plot: lines with intervals, a reading under the pointer or the arrow keys, and files of both.

const FILE_FONT = "13px system-ui, sans-serif"; // of saved charts
const SYMBOLS = ["circle", "square", "triangle", "diamond", "star", "cross"];

// How the line in a slot looks: colour and marker, and dashes where all of them are taken.
const styleOf = (slot) => ({
  color: `var(--c${slot % 6})`,
  symbol: SYMBOLS[(slot + Math.floor(slot / 6)) % 6],
  dash: slot < 6 ? null : "5 3",
});

// An element with attributes, listeners (onclick, ...) and children.
function h(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) element[name] = value;
    else if (value === true) element.setAttribute(name, "");
    else if (value !== false && value !== null && value !== undefined) element.setAttribute(name, value);
  }
  element.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

// Three digits, as in the tables of the terminal.
function number(value) {
  if (value === null || value === undefined) return "–";
  const size = Math.abs(value);
  if (size >= 1000) return size < 1e6 ? value.toFixed(0) : value.toExponential(2);
  return size > 0 && size < 1e-4 ? value.toExponential(2) : value.toPrecision(3);
}

const tick = (value) => ((short) => (short && Math.abs(short) < 1e-3 ? short.toExponential() : String(short)))(+value.toPrecision(4));

// 1, 2, 5, 10, ... within the ends of a logarithmic axis; more or fewer of them where that is too few or too many.
function logTicks(low, high) {
  const powers = d3.range(Math.floor(Math.log10(low)), Math.ceil(Math.log10(high)) + 1);
  const of = (steps) => powers.flatMap((k) => steps.map((s) => +`${s}e${k}`)).filter((v) => v >= low && v <= high);
  const found = of([1, 2, 5]);
  if (found.length > 9) return of([1]);
  const more = found.length > 2 ? found : of([1, 1.5, 2, 3, 4, 5, 6, 7, 8]);
  return more.length ? more : [low];
}

// The x ticks that have room for their labels.
function apart(ticks, log, width) {
  const at = (log ? d3.scaleLog : d3.scaleLinear)(d3.extent(ticks), [0, width]);
  let last = -Infinity;
  return ticks.filter((value) => at(value) - last > 26 && ((last = at(value)), true));
}

function yDomain(lines, picked, references, log) {
  const values = [...lines.flatMap((line) => line.points.map((p) => p.y)), ...references.map((r) => r.y)];
  const [least, most] = d3.extent(values);
  const around = picked.flatMap((line) => line.points);
  const low = d3.min([least, ...around.map((p) => p.low)]);
  const high = d3.max([most, ...around.map((p) => p.high)]);
  if (log) return [Math.max(low, least / 2) / 1.08, Math.min(high, most * 2) * 1.08];
  const pad = 0.05 * (high - low || Math.abs(high) || 1);
  return [least >= 0 && low < 0.5 * high ? 0 : low - pad, high + pad];
}

// Draw lines into a figure.  spec: {name, lines, references, x, y, rule, dodge, onpick(line, point)}.  A line is {id, label, slot,
// points, dots}: slot null for one in grey, dots for points alone; a point is {x, y, low, high, tip}.
function drawChart(figure, spec) {
  if (!figure.firstChild) {
    const box = h("div", { class: "plot", tabindex: "0", role: "group" });
    const save = (kind) => h("button", { type: "button", onclick: () => saveChart(figure, kind) }, `Save ${kind.toUpperCase()}`);
    figure.append(box, h("div", { class: "tip", role: "status" }), h("div", { class: "tools" }, save("svg"), save("png")));
  }
  const [box, tip] = figure.children;
  const usable = (p) => p.y !== null && (!spec.y.log || p.y > 0) && p.x !== null;
  const lines = spec.lines.map((line) => ({ ...line, points: line.points.filter(usable) })).filter((l) => l.points.length);
  const references = spec.references.filter((r) => r.y !== null && (!spec.y.log || r.y > 0));
  const picked = lines.filter((line) => line.slot !== null);
  const grey = lines.filter((line) => line.slot === null);
  const shift = (line) => (spec.dodge && line.slot !== null ? 4 * (picked.indexOf(line) - (picked.length - 1) / 2) : 0);
  const width = Math.max(280, Math.floor(figure.clientWidth));
  const height = Math.round(Math.min(380, Math.max(300, 0.56 * width)));
  const right = references.length ? Math.min(130, 14 + 7 * d3.max(references, (r) => r.label.length)) : 14;
  const y = yDomain(lines, picked, references, spec.y.log);
  const all = spec.x.ticks ?? d3.extent(lines.flatMap((line) => line.points), (p) => p.x);
  const ticks = spec.x.ticks ? apart(all, spec.x.log, width - 60 - right) : spec.x.log ? logTicks(...all) : d3.ticks(...all, 8);
  const yTicks = spec.y.log ? logTicks(...y) : d3.ticks(...y, 6);
  const clip = (value) => Math.min(y[1], Math.max(y[0], value));
  const svg = Plot.plot({
    width, height, marginLeft: 52, marginRight: right, marginBottom: 40, marginTop: 26,
    style: { fontSize: "13px", fontFamily: "inherit", background: "transparent", color: "var(--ink)", overflow: "visible" },
    x: { type: spec.x.log ? "log" : "linear", domain: d3.extent(all), inset: 14 },
    y: { type: spec.y.log ? "log" : "linear", domain: y },
    marks: [
      Plot.gridY({ ticks: yTicks, stroke: "var(--rule)", strokeOpacity: 1 }),
      Plot.axisX({ ticks, text: tick, label: spec.x.label }),
      Plot.axisY({ ticks: yTicks, text: tick, label: spec.y.label }),
      spec.rule === null ? null : Plot.ruleX([spec.rule], { className: "chosen", stroke: "var(--accent)", strokeOpacity: 0.14, strokeWidth: 24 }),
      Plot.ruleY(references, { y: "y", stroke: "var(--soft)", strokeDasharray: "4 4" }),
      Plot.line(grey.filter((l) => !l.dots).flatMap((l) => l.points.map((p) => ({ ...p, id: l.id }))), { x: "x", y: "y", z: "id", stroke: "var(--grey)", strokeWidth: 1 }),
      Plot.dot(grey.flatMap((l) => l.points), { x: "x", y: "y", r: 2.5, fill: "var(--grey)" }),
      ...picked.flatMap((line) => {
        const { color, symbol, dash } = styleOf(line.slot);
        const ends = line.points.filter((p) => p.low < p.high);
        const dx = shift(line);
        return [
          Plot.ruleX(ends, { x: "x", y1: (p) => clip(p.low), y2: (p) => clip(p.high), stroke: color, strokeOpacity: 0.5, strokeWidth: 1.5, dx }),
          Plot.line(line.points, { x: "x", y: "y", stroke: color, strokeWidth: 2, strokeDasharray: dash, dx }),
          Plot.dot(line.points, { x: "x", y: "y", r: 4.5, fill: color, symbol, stroke: "var(--paper)", strokeWidth: 1, dx }),
        ];
      }),
    ],
  });
  const [xs, ys] = [svg.scale("x").apply, svg.scale("y").apply];
  labelReferences(svg, references, ys, width - right);
  svg.setAttribute("aria-hidden", "true"); // what it shows is told by the tip and the tables
  box.setAttribute("aria-label", `${spec.name}. Arrow keys move from point to point.`);
  box.replaceChildren(svg);
  figure.drawn = { svg, spec, picked, width, height };
  const spots = lines.flatMap((line) => line.points.map((p) => ({ line, p, x: xs(p.x) + shift(line), y: ys(p.y) })));
  readings(figure, spots, (spot) => mark(svg, spot, xs, ys, shift, clip), tip);
}

// Names of the dashed lines beside the plot, moved apart where they would overlap.
function labelReferences(svg, references, ys, left) {
  let above = -Infinity;
  const group = d3.select(svg).append("g").attr("fill", "var(--soft)").attr("font-size", 12).attr("text-anchor", "start");
  for (const { label, y } of [...references].sort((a, b) => ys(a.y) - ys(b.y))) {
    above = Math.max(ys(y) + 4, above + 13);
    group.append("text").attr("x", left + 6).attr("y", above).text(label.length > 18 ? `${label.slice(0, 17)}…` : label);
  }
}

// The band, the line and a ring of what is read.
function mark(svg, spot, xs, ys, shift, clip) {
  d3.select(svg).selectAll(".read").remove();
  if (!spot) return;
  const color = spot.line.slot === null ? "var(--ink)" : styleOf(spot.line.slot).color;
  const group = d3.select(svg).append("g").attr("class", "read").attr("fill", "none").attr("pointer-events", "none");
  const x = (p) => xs(p.x) + shift(spot.line);
  if (!spot.line.dots) {
    const band = d3.area().x(x).y0((p) => ys(clip(p.low ?? p.y))).y1((p) => ys(clip(p.high ?? p.y)));
    group.append("path").attr("d", band(spot.line.points)).attr("fill", color).attr("fill-opacity", 0.14);
    group.append("path").attr("d", d3.line().x(x).y((p) => ys(p.y))(spot.line.points)).attr("stroke", color).attr("stroke-width", 2.5);
  }
  group.append("circle").attr("cx", spot.x).attr("cy", spot.y).attr("r", 8).attr("stroke", color).attr("stroke-width", 2);
}

// The pointer and the arrow keys choose a point; its numbers are shown beside it.
function readings(figure, spots, show, tip) {
  const [box] = figure.children;
  const read = (spot) => {
    figure.read = spot;
    show(spot);
    tip.textContent = spot ? spot.p.tip : "";
    if (!spot) return;
    const room = box.clientWidth - tip.offsetWidth;
    tip.style.left = `${Math.max(0, Math.min(room, spot.x + (spot.x > room - 16 ? -tip.offsetWidth - 14 : 14)))}px`;
    tip.style.top = `${Math.max(0, spot.y - tip.offsetHeight - 12)}px`;
  };
  const nearest = (event) => {
    const [x, y] = d3.pointer(event, box);
    const found = d3.least(spots, (s) => Math.hypot(s.x - x, s.y - y) + (s.line.slot === null ? 6 : 0));
    return found && Math.hypot(found.x - x, found.y - y) < 60 ? found : null;
  };
  box.onpointermove = box.onpointerdown = (event) => read(nearest(event));
  box.onpointerleave = box.onblur = () => read(null);
  box.onclick = () => figure.read && figure.drawn.spec.onpick?.(figure.read.line, figure.read.p);
  box.onkeydown = (event) => {
    const at = figure.read ?? spots.find((s) => s.line.slot !== null) ?? spots[0];
    const step = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key];
    if (event.key === "Enter" && figure.read) box.onclick();
    if (event.key === "Escape") read(null);
    if (!step || !at) return;
    event.preventDefault();
    if (!figure.read) return read(at);
    const same = spots.filter((s) => (step[0] ? s.line.id === at.line.id : s.p.x === at.p.x));
    const order = same.sort((a, b) => (step[0] ? a.x - b.x : a.y - b.y));
    const next = order.findIndex((s) => s.line.id === at.line.id && s.p.x === at.p.x) + step[0] + step[1];
    read(order[next] ?? at);
  };
  figure.read = spots.find((s) => figure.read && s.line.id === figure.read.line.id && s.p.x === figure.read.p.x) ?? null;
  read(figure.read);
}

const swatches = new Map(); // by slot

// A small picture of a line's style, or of a grey line.
function swatch(slot) {
  if (!swatches.has(slot)) swatches.set(slot, newSwatch(slot));
  return swatches.get(slot).cloneNode(true);
}

function newSwatch(slot) {
  const { color, symbol, dash } = slot === null ? { color: "var(--faint)" } : styleOf(slot);
  const svg = d3.create("svg").attr("class", "swatch").attr("width", 26).attr("height", 12).attr("aria-hidden", "true");
  drawSwatch(svg, color, symbol, dash);
  return svg.node();
}

function drawSwatch(group, color, symbol, dash) {
  group.append("path").attr("d", "M1,6H25").attr("stroke", color).attr("stroke-width", 2).attr("stroke-dasharray", dash ?? null);
  if (symbol) {
    const kind = d3[`symbol${symbol[0].toUpperCase()}${symbol.slice(1)}`];
    group.append("path").attr("d", d3.symbol(kind, 55)()).attr("transform", "translate(13,6)").attr("fill", color);
  }
}

// The chart as a file, on white, with a legend of the lines in colour.
function saveChart(figure, kind) {
  const { svg, spec, picked, width, height } = figure.drawn;
  const copy = d3.select(svg.cloneNode(true)).attr("aria-hidden", null);
  copy.selectAll(".read, .chosen").remove();
  const pen = h("canvas").getContext("2d");
  pen.font = FILE_FONT;
  let [x, y] = [52, height + 14];
  for (const line of picked) {
    const long = 52 + pen.measureText(line.label).width;
    if (x + long > width && x > 52) [x, y] = [52, y + 20];
    const group = copy.append("g").attr("transform", `translate(${x},${y - 10})`);
    drawSwatch(group, ...Object.values(styleOf(line.slot)));
    group.append("text").attr("text-anchor", "start").attr("x", 32).attr("y", 10).attr("fill", "var(--ink)").text(line.label);
    x += long;
  }
  const tall = y + 14;
  copy.attr("height", tall).attr("viewBox", `0 0 ${width} ${tall}`).attr("xmlns", "http://www.w3.org/2000/svg");
  copy.style("font", FILE_FONT);
  copy.insert("rect", ":first-child").attr("width", width).attr("height", tall).attr("fill", "#fff");
  const text = new XMLSerializer().serializeToString(copy.node()).replace(/var\(--\w+\)/g, onWhite);
  const name = spec.name.toLowerCase().replace(/[^a-z0-9]+/g, "-");
  const file = new Blob([text], { type: "image/svg+xml" });
  if (kind === "svg") return download(`${name}.svg`, file);
  const image = new Image();
  image.onload = () => {
    const canvas = h("canvas", { width: 2 * width, height: 2 * tall });
    canvas.getContext("2d").drawImage(image, 0, 0, 2 * width, 2 * tall);
    canvas.toBlob((blob) => download(`${name}.png`, blob));
    URL.revokeObjectURL(image.src);
  };
  image.src = URL.createObjectURL(file);
}

// A colour of the page by its name, as it is in the light.
function onWhite(name) {
  const probe = document.body.appendChild(h("span", { style: `color-scheme: light; color: ${name}` }));
  const color = getComputedStyle(probe).color;
  probe.remove();
  return color;
}

function download(name, blob) {
  const link = h("a", { href: URL.createObjectURL(blob), download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
}
