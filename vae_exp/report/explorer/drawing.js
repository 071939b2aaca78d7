// The pixel editor: a pen and an eraser, or a brush that hides, by mouse, finger or keyboard.

const CELL = 10; // canvas pixels a side of an image's pixel
const BRUSH = { draw: 0.95, hide: 1.6 }; // radius in the image's pixels

class Editor {
  // `changed(pixels, resting)` hears of each change of the bits that the brush paints.
  constructor(model, changed) {
    this.model = model;
    this.changed = changed;
    this.bits = new Uint8Array(model.pixels);
    this.erasing = false;
    this.purpose = "draw";
    this.cursor = null; // [row, column] of the keyboard
    this.last = null; // where the pen was
    this.canvas = element("canvas", {
      class: "ex-editor", tabindex: "0", role: "application",
      "aria-label": "The image's pixels. Arrow keys move, space changes a pixel.",
    });
    this.canvas.width = CELL * model.width;
    this.canvas.height = CELL * model.height;
    this.canvas.addEventListener("pointerdown", (event) => this.press(event));
    this.canvas.addEventListener("pointermove", (event) => this.move(event));
    for (const end of ["pointerup", "pointercancel"]) this.canvas.addEventListener(end, () => this.lift());
    this.canvas.addEventListener("contextmenu", (event) => event.preventDefault());
    this.canvas.addEventListener("keydown", (event) => this.key(event));
    this.canvas.addEventListener("blur", () => this.moveCursor(null));
  }

  // Pixels x [D] and which are seen; the brush paints x, or if it hides, what is seen.
  show(purpose, x, seen) {
    this.purpose = purpose;
    this.x = x;
    this.seen = seen;
    if (this.last === null) this.bits = Uint8Array.from(purpose === "hide" ? (seen ?? new Uint8Array(x.length).fill(1)) : x);
    this.paint();
  }

  press(event) {
    event.preventDefault();
    this.canvas.focus({ preventScroll: true });
    this.canvas.setPointerCapture(event.pointerId);
    const place = this.placeOf(event);
    this.last = place;
    this.pressed = event.button === 2 || this.erasing;
    this.stroke(place, place);
  }

  move(event) {
    if (this.last === null) return;
    const place = this.placeOf(event);
    this.stroke(this.last, place);
    this.last = place;
  }

  lift() {
    if (this.last === null) return;
    this.last = null;
    this.changed(Uint8Array.from(this.bits), true);
  }

  placeOf(event) {
    const box = this.canvas.getBoundingClientRect();
    return [
      ((event.clientX - box.left) / box.width) * this.model.width,
      ((event.clientY - box.top) / box.height) * this.model.height,
    ];
  }

  stroke(from, to) {
    const inks = this.purpose === "draw" ? !this.pressed : this.pressed;
    const changes = brush(this.bits, this.model, from, to, BRUSH[this.purpose], Number(inks));
    if (changes) this.changed(Uint8Array.from(this.bits), false);
  }

  key(event) {
    const moves = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] };
    const { width, height } = this.model;
    const [row, column] = this.cursor ?? [height >> 1, width >> 1];
    if (event.key in moves) {
      const [down, right] = moves[event.key];
      this.moveCursor([(row + down + height) % height, (column + right + width) % width]);
    } else if (event.key === " ") {
      this.moveCursor([row, column]);
      this.bits[row * width + column] ^= 1;
      this.changed(Uint8Array.from(this.bits), true);
    } else return;
    event.preventDefault();
  }

  moveCursor(place) {
    this.cursor = place;
    if (this.x) this.paint();
  }

  paint() {
    const context = this.canvas.getContext("2d");
    const { width, pixels } = this.model;
    for (let d = 0; d < pixels; d++) {
      const hidden = this.seen !== null && !this.seen[d];
      const paper = hidden ? HIDDEN : PAPER;
      const ink = hidden ? 0.35 : 1; // what is hidden shows through
      const color = paper.map((value, c) => Math.round(value + (INK[c] - value) * ink * this.x[d]));
      context.fillStyle = `rgb(${color})`;
      context.fillRect(CELL * (d % width), CELL * Math.floor(d / width), CELL, CELL);
    }
    if (this.cursor === null) return;
    context.strokeStyle = "#e76300";
    context.lineWidth = 2;
    context.strokeRect(CELL * this.cursor[1] + 1, CELL * this.cursor[0] + 1, CELL - 2, CELL - 2);
  }
}

// Set every pixel whose centre lies within a radius of the way from one place to another, in
// [column, row]. Returns whether any pixel changed.
function brush(bits, { width, height }, from, to, radius, value) {
  let changes = false;
  for (let d = 0; d < width * height; d++) {
    const centre = [(d % width) + 0.5, Math.floor(d / width) + 0.5];
    if (bits[d] === value || farFromSegment(centre, from, to) > radius) continue;
    bits[d] = value;
    changes = true;
  }
  return changes;
}

function farFromSegment([x, y], [x0, y0], [x1, y1]) {
  const [dx, dy] = [x1 - x0, y1 - y0];
  const square = dx * dx + dy * dy;
  const t = square === 0 ? 0 : Math.max(0, Math.min(1, ((x - x0) * dx + (y - y0) * dy) / square));
  return Math.hypot(x - x0 - t * dx, y - y0 - t * dy);
}

// Which pixels the presets show, as `mask=` of the program does; random ones by the seed.
function presetMask(name, { height, width }, seed) {
  const uniform = uniforms(seed);
  const inner = (k, size) => k >= Math.floor(size / 4) && k < size - Math.floor(size / 4);
  const shown = {
    top: (row) => row < height >> 1,
    bottom: (row) => row >= height >> 1,
    left: (_, column) => column < width >> 1,
    right: (_, column) => column >= width >> 1,
    centre: (row, column) => inner(row, height) && inner(column, width),
    random: () => uniform() < 0.5,
  }[name];
  return Uint8Array.from({ length: height * width }, (_, d) => Number(shown(Math.floor(d / width), d % width)));
}
