// The explorer: one state, one worker that answers, and what the page shows of both.

const REST = 160; // ms after the last stroke at which a hand is said to rest
const NEAR = 14; // pixels of a click to the mean of an image

function mount(root, payload, source) {
  return new Explorer(root, payload, source);
}

class Explorer {
  constructor(root, payload, source) {
    Object.assign(this, { root, payload, frame: null, renderAll: true, hovers: false, answer: null, shape: null, best: null, ready: false });
    this.model = modelOf(payload);
    this.bytes = bytesOf(payload.images);
    this.means = doublesOf(payload.means);
    this.groups = this.grouped();
    this.state = stateOf(location.hash, this.model, payload.count);
    this.pointed = this.firstPointed();
    const label = "The latent plane. Each point is the encoder's mean of an image.";
    this.plane = new Plane(label, {
      onview: (view) => this.viewed(view),
      onpoint: (x, y) => this.point(x, y),
      onclick: (x, y) => this.click(x, y),
      onleave: () => this.leave(),
    });
    Object.assign(this.plane.view, this.state.view, { flat: this.model.dims === 1 });
    this.editor = new Editor(this.model, (bits, resting) => this.edited(bits, resting));
    this.stage = new Stage(this);
    this.layout = new Layout(this);
    this.asker = startWorker(source, payload);
    this.asker.onfilling = (done) => this.filling(done);
    this.asker.onfailure = (message) => (this.layout.status.textContent = `The computation stopped: ${message}`);
    this.watch();
    this.ask();
    this.render();
    if (location.hash.startsWith(PREFIX)) root.scrollIntoView();
  }

  watch() {
    new ResizeObserver(() => this.render()).observe(this.plane.canvas);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.render());
    addEventListener("hashchange", () => this.followAddress());
  }

  // Where the pointer is said to be before it was ever there.
  firstPointed() {
    const { z, mode, to, along, image } = this.state;
    return z ?? (mode === "walk" && to !== null ? this.between(along) : this.meanOf(image));
  }

  get x() {
    return this.state.drawn ?? this.imageAt(this.state.image);
  }

  // Which pixels are visible; null if all are.
  get seen() {
    const { mode, seen } = this.state;
    return mode !== "hide" || seen === null || seen.every(Boolean) ? null : seen;
  }

  get shownQ() {
    return this.answer !== null && (this.seen === null || this.state.mistake) ? this.answer.q : null;
  }

  get shownBest() {
    return this.shownQ === null ? null : (this.best?.q ?? null);
  }

  imageAt(n) {
    return unpacked(this.bytes, n, this.model.pixels);
  }

  nameOf(n) {
    const { labels, classes } = this.payload;
    return labels === null ? "" : `, class ${classes[labels[n]].name}`;
  }

  meanOf(n) {
    return this.means.slice(n * this.model.dims, (n + 1) * this.model.dims);
  }

  // A point of the way from the image's mean to that of the second image.
  between(t) {
    const [from, to] = [this.meanOf(this.state.image), this.meanOf(this.state.to)];
    return from.map((value, a) => value + t * (to[a] - value));
  }

  grouped() {
    const { labels, classes, color, count } = this.payload;
    if (labels === null) return [{ color, indices: Array.from({ length: count }, (_, n) => n) }];
    const groups = new Map(Object.entries(classes).map(([label, made]) => [label, { color: made.color, indices: [] }]));
    labels.forEach((label, n) => groups.get(String(label)).indices.push(n));
    return [...groups.values()];
  }

  // Change a part of the state, and all that follows from it.
  change(part, quick = false) {
    Object.assign(this.state, part);
    if ("z" in part && part.z !== null) this.pointed = part.z;
    if ("along" in part && this.state.to !== null && part.z === null) this.pointed = this.between(part.along);
    if (["image", "drawn", "seen", "mode", "seed", "fitted"].some((name) => name in part)) this.ask(quick);
    this.saveAddress();
    this.render();
  }

  enter(mode) {
    this.change(mode === "hide" && this.state.seen === null ? { mode, seen: presetMask("top", this.model, 1) } : { mode });
  }

  pick(n) {
    if (this.state.mode === "walk" && n !== this.state.image) this.change({ to: n, along: 0.5, z: null });
    else {
      this.pointed = this.meanOf(n);
      this.change({ image: n, drawn: null, z: null });
    }
  }

  edited(bits, resting) {
    this.change(this.state.mode === "hide" ? { seen: bits } : { drawn: bits }, !resting);
  }

  // Ask the worker. A quick answer is asked for again when the hand rests, and a slow one in parts.
  ask(quick = false, more = false) {
    clearTimeout(this.resting);
    const { x, seen, state } = this;
    this.best = null;
    const question = { x, seen, quick, more, slice: SLICE, seed: state.seed };
    this.asker.ask("answer", question, (answer, took) => this.heard(answer, took, quick));
    if (quick) this.resting = setTimeout(() => this.ask(), REST);
  }

  heard(answer, took, quick) {
    this.answer = answer;
    if (!quick && !this.asker.busy.has("answer")) {
      if (answer.unfinished) this.ask(false, true);
      else this.askForBest();
    }
    this.root.dataset.took = took;
    this.shape = answer.posterior === null ? null : shapeOf(answer.posterior);
    this.root.dataset.answers = Number(this.root.dataset.answers ?? 0) + 1;
    this.render();
  }

  askForBest() {
    if (!this.state.fitted || !this.ready) return;
    const { x, seen } = this;
    this.layout.status.textContent = "Fitting the best q to this image …";
    this.asker.ask("fitted", { x, seen }, (best) => this.heardBest(best));
  }

  heardBest(best) {
    this.best = best;
    this.layout.status.textContent = "";
    this.render();
  }

  filling(done) {
    this.ready = done === 1;
    this.root.dataset.ready = String(this.ready);
    this.layout.status.textContent = this.ready ? "" : `Decoding the plane: ${percent(done)}`;
    if (this.ready) this.ask();
  }

  point(x, y) {
    const z = Float64Array.from(this.pointed);
    const [a, b] = this.state.axes;
    if (this.model.dims > 1) z[b] = y;
    z[a] = x;
    this.pointed = z;
    this.hovers = true;
    this.render(false);
  }

  leave() {
    this.hovers = false;
    this.render(false);
  }

  click(x, y) {
    const n = this.nearest(x, y);
    if (n === null) this.change({ z: Float64Array.from(this.pointed) });
    else this.pick(n);
  }

  // The image whose mean is nearest to a place of the plane, if it is near.
  nearest(x, y) {
    const { dims } = this.model;
    const [a, b] = this.state.axes;
    let found = null;
    let least = (NEAR * this.plane.view.span) / this.plane.view.width;
    for (let n = 0; n < this.payload.count; n++) {
      const across = this.means[n * dims + a] - x;
      const up = dims === 1 ? 0 : this.means[n * dims + b] - y;
      const far = Math.hypot(across, up);
      if (far < least) [found, least] = [n, far];
    }
    return found;
  }

  drawZ(from) {
    const seed = this.state.seed + 1;
    const prior = gaussians(this.model.dims, uniforms(seed));
    const draws = this.answer?.draws;
    if (from === "posterior" && !draws) return;
    this.change({ seed, z: Float64Array.from(from === "prior" ? prior : draws[0].z) });
  }

  drawnPixels() {
    const uniform = uniforms(this.state.seed);
    return pictureAt(this.model, this.pointed).map((mean) => (uniform() < mean ? 1 : 0));
  }

  wholePlane() {
    this.plane.look(0, 0, 9);
  }

  toPosterior() {
    const view = this.stage.closeView(1);
    if (view !== null) this.plane.look(view.x, view.y, 1.5 * view.span);
  }

  viewed({ x, y, span }) {
    this.state.view = { x, y, span };
    this.saveAddress();
    this.render();
  }

  saveAddress() {
    clearTimeout(this.saving);
    this.root.dataset.saving = "true";
    this.saving = setTimeout(() => {
      this.address = addressOf(this.state);
      history.replaceState(null, "", this.address);
      this.root.dataset.saving = "false";
    }, 250);
  }

  followAddress() {
    if (!location.hash.startsWith(PREFIX) || location.hash === this.address) return;
    this.state = stateOf(location.hash, this.model, this.payload.count);
    Object.assign(this.plane.view, this.state.view);
    this.change({ z: this.state.z, fitted: this.state.fitted });
  }

  // Draw once a frame, however much has changed; all of it, or what follows the pointer.
  render(all = true) {
    this.renderAll ||= all;
    this.frame ??= requestAnimationFrame(() => {
      this.frame = null;
      if (this.renderAll) this.layout.show();
      this.layout.showPointed();
      this.stage.paint(this.renderAll);
      this.renderAll = false;
    });
  }
}
