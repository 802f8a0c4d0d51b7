// The controls of the page: sliders with their numbers, and levers.

export const find = (selector, within = document) => within.querySelector(selector);
export const cloned = (id) => find(`#${id}`).content.firstElementChild.cloneNode(true);

export function element(tag, text = "", properties = {}) {
  const made = Object.assign(document.createElement(tag), properties);
  made.textContent = text;
  return made;
}

export function filled(select, values, texts = values) {
  select.replaceChildren(...values.map((value, i) => new Option(texts[i], value)));
  return select;
}

// A slider with its number.  `read` gives the number, null for infinity, which is at the end of a slider with `open`.
export function slider(name, { low, high, start, step, open }, changed) {
  const made = cloned("slider");
  const [label, number, range] = made.children;
  label.textContent = name;
  range.id = label.htmlFor = `slider-${crypto.randomUUID()}`;
  number.setAttribute("aria-label", `${name}, as a number`);
  Object.assign(number, { min: open ? 0 : low, max: open ? "" : high, step: "any", placeholder: open ? "∞" : "" });
  Object.assign(range, { min: low, max: high, step });
  const rounded = (value) => (step === 1 ? Math.round(value) : value);
  const atEnd = () => open && Number(range.value) >= high;
  const read = () => (number.value === "" || !Number.isFinite(number.valueAsNumber) ? null : number.valueAsNumber);
  const write = (value) => {
    range.value = value ?? high;
    number.value = value ?? "";
    range.setAttribute("aria-valuetext", value ?? "infinity");
  };
  range.addEventListener("input", () => { write(atEnd() ? null : Number(range.value)); changed(); });
  number.addEventListener("change", () => {
    const value = read();
    write(value === null ? (open ? null : start) : Math.max(low, open ? value : Math.min(high, rounded(value))));
    changed();
  });
  write(start);
  return { made, read, write, range, number };
}

// A lever with its settings.
export function lever({ name, text, parameters }, changed, removed) {
  const made = cloned("lever");
  find("legend", made).textContent = name;
  find("p", made).textContent = text;
  const button = find("button", made);
  button.setAttribute("aria-label", `Remove ${name}`);
  button.addEventListener("click", removed);
  const settings = Object.entries(parameters).map(([key, one]) => {
    if (one.flag) {
      const label = element("label", "", { className: "tick" });
      const box = element("input", "", { type: "checkbox", checked: one.start });
      box.addEventListener("change", changed);
      label.append(box, key);
      button.before(label);
      return [key, () => box.checked, (value) => { box.checked = value; }];
    }
    const control = slider(key, one, changed);
    button.before(control.made);
    return [key, control.read, control.write];
  });
  const read = () => [name, Object.fromEntries(settings.map(([key, get]) => [key, get()]).filter(([, v]) => v !== null))];
  const write = (values) => settings.forEach(([key, , set]) => set(values[key] ?? null));
  return { made, read, write };
}
