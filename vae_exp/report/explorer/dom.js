// Elements of the page, by name, attributes and children; text is always set as text.

function element(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else if (value === true) made.setAttribute(name, "");
    else if (value !== false && value !== null) made.setAttribute(name, value);
  }
  made.append(...children);
  return made;
}

function button(words, onclick, attributes = {}) {
  return element("button", { type: "button", onclick, ...attributes }, words);
}

// A labelled choice: options are [value, words].
function choice(words, options, onchange) {
  const select = element("select", { onchange: () => onchange(select.value) });
  select.append(...options.map(([value, name]) => element("option", { value }, name)));
  return { label: element("label", { class: "ex-choice" }, `${words} `, select), select };
}

function checkbox(words, onchange, attributes = {}) {
  const box = element("input", { type: "checkbox", ...attributes, onchange: () => onchange(box.checked) });
  return { label: element("label", { class: "ex-check" }, box, ` ${words}`), box };
}

function slider(words, { min = 0, max = 1, step = 0.01 }, oninput) {
  const range = element("input", { type: "range", min, max, step, oninput: () => oninput(Number(range.value)) });
  const value = element("output", {});
  return { label: element("label", { class: "ex-slider" }, `${words} `, range, value), range, value };
}

// One of several, chosen as a group of radio buttons: options are [value, words].
function tabs(name, legend, options, onchange) {
  const inputs = new Map();
  const labels = options.map(([value, words]) => {
    const input = element("input", { type: "radio", name, value, onchange: () => onchange(value) });
    inputs.set(value, input);
    return element("label", { class: "ex-tab" }, input, element("span", {}, words));
  });
  const group = element("fieldset", { class: "ex-tabs" }, element("legend", {}, legend), ...labels);
  return { group, show: (value) => (inputs.get(value).checked = true) };
}
