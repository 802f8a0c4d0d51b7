// The page of `fewstep play`: settings become requests, and answers become pictures.

import { cloned, element, filled, find, lever, slider } from "./controls.js";

const client = crypto.randomUUID();
const ENDED = { error: "fewstep play has ended: start it again in the terminal" };
const SOON = 300; // milliseconds for which a newer request waits for the one under way
let offer; // what the server lets us ask for
const sides = {};
let seed = 0; // the last one that was valid
const plural = (count, one, many) => (count === 1 ? one : many);

// One of the two settings that are compared: its form, its requests and its answers.
class Side {
  constructor(name) {
    this.name = name;
    this.sent = 0; // requests so far: only the answer of the last counts
    this.levers = [];
    this.form = cloned("side");
    this.form.hidden = name === "B";
    find("#settings").append(this.form);
    this.picture = find(`#picture-${name}`);
    const select = (field) => find(`.${field} select`, this.form);
    [this.run, this.sampler, this.grid, this.add] = ["run", "sampler", "grid", "add"].map(select);
    filled(this.run, offer.runs.map((_, i) => i), offer.runs.map((run) => run.name));
    find(".run", this.form).hidden = offer.runs.length === 1;
    this.calls = slider("Calls", { low: 1, high: offer.calls, start: 16, step: 1 }, () => this.ask());
    find(".calls", this.form).append(this.calls.made);
    this.run.addEventListener("change", () => { this.opened(); this.ask(); });
    this.sampler.addEventListener("change", () => { this.chosen(); this.ask(); });
    this.grid.addEventListener("change", () => this.ask());
    find(".add button", this.form).addEventListener("click", () => { this.added(this.add.value); this.ask(); });
  }

  get known() { return offer.runs[Number(this.run.value)]; }

  get shown() { return !this.form.hidden; }

  // A run was chosen: what it does not have is left out.
  opened() {
    const { samplers, sampler, calls, levers } = this.known;
    const before = this.sampler.value;
    filled(this.sampler, samplers.map((one) => one.name));
    const kept = samplers.some((one) => one.name === before);
    this.sampler.value = kept ? before : sampler;
    if (!kept) this.calls.write(calls);
    filled(this.add, levers.map((one) => one.name));
    find(".add", this.form).hidden = !levers.length;
    for (const one of [...this.levers]) if (!levers.some(({ name }) => name === one.read()[0])) this.removed(one);
    this.chosen();
  }

  // A sampler was chosen: its own grid is the first, and a fitted table has its own calls.
  chosen() {
    const { grid, calls } = this.known.samplers.find((one) => one.name === this.sampler.value);
    const before = this.grid.value;
    filled(this.grid, calls ? [""] : ["", ...offer.grids], [`default (${grid})`, ...offer.grids]);
    if (!calls) this.grid.value = before;
    if (calls) this.calls.write(calls);
    this.calls.range.disabled = this.calls.number.disabled = Boolean(calls);
  }

  added(name, values) {
    const known = this.known.levers.find((one) => one.name === name);
    const one = lever(known, () => this.ask(), () => { this.removed(one); this.add.focus(); this.ask(); });
    if (values) one.write(values);
    this.levers.push(one);
    find(".levers", this.form).append(one.made);
  }

  removed(one) {
    this.levers.splice(this.levers.indexOf(one), 1);
    one.made.remove();
  }

  read() {
    return {
      run: Number(this.run.value), sampler: this.sampler.value, nfe: this.calls.read(), grid: this.grid.value || null,
      levers: this.levers.map((one) => one.read()),
    };
  }

  write({ run, sampler, nfe, grid, levers }) {
    this.run.value = run;
    this.opened();
    this.sampler.value = sampler;
    this.chosen();
    this.calls.write(nfe);
    this.grid.value = grid ?? "";
    for (const one of [...this.levers]) this.removed(one);
    for (const [name, values] of levers) this.added(name, values);
  }

  // Ask for what the form says; while dragging, one request at a time, unless it takes long.
  ask() {
    if (!this.shown) return;
    if (this.busy && performance.now() - this.since < SOON) {
      this.again = true;
      clearTimeout(this.later);
      this.later = setTimeout(() => { if (this.again) this.send(); }, SOON);
      return;
    }
    this.send();
  }

  async send() {
    const number = ++this.sent;
    [this.busy, this.again, this.since] = [true, false, performance.now()];
    this.picture.classList.add("busy");
    this.picture.setAttribute("aria-busy", "true");
    clearTimeout(this.waiting);
    this.waiting = setTimeout(() => this.wait(number), 1000);
    const answer = await request("draw", { client, side: this.name, ...this.read(), ...shared() });
    if (number !== this.sent) return;
    this.busy = false;
    clearTimeout(this.waiting);
    this.picture.classList.remove("busy");
    this.picture.removeAttribute("aria-busy");
    this.show(answer.superseded ? ENDED : answer); // nothing newer was asked here
    if (this.again) this.send();
  }

  // Say what takes so long.
  async wait(number) {
    const state = await request("state");
    if (number !== this.sent || !this.busy || !this.shown) return;
    const text = state.compiling ? "compiling, once for this model and these levers ..." : "drawing ...";
    find(`#facts-${this.name}`).replaceChildren(element("span", `${find("#compare").checked ? `${this.name}: ` : ""}${text}`));
    say(text);
    this.waiting = setTimeout(() => this.wait(number), 1000);
  }

  show(answer) {
    if (!this.shown) return;
    const { known, name } = this;
    this.picture.classList.toggle("wrong", Boolean(answer.error));
    const facts = find(`#facts-${name}`);
    const prefix = find("#compare").checked ? `${name}: ` : "";
    if (answer.error) {
      facts.replaceChildren(element("span", `${prefix}${answer.error}`, { className: "error" }));
      say(`${prefix}${answer.error}`);
      return;
    }
    const small = known.pixels && known.pixels < 64 ? "small" : "";
    const passes = Number(answer.passes.toFixed(2));
    const [callsUnit, passesUnit] = [plural(answer.nfe, "call", "calls"), plural(passes, "pass", "passes")];
    const image = find("img", this.picture);
    Object.assign(image, { src: answer.image, className: small });
    image.alt = `${prefix}${shared().count} images by ${this.sampler.value} in ${answer.nfe} ${callsUnit}`;
    const fact = (value, unit) => { const made = element("span"); made.append(element("b", value), ` ${unit}`); return made; };
    const ms = answer.ms < 10 ? answer.ms.toFixed(1) : answer.ms.toFixed(0);
    facts.replaceChildren(
      ...(prefix ? [element("span", name)] : []), fact(ms, "ms"), fact(answer.nfe, callsUnit), fact(passes, `${passesUnit} per image`),
      ...answer.notes.map((note) => element("span", note, { className: "soft" })),
    );
    say(`${prefix}${answer.nfe} ${callsUnit}, ${passes} ${passesUnit}, ${ms} milliseconds`);
    this.strip(answer, small, prefix);
    const code = element("pre");
    code.append(...answer.command.split(/ (?=--)/).flatMap((option) => [element("span", option), " "]));
    const copy = element("button", "Copy", { type: "button" });
    copy.addEventListener("click", async () => {
      await navigator.clipboard.writeText(answer.command);
      copy.textContent = "Copied";
      say("copied");
    });
    find(`#command-${name}`).replaceChildren(...this.title(prefix), code, copy);
  }

  title(prefix) { return prefix ? [element("b", this.name)] : []; }

  strip({ strip, calls }, small, prefix) {
    const place = find(`#strip-${this.name}`);
    place.style.setProperty("--share", calls.length / 8);
    if (!strip) {
      place.replaceChildren(element("p", `${prefix}this sampler predicts no images on the way`, { className: "soft" }));
      return;
    }
    const numbers = element("ol");
    numbers.setAttribute("aria-hidden", "true");
    numbers.append(...calls.map((call) => element("li", call)));
    const image = element("img", "", { src: strip, className: small, alt: `${prefix}predictions at calls ${calls.join(", ")}` });
    place.replaceChildren(...this.title(prefix), numbers, image);
  }
}

function shared() {
  const label = find("#label").value;
  return { count: sides.count.read(), seed, label: label === "" ? null : Number(label) };
}

async function request(path, value) {
  const how = value && { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(value) };
  try {
    return await (await fetch(path, how)).json();
  } catch {
    return ENDED;
  }
}

let speaking;
function say(text) {
  clearTimeout(speaking); // a screen reader hears the last of a series
  speaking = setTimeout(() => { find("#said").textContent = text; }, 600);
}

function both() { for (const side of [sides.A, sides.B]) side.ask(); }

function compared() {
  const on = find("#compare").checked;
  const { A, B } = sides;
  if (on && !B.run.options.length) return;
  if (on) B.write({ ...A.read(), run: offer.runs.length - 1 });
  B.form.hidden = find("#views").hidden = !on;
  find("legend", A.form).textContent = on ? "A" : "Sampling";
  if (!on) for (const part of ["facts", "strip", "command"]) find(`#${part}-B`).replaceChildren();
  find("#stage").dataset.view = on ? find("[name=view]:checked").value : "one";
  both();
}

async function begin() {
  offer = await request("offer");
  if (offer.error) {
    find("#facts-A").replaceChildren(element("span", offer.error, { className: "error" }));
    return;
  }
  find("#runs").textContent = offer.runs.map((run) => `${run.name}, step ${run.step}`).join(" and ");
  document.title = `${offer.runs.map((run) => run.name).join(", ")}: fewstep play`;
  sides.count = slider("How many", { low: 1, high: offer.count, start: 16, step: 1 }, both);
  find("#count").append(sides.count.made);
  const { classes } = offer.runs[0];
  filled(find("#label"), ["", ...classes.keys()], ["all in turn", ...classes]);
  find("#classes").hidden = !classes.length;
  for (const name of ["A", "B"]) {
    sides[name] = new Side(name);
    find("legend", sides[name].form).textContent = name;
    sides[name].opened();
  }
  const box = find("#seed");
  box.addEventListener("input", () => { if (box.validity.valid && box.value !== "") { seed = box.valueAsNumber; both(); } });
  box.addEventListener("change", () => { box.value = seed; });
  find("#label").addEventListener("change", both);
  find("#compare").addEventListener("change", compared);
  find("#compare").checked = offer.runs.length > 1;
  for (const radio of document.querySelectorAll("[name=view]")) {
    radio.addEventListener("change", () => { find("#stage").dataset.view = radio.value; });
  }
  find("#wipe").addEventListener("input", () => find("#stage").style.setProperty("--at", `${find("#wipe").value}%`));
  find("#settings").addEventListener("submit", (event) => event.preventDefault());
  compared();
}

begin();
