"use strict";
// The page of a comparison: one state, and what is drawn of it.  Numbers and sentences come from `data`.

const data = JSON.parse(document.getElementById("data").textContent);
const $ = (id) => document.getElementById(id);
const SHOWN = 6; // lines in colour at first
const state = { group: 0, metric: data.metrics[0].name, x: "calls", y: "log", grey: "on", view: "samplers", cost: data.exact ? "passes" : "ms" };
const AXES = {
  calls: ["network calls per image", (cell) => cell.nfe],
  passes: ["network passes per image", (cell) => cell.passes],
  ms: ["milliseconds per image", (cell) => cell.ms[0]],
};

const group = () => data.groups[state.group];
const answers = () => group().answers[state.metric];
const valueOf = (cell) => cell?.values[state.metric] ?? [null, null, null];
const cellAt = (row, budget) => group().index.get(`${row} ${budget}`);
const calls = (n) => `${n} call${n === 1 ? "" : "s"}`;
const interval = ([value, low, high]) => (low < high ? `${number(low)} to ${number(high)}` : "");
const slotOf = (row) => state.picked.get(row) ?? null;
const dagger = (row, metric = state.metric) => (group().rows[row].trained.includes(metric) ? " †" : ""); // no evidence
const labelOf = (row) => group().rows[row].label + dagger(row);
const better = () => data.metrics.find((metric) => metric.name === state.metric);

// The lines in colour at first: the best at each budget, then those next to the best at the budget of the answer.
function pickLines() {
  const { at, budget } = answers();
  const sign = better().better === "higher" ? -1 : 1;
  const order = d3.sort(group().rows.keys(), (row) => sign * (valueOf(cellAt(row, budget))[0] ?? Infinity));
  const rows = new Set([at[budget]?.best, ...Object.values(at).map((verdict) => verdict.best), ...order]);
  rows.delete(undefined);
  state.picked = new Map([...rows].slice(0, SHOWN).sort((a, b) => a - b).map((row, slot) => [row, slot]));
}

function togglePick(picked, key) {
  if (picked.delete(key)) return;
  const taken = new Set(picked.values());
  picked.set(key, d3.range(taken.size + 1).find((slot) => !taken.has(slot)));
}

function tipOf(cell) {
  const [value, ...ends] = valueOf(cell);
  const time = cell.ms[0] === null ? "" : `, ${number(cell.ms[0])} ms per image`;
  return `${labelOf(cell.row)}\n${state.metric} ${number(value)}${ends[0] < ends[1] ? ` (95 %: ${interval([value, ...ends])})` : ""}\n${calls(cell.nfe)}, ${tick(cell.passes)} passes${time}`;
}

function pointsOf(row, x) {
  return data.budgets.map((budget) => cellAt(row, budget)).filter(Boolean).map((cell) => {
    const [y, low, high] = valueOf(cell);
    return { x: x(cell), y, low, high, cell, tip: tipOf(cell) };
  });
}

const logAllowed = () => group().cells.every((cell) => valueOf(cell)[0] === null || valueOf(cell)[0] > 0);

function drawCurve() {
  const [label, x] = AXES[state.x];
  const log = state.y === "log" && logAllowed();
  const references = Object.entries(group().references[state.metric]).map(([label, [y]]) => ({ label, y }));
  const rows = [...group().rows.keys()].filter((row) => slotOf(row) !== null || state.grey === "on");
  drawChart($("curve"), {
    name: `${group().title}: ${state.metric} by ${label}`,
    lines: rows.map((row) => ({ id: row, label: labelOf(row), slot: slotOf(row), points: pointsOf(row, x) })),
    references,
    x: { label, log: true, ticks: state.x === "calls" ? data.budgets : null },
    y: { label: `↑ ${state.metric} (${better().note})`, log },
    rule: state.x === "calls" ? state.budget : null,
    dodge: state.x === "calls",
    onpick: (line, point) => {
      if (line.slot === null) togglePick(state.picked, line.id);
      state.budget = point.cell.budget;
      show("picked");
    },
  });
}

// A legend of buttons that put lines into colour.
function legend(lines, picked, change) {
  return h("div", { class: "chips", role: "group", "aria-label": "Lines in colour" }, lines.map(({ key, label }) => {
    const pressed = picked.has(key);
    const toggle = () => (togglePick(picked, key), change(key));
    return h("button", { type: "button", "aria-pressed": String(pressed), "data-key": key, onclick: toggle }, swatch(pressed ? picked.get(key) : null), label);
  }));
}

function drawLegend() {
  const focused = document.activeElement?.dataset?.key;
  const find = $("legend").querySelector("input")?.value ?? "";
  const lines = group().rows.map((_, key) => ({ key, label: labelOf(key) }));
  const scrolled = $("legend").firstChild?.scrollTop ?? 0;
  const chips = legend(lines, state.picked, () => show("picked"));
  const filter = (text) => [...chips.children].forEach((chip) => (chip.hidden = !chip.textContent.includes(text)));
  const reset = () => (pickLines(), show("picked"));
  filter(find);
  $("legend").replaceChildren(chips, h("div", { class: "legend-tools" },
    lines.length > 12 && h("input", { type: "search", value: find, placeholder: "Find a line", "aria-label": "Find a line", oninput: (event) => filter(event.target.value) }),
    segments("Other lines", "grey", { on: "in grey", off: "hidden" }, () => show("curve")),
    h("button", { type: "button", class: "mini", onclick: reset }, "Lines as at first"),
  ));
  chips.scrollTop = scrolled;
  if (focused !== undefined) chips.querySelector(`[data-key="${focused}"]`)?.focus();
}

// Radio buttons for a part of the state, {value: label}.
function segments(title, name, labels, change, off = () => false) {
  return h("fieldset", {}, h("legend", {}, title), h("div", { class: "segments" }, Object.entries(labels).map(([value, label]) =>
    h("label", {}, h("input", { type: "radio", name, value, checked: state[name] === value, disabled: off(value), onchange: () => ((state[name] = value), change()) }), h("span", {}, label)))));
}

function choice(title, name, labels, change) {
  const choose = (event) => ((state[name] = event.target.value), change());
  return h("label", {}, h("span", {}, title), h("select", { name, onchange: choose }, labels.map((label, i) =>
    h("option", { value: name === "metric" ? label : i, selected: String(state[name]) === String(name === "metric" ? label : i) }, label))));
}

function drawControls() {
  const axes = data.exact ? { calls: "calls", passes: "passes" } : { calls: "calls", passes: "passes", ms: "milliseconds" };
  const log = logAllowed();
  $("controls").replaceChildren(...[
    data.groups.length > 1 && choice("Data of", "group", data.groups.map((one) => one.title), () => show("group")),
    choice("Metric", "metric", data.metrics.map((metric) => metric.name), () => show("metric")),
    segments("Across", "x", axes, () => show("curve")),
    segments("Upward", "y", { log: "logarithmic", linear: "linear" }, () => show("axes"), (value) => value === "log" && !log),
  ].filter(Boolean));
}

function drawLeaders() {
  const { at } = answers();
  const choose = (budget) => ((state.budget = budget), show("budget"), $("leaders").querySelector("[aria-current] button").focus());
  const rows = data.budgets.filter((budget) => at[budget]).map((budget) => {
    const { best, sure } = at[budget];
    const current = budget === state.budget;
    return h("tr", { "aria-current": current && "true", onclick: () => choose(budget) },
      h("td", { class: "num" }, h("button", { type: "button", "aria-pressed": String(current), "aria-label": calls(budget) }, budget)),
      h("td", {}, named(best)),
      h("td", { class: "num" }, number(valueOf(cellAt(best, budget))[0])),
      h("td", {}, sure));
  });
  const heads = [["calls", "num"], ["best", ""], [state.metric, "num"], ["how sure", ""]];
  $("leaders").replaceChildren(rows.length
    ? h("table", {}, h("thead", {}, h("tr", {}, heads.map(([head, kind]) => h("th", { scope: "col", class: kind }, head)))), h("tbody", {}, rows))
    : h("p", { class: "note" }, `${state.metric}: neither direction is better, so no sampler is the best.`));
}

function drawVerdict() {
  const found = answers().at[state.budget];
  if (!found) return $("verdict").replaceChildren(h("p", {}, `No verdict at ${calls(state.budget)}.`));
  const row = group().rows[found.best];
  const value = valueOf(cellAt(found.best, state.budget));
  const command = row.command?.replace(" --nfe N", ` --nfe ${state.budget}`);
  $("verdict").replaceChildren(...[
    h("p", {}, `At ${calls(state.budget)}: `, h("strong", {}, row.label), `, ${state.metric} ${number(value[0])}`, value[1] < value[2] ? ` (95 % interval ${interval(value)})` : ""),
    h("p", {}, found.reason),
    command && h("div", { class: "command" }, h("code", {}, command), copyButton(() => command)),
  ].filter(Boolean));
}

function copyButton(text, label = "Copy") {
  const copy = async (event) => {
    const button = event.target;
    try {
      await navigator.clipboard.writeText(text());
    } catch { // without permission, as in a frame
      const area = document.body.appendChild(h("textarea", {}, text()));
      area.select();
      document.execCommand("copy");
      area.remove();
    }
    button.textContent = "Copied";
    $("said").textContent = "Copied";
    setTimeout(() => (button.textContent = label), 1500);
  };
  return h("button", { type: "button", class: "mini", onclick: copy }, label);
}

// The address of a cell's strip, which is decoded once: many tiles show it.
function stripOf(cell) {
  if (cell.strip.startsWith("data:")) {
    const [head, body] = cell.strip.split(",");
    const bytes = Uint8Array.from(atob(body), (character) => character.charCodeAt(0));
    cell.strip = URL.createObjectURL(new Blob([bytes], { type: head.slice(5, head.indexOf(";")) }));
  }
  return cell.strip;
}

function drawGallery() {
  if (!$("gallery")) return;
  const { seeds, size, classes, rows } = group();
  const one = state.view === "calls";
  state.one = state.picked.has(state.one) ? state.one : answers().at[state.budget]?.best ?? [...state.picked.keys()][0] ?? 0;
  if (!$("gallery-controls").firstChild) drawGalleryControls();
  const slider = $("calls");
  slider.value = data.budgets.indexOf(state.budget);
  slider.setAttribute("aria-valuetext", calls(state.budget));
  $("calls-said").value = calls(state.budget);
  const shown = one ? data.budgets.map((budget) => [state.one, budget]) : [...state.picked.keys()].sort((a, b) => a - b).map((row) => [row, state.budget]);
  const strips = shown.map(([row, budget]) => {
    const cell = cellAt(row, budget);
    const [value] = valueOf(cell);
    const name = one ? calls(budget) : rows[row].label;
    const title = h("div", {}, h("span", { class: "named" }, swatch(slotOf(row)), h("span", {}, name)), h("small", {}, cell ? `${state.metric} ${number(value)}` : `nothing at ${calls(budget)}`));
    if (!cell?.strip) return h("div", { class: "strip" }, title);
    const tiles = d3.range(seeds).map((i) => h("div", { class: "tile", style: `background-image: url(${stripOf(cell)}); background-position-x: ${seeds > 1 ? (100 * i) / (cell.seeds - 1) : 0}%` }));
    return h("div", { class: "strip" }, title, h("div", { class: "tiles", role: "img", "aria-label": `${seeds} samples of ${rows[row].label} at ${calls(budget)}` }, tiles));
  });
  if (classes.length) strips.unshift(h("div", { class: "strip" }, h("div"), h("div", { class: "tiles" }, classes.map((name) => h("div", { class: "classes" }, name)))));
  const kind = size === null ? "points" : Math.max(...size) > 96 ? "smooth" : "";
  $("strips").className = kind;
  $("strips").style = `--seeds: ${seeds}; --aspect: ${size ? size[1] / size[0] : 1}`;
  $("strips").replaceChildren(...strips);
}

function drawGalleryControls() {
  const slide = (event) => ((state.budget = data.budgets[event.target.value]), show("budget"));
  const views = { samplers: "samplers side by side", calls: "one sampler at all calls" };
  const last = data.budgets.length - 1;
  $("gallery-controls").replaceChildren(
    h("label", {}, h("span", {}, "Network calls"), h("input", { type: "range", id: "calls", min: 0, max: last, step: 1, oninput: slide }), h("output", { id: "calls-said" })),
    segments("Show", "view", views, () => { drawGalleryControls(); drawGallery(); }),
    state.view === "calls" ? h("label", {}, h("span", {}, "Sampler"), h("select", { onchange: (event) => ((state.one = +event.target.value), drawGallery()) },
      [...state.picked.keys()].map((row) => h("option", { value: row, selected: row === state.one }, group().rows[row].label)))) : "",
  );
}

// The styles of lines in the tables.
function drawSwatches() {
  for (const name of document.querySelectorAll("table [data-row]")) name.firstChild.replaceWith(swatch(slotOf(+name.dataset.row)));
}

const timers = new Map();

// Draw what is further down in a task of its own, so that what is seen answers at once.
function soon(draw) {
  clearTimeout(timers.get(draw));
  timers.set(draw, setTimeout(draw));
}

// Draw what depends on a change: of the group, the metric, the lines in colour, the budget, the axes or the size.
function show(change) {
  const all = change === "group" || change === "metric";
  if (all) {
    pickLines();
    if (change === "group" || !answers().at[state.budget]) state.budget = answers().budget;
    $("sentence").textContent = answers().sentence;
    $("detail").textContent = answers().detail;
    drawControls();
  }
  if (all || change === "picked") {
    drawLegend();
    soon(drawSwatches);
    $("gallery-controls")?.replaceChildren();
  }
  if (all || change === "picked" || change === "budget") {
    drawLeaders();
    drawVerdict();
    drawGallery();
    soon(drawTableAt);
    soon(drawFeatures);
  }
  drawCurve();
  if (all) soon(drawTables);
  if (all || change === "axes" || change === "size") {
    soon(drawPareto);
    soon(drawSweeps);
  }
}

for (const one of data.groups) one.index = new Map(one.cells.map((cell) => [`${cell.row} ${cell.budget}`, cell]));
$("theme").onclick = () => {
  const dark = getComputedStyle(document.documentElement).colorScheme === "dark" || (!document.documentElement.dataset.theme && matchMedia("(prefers-color-scheme: dark)").matches);
  document.documentElement.dataset.theme = dark ? "light" : "dark";
  $("theme").textContent = dark ? "Dark" : "Light";
};
if (matchMedia("(prefers-color-scheme: dark)").matches) $("theme").textContent = "Light";
for (const form of document.forms) form.onsubmit = () => false;
$("made").querySelector(".command").append(copyButton(() => $("made").querySelector("code").textContent));
show("group");
let wide = innerWidth;
addEventListener("resize", () => {
  if (innerWidth !== wide) show("size");
  wide = innerWidth;
});
