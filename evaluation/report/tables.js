"use strict";
// The tables of the page, the Pareto front and the sweeps.

const sorted = new Map(); // by table, the column and the direction that were chosen

// A table with headers that sort it, and a button that copies it.  A column is {head, of, text, num, best}: `of` a row is
// what is sorted and copied, `text` what is shown.
function drawTable(place, title, columns, rows, { foot = [], sort = 0, note = "", level = "h2" } = {}) {
  const [by, down] = sorted.get(place.id) ?? [sort, false];
  const column = columns[by] ?? columns[0];
  const ordered = d3.sort(rows, (a, b) => (down ? d3.descending : d3.ascending)(column.of(a) ?? undefined, column.of(b) ?? undefined));
  const choose = (i) => {
    sorted.set(place.id, [i, i === by && !down]);
    drawTable(place, title, columns, rows, { foot, sort, note, level });
    place.querySelectorAll("thead button")[i].focus();
  };
  const direction = (i) => (i === by ? (down ? "descending" : "ascending") : null);
  const cell = (c, row, i) => h(i ? "td" : "th", { scope: i ? null : "row", class: [c.num && "num", c.wide && "wide", c.best?.(row) && "best"].filter(Boolean).join(" ") }, c.text ? c.text(row) : c.num ? number(c.of(row)) : String(c.of(row) ?? "–"));
  const heads = columns.map((c, i) => h("th", { scope: "col", class: c.num ? "num" : "", "aria-sort": direction(i) }, h("button", { type: "button", onclick: () => choose(i) }, c.head)));
  const csv = () => [columns.map((c) => c.head), ...ordered.map((row) => columns.map((c) => c.of(row)))].map((line) => line.map(quoted).join(",")).join("\n");
  place.replaceChildren(
    h("div", { class: "head" }, h(level, { id: `${place.id}-title` }, title), copyButton(csv, "Copy as CSV")),
    note ? h("p", { class: "note" }, note) : "",
    h("div", { class: "scroll", tabindex: "0", role: "region", "aria-labelledby": `${place.id}-title` },
      h("table", {}, h("thead", {}, h("tr", {}, heads)), h("tbody", {}, ordered.map((row) => h("tr", {}, columns.map((c, i) => cell(c, row, i))))),
        foot.length ? h("tfoot", {}, foot.map(([name, value]) => h("tr", {}, h("th", { scope: "row" }, name), h("td", { class: "num", colspan: columns.length - 1 }, `${number(value[0])} (${interval(value)})`)))) : "")));
}

const quoted = (value) => (/[",\n]/.test(value) ? `"${String(value).replaceAll('"', '""')}"` : value ?? "");

const named = (row) => h("span", { class: "named", "data-row": row }, swatch(slotOf(row)), h("span", {}, labelOf(row)));

function shown([value, ...ends]) {
  return [number(value), ends[0] < ends[1] ? h("small", {}, interval([value, ...ends])) : ""];
}

// Every sampler at the chosen budget, with its difference from the best in words.
function drawTableAt() {
  const found = answers().at[state.budget];
  const cells = group().rows.map((_, row) => cellAt(row, state.budget)).filter((cell) => cell && state.metric in cell.values);
  const gap = (cell) => cell.gaps[state.metric];
  const sign = better().better === "higher" ? -1 : 1;
  const worse = (cell) => (cell.row === found?.best ? 0 : gap(cell) ? sign * gap(cell).numbers[0] : null);
  const ends = (at) => (cell) => (gap(cell) ? number(gap(cell).numbers[at]) : "");
  const columns = [
    { head: "sampler", of: (cell) => group().rows[cell.row].label, text: (cell) => named(cell.row) },
    { head: state.metric, num: true, of: (cell) => valueOf(cell)[0], text: (cell) => shown(valueOf(cell)), best: (cell) => cell.row === found?.best || gap(cell)?.tie },
    ...(data.exact ? [] : [
      { head: "difference from the best, same seeds", wide: true, of: worse, text: (cell) => (cell.row === found?.best ? "the best" : gap(cell)?.said ?? "–") },
      { head: "interval if seeds were independent", of: (cell) => gap(cell)?.numbers[3] ?? null, text: (cell) => (gap(cell) ? `${ends(3)(cell)} to ${ends(4)(cell)}` : "") },
    ]),
    { head: "grid", of: (cell) => cell.grid },
    { head: "calls", num: true, of: (cell) => cell.nfe, text: (cell) => String(cell.nfe) },
    { head: "passes", num: true, of: (cell) => cell.passes, text: (cell) => tick(cell.passes) },
    ...(data.exact ? [] : [{ head: "ms per image", num: true, of: (cell) => cell.ms[0], text: (cell) => shown(cell.ms) }]),
  ];
  const note = data.exact ? "" : "Bold: the best, and what may be as good: the 95 % interval of its paired difference contains 0. Below each value is its interval; below a time, the fastest and the slowest batch.";
  drawTable($("at"), `Every sampler at ${calls(state.budget)}`, columns, cells, { sort: better().better ? (data.exact ? 1 : 2) : 0, note });
}

// The chosen metric on several features, at the chosen budget.
function drawFeatures() {
  const found = data.features.find(({ metrics }) => metrics.includes(state.metric));
  $("features").hidden = !found;
  if (!found) return;
  const cells = group().rows.map((_, row) => cellAt(row, state.budget)).filter(Boolean);
  const sampler = { head: "sampler", of: (cell) => group().rows[cell.row].label, text: (cell) => named(cell.row) };
  const columns = found.metrics.map((metric, i) => ({
    head: found.on[i], num: true, of: (cell) => cell.values[metric]?.[0] ?? null, text: (cell) => [...shown(cell.values[metric] ?? [null, null, null]), dagger(cell.row, metric)],
    best: (cell) => group().answers[metric].at[state.budget]?.best === cell.row || cell.gaps[metric]?.tie,
  }));
  drawTable($("features"), `${found.name} on several features at ${calls(state.budget)}`, [sampler, ...columns], cells, { note: `${better().note[0].toUpperCase()}${better().note.slice(1)}.` });
}

// All budgets, and whether more calls help.
function drawTables() {
  const rows = [...group().rows.keys()];
  const references = Object.entries(group().references[state.metric]);
  const isBest = (row, budget) => answers().at[budget]?.best === row || cellAt(row, budget)?.gaps[state.metric]?.tie;
  const sampler = { head: "sampler", of: (row) => group().rows[row].label, text: named };
  const columns = data.budgets.map((budget) => ({
    head: String(budget), num: true, of: (row) => valueOf(cellAt(row, budget))[0],
    text: (row) => shown(valueOf(cellAt(row, budget))), best: (row) => isBest(row, budget),
  }));
  drawTable($("all"), `${state.metric} at all numbers of calls`, [sampler, ...columns], rows, { foot: references, note: `${better().note[0].toUpperCase()}${better().note.slice(1)}.` });
  const told = rows.filter((row) => group().rows[row].progress[state.metric]);
  const progress = { head: "from each number of calls to the next, on the same seeds", wide: true, of: (row) => group().rows[row].progress[state.metric] };
  if (told.length) drawTable($("progress"), "Do more calls help?", [sampler, progress], told);
  else $("progress").replaceChildren();
}

// The cells that no other cell beats in cost and quality.
function paretoFront(cells, cost) {
  const sign = better().better === "higher" ? -1 : 1;
  const order = d3.sort(cells, cost, (cell) => sign * valueOf(cell)[0]);
  let least = Infinity;
  return order.filter((cell) => sign * valueOf(cell)[0] < least && ((least = sign * valueOf(cell)[0]), true));
}

function drawPareto() {
  const [label, cost] = AXES[state.cost];
  const cells = group().cells.filter((cell) => valueOf(cell)[0] !== null && cost(cell) !== null && !dagger(cell.row));
  $("pareto").hidden = !better().better || !cells.length;
  if ($("pareto").hidden) return;
  if (!$("pareto-controls").firstChild) {
    const costs = data.exact ? { passes: "passes" } : { ms: "milliseconds", passes: "passes" };
    $("pareto-controls").replaceChildren(segments("Cost", "cost", costs, drawPareto));
  }
  const front = paretoFront(cells, cost);
  const point = (cell) => ({ x: cost(cell), y: valueOf(cell)[0], low: valueOf(cell)[1], high: valueOf(cell)[2], tip: tipOf(cell) });
  // First, because the chart takes the width that the table leaves.
  drawTable($("pareto-table"), "On the front", [
    { head: state.cost === "ms" ? "ms per image" : "passes", num: true, of: cost, text: (cell) => (state.cost === "ms" ? number : tick)(cost(cell)) },
    { head: "sampler", of: (cell) => group().rows[cell.row].label, text: (cell) => named(cell.row) },
    { head: "calls", num: true, of: (cell) => cell.nfe, text: (cell) => String(cell.nfe) },
    { head: state.metric, num: true, of: (cell) => valueOf(cell)[0], text: (cell) => shown(valueOf(cell)) },
  ], front, { level: "h3" });
  drawChart($("pareto-curve"), {
    name: `${group().title}: ${state.metric} by ${label}, Pareto front`,
    lines: [
      { id: "all", label: "all cells", slot: null, dots: true, points: cells.map(point) },
      { id: "front", label: "Pareto front", slot: 0, points: front.map(point) },
    ],
    references: [],
    x: { label, log: true, ticks: null },
    y: { label: `↑ ${state.metric} (${better().note})`, log: state.y === "log" && logAllowed() },
    rule: null,
    dodge: false,
  });
}

// A chart for every swept number: a line for each budget and each combination of the other settings.
function drawSweeps() {
  const sweeps = group().sweeps[state.metric];
  $("sweeps").replaceChildren(...(sweeps.length ? [h("h2", {}, "Swept numbers")] : []));
  const sign = better().better === "higher" ? -1 : 1;
  for (const { about, lines } of sweeps) {
    const figure = h("figure");
    const chips = h("div");
    const least = (i) => d3.min(lines[i].values, ([value]) => (value === null ? Infinity : sign * value));
    const best = d3.rollups(lines.keys(), (of) => d3.least(of, least), (i) => lines[i].label.split(", ").at(-1)); // at each budget
    const picked = new Map(best.slice(-SHOWN).map(([, i], slot) => [i, slot]));
    $("sweeps").append(h("h3", {}, about), figure, chips);
    const draw = (key) => {
      drawChart(figure, {
        name: `${group().title}: ${state.metric} by ${about}`,
        lines: lines.map(({ label, x, values }, i) => ({
          id: i, label, slot: picked.get(i) ?? null,
          points: x.map((at, k) => ({ x: at, y: values[k][0], low: values[k][1], high: values[k][2], tip: `${label}\n${about} ${at}: ${state.metric} ${number(values[k][0])}\n${interval(values[k])}` })),
        })),
        references: [],
        x: { label: about, log: false, ticks: null },
        y: { label: `↑ ${state.metric} (${better().note})`, log: state.y === "log" && logAllowed() },
        rule: null,
        dodge: false,
      });
      chips.replaceChildren(legend(lines.map(({ label }, i) => ({ key: i, label })), picked, draw));
      if (key !== undefined) chips.querySelector(`[data-key="${key}"]`).focus();
    };
    draw();
  }
}
