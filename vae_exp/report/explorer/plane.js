// The plane as a person moves it: by mouse, by fingers, by keys.

const CLICK = 5; // pixels that a click may wander
const WHEEL = 1.0015; // zoom a pixel of the wheel
const SPANS = [0.02, 60];

class Plane {
  // `hears` has onview(view), onpoint(x, y), onclick(x, y), onleave(); x and y are in units of z.
  constructor(label, hears) {
    this.hears = hears;
    this.canvas = element("canvas", { class: "ex-plane", tabindex: "0", role: "application", "aria-label": label });
    this.view = { x: 0, y: 0, span: 9, width: 1, height: 1 };
    this.fingers = new Map();
    this.cursor = null;
    const { canvas } = this;
    canvas.addEventListener("pointerdown", (event) => this.press(event));
    canvas.addEventListener("pointermove", (event) => this.move(event));
    canvas.addEventListener("pointerup", (event) => this.lift(event));
    canvas.addEventListener("pointercancel", (event) => this.fingers.delete(event.pointerId));
    canvas.addEventListener("pointerleave", () => this.hears.onleave());
    canvas.addEventListener("wheel", (event) => this.wheel(event), { passive: false });
    canvas.addEventListener("keydown", (event) => this.key(event));
  }

  // Fit the canvas to its place in the page; true if its size changed.
  fit(ratio) {
    const box = this.canvas.getBoundingClientRect();
    const [width, height] = [Math.max(1, Math.round(box.width)), Math.max(1, Math.round(box.height))];
    const changed = width !== this.view.width || height !== this.view.height || ratio !== this.ratio;
    this.ratio = ratio;
    Object.assign(this.view, { width, height });
    if (changed) Object.assign(this.canvas, { width: width * ratio, height: height * ratio });
    return changed;
  }

  look(x, y, span) {
    span = Math.min(SPANS[1], Math.max(SPANS[0], span));
    Object.assign(this.view, { x, y, span });
    this.hears.onview(this.view);
  }

  // Zoom about a place that stays where it is.
  zoom(factor, px = this.view.width / 2, py = this.view.height / 2) {
    const [x, y] = fromPixels(this.view, px, py);
    const span = Math.min(SPANS[1], Math.max(SPANS[0], this.view.span * factor));
    const part = span / this.view.span;
    this.look(x + (this.view.x - x) * part, y + (this.view.y - y) * part, span);
  }

  pan(dx, dy) {
    const scale = this.view.span / this.view.width;
    this.look(this.view.x - dx * scale, this.view.y + dy * scale, this.view.span);
  }

  placeOf(event) {
    const box = this.canvas.getBoundingClientRect();
    return [event.clientX - box.left, event.clientY - box.top];
  }

  press(event) {
    this.canvas.setPointerCapture(event.pointerId);
    this.fingers.set(event.pointerId, this.placeOf(event));
    this.start = this.fingers.size === 1 ? this.placeOf(event) : null;
  }

  move(event) {
    const place = this.placeOf(event);
    const before = this.fingers.get(event.pointerId);
    if (before === undefined) {
      this.hears.onpoint(...fromPixels(this.view, ...place));
      return;
    }
    if (this.start !== null && distance(place, this.start) < CLICK) return;
    this.start = null;
    if (this.fingers.size === 2) this.pinch(event.pointerId, before, place);
    else this.pan(place[0] - before[0], place[1] - before[1]);
    this.fingers.set(event.pointerId, place);
  }

  pinch(id, before, place) {
    const [, other] = [...this.fingers].find(([finger]) => finger !== id);
    this.pan((place[0] - before[0]) / 2, (place[1] - before[1]) / 2);
    this.zoom(distance(before, other) / Math.max(1, distance(place, other)), (place[0] + other[0]) / 2, (place[1] + other[1]) / 2);
  }

  lift(event) {
    this.fingers.delete(event.pointerId);
    if (this.start === null) return;
    this.start = null;
    this.cursor = null;
    const place = fromPixels(this.view, ...this.placeOf(event));
    this.hears.onpoint(...place);
    this.hears.onclick(...place);
  }

  wheel(event) {
    event.preventDefault();
    const pixels = event.deltaMode === 1 ? 30 * event.deltaY : event.deltaY;
    this.zoom(WHEEL ** pixels, ...this.placeOf(event));
  }

  // Arrows move a cross, with shift the plane; + and − zoom; Enter is a click.
  key(event) {
    const moves = { ArrowUp: [0, 1], ArrowDown: [0, -1], ArrowLeft: [-1, 0], ArrowRight: [1, 0] };
    const { view } = this;
    if (event.key in moves) {
      const [right, up] = moves[event.key];
      if (event.shiftKey) this.pan((-right * view.width) / 10, (up * view.height) / 10);
      else {
        const [x, y] = this.cursor ?? [view.x, view.y];
        this.cursor = [x + (right * view.span) / 80, y + (up * view.span) / 80];
        this.hears.onpoint(...this.cursor);
      }
    } else if (event.key === "+" || event.key === "=") this.zoom(0.8);
    else if (event.key === "-") this.zoom(1.25);
    else if (event.key === "Enter" && this.cursor !== null) this.hears.onclick(...this.cursor);
    else return;
    event.preventDefault();
  }
}

function distance(one, other) {
  return Math.hypot(one[0] - other[0], one[1] - other[1]);
}
