// What a link carries: every state of the explorer has an address of its own.

const PREFIX = "#explore?";
const MODES = ["look", "draw", "hide", "walk"];

function firstState(model) {
  return {
    mode: "look",
    image: 0,
    drawn: null, // pixels [D], if they are no longer those of the image
    seen: null, // pixels [D]; null: all are seen
    mistake: false, // whether the encoder's q of half an image is shown
    fitted: false, // whether the best q is shown
    seed: 1,
    to: null, // the image at which a walk ends
    along: 0,
    z: null, // a point that was chosen in the plane
    axes: [0, Math.min(1, model.dims - 1)],
    view: { x: 0, y: 0, span: 9 },
  };
}

function addressOf(state) {
  const parts = [`mode=${state.mode}`, `image=${state.image}`];
  if (state.drawn !== null) parts.push(`drawn=${textOfBits(state.drawn)}`);
  if (state.seen !== null) parts.push(`seen=${textOfBits(state.seen)}`);
  if (state.mistake) parts.push("mistake=1");
  if (state.fitted) parts.push("fitted=1");
  if (state.to !== null) parts.push(`to=${state.to}`, `along=${state.along}`);
  if (state.z !== null) parts.push(`z=${[...state.z].map(short).join(",")}`);
  if (state.seed !== 1) parts.push(`seed=${state.seed}`);
  if (state.axes.join() !== "0,1" && state.axes.join() !== "0,0") parts.push(`axes=${state.axes}`);
  const { x, y, span } = state.view;
  parts.push(`view=${[x, y, span].map(short).join(",")}`);
  return PREFIX + parts.join("&");
}

function short(number) {
  return Number(number.toPrecision(5)).toString();
}

// The state that an address describes. What does not fit the model is left as it was at first.
function stateOf(address, model, count) {
  const state = firstState(model);
  if (!address.startsWith(PREFIX)) return state;
  const words = new URLSearchParams(address.slice(PREFIX.length));
  const whole = (name, most) => {
    const text = words.get(name);
    return text !== null && /^\d{1,9}$/.test(text) && Number(text) < most ? Number(text) : null;
  };
  const numbers = (name, length) => {
    const found = (words.get(name) ?? "none").split(",").map(Number);
    return found.length === length && found.every(Number.isFinite) ? found : null;
  };
  const bits = (name) => (words.has(name) ? bitsOfText(words.get(name), model.pixels) : null);
  const hides = words.get("mode") === "hide" && model.dims > 2;
  if (MODES.includes(words.get("mode")) && !hides) state.mode = words.get("mode");
  state.image = whole("image", count) ?? 0;
  state.drawn = bits("drawn");
  state.seen = bits("seen");
  state.mistake = words.get("mistake") === "1";
  state.fitted = words.get("fitted") === "1";
  state.to = whole("to", count);
  state.along = Math.min(1, Math.max(0, numbers("along", 1)?.[0] ?? 0));
  state.z = numbers("z", model.dims);
  state.seed = whole("seed", 1e9) ?? 1;
  const axes = numbers("axes", 2);
  if (axes !== null && axes.every((a) => Number.isInteger(a) && a >= 0 && a < model.dims)) state.axes = axes;
  const view = numbers("view", 3);
  if (view !== null && view[2] > 0) state.view = { x: view[0], y: view[1], span: view[2] };
  return state;
}
