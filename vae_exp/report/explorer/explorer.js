// The explorer: one state, one worker that answers, and what the page shows of both.

const REST = 160; // ms after the last stroke at which a hand is said to rest
const NEAR = 14; // pixels of a click to the mean of an image

function mount(root, payload, source) {
  return new Explorer(root, payload, source);
}

class Explorer {
  constructor(root, payload, source) {
    Object.assign(this, { root, payload, frame: null, renderAll: true, answer: null, shape: null, best: null, ready: false });
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
    });
    Object.assign(this.plane.view, this.state.view);
    this.editor = new Editor(this.model, (bits, resting) => this.edited(bits, resting));
    this.layout = new Layout(this);
    this.asker = startWorker(source, payload);
    this.asker.onfilling = (done) => this.filling(done);
    this.watch();
    this.ask();
    this.render();
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
    else this.change({ image: n, drawn: null, z: null });
  }

  edited(bits, resting) {
    this.change(this.state.mode === "hide" ? { seen: bits } : { drawn: bits }, !resting);
  }

  // Ask the worker. A quick answer is asked for again when the hand rests.
  ask(quick = false) {
    clearTimeout(this.resting);
    const { x, seen, state } = this;
    this.best = null;
    this.asker.ask("answer", { x, seen, quick, seed: state.seed }, (answer, took) => this.heard(answer, took));
    if (quick) this.resting = setTimeout(() => this.ask(), REST);
    else if (state.fitted && this.ready) this.asker.ask("fitted", { x, seen }, (best) => this.heardBest(best));
  }

  heard(answer, took) {
    this.answer = answer;
    this.root.dataset.took = took;
    this.shape = answer.posterior === null ? null : shapeOf(answer.posterior);
    this.root.dataset.answers = Number(this.root.dataset.answers ?? 0) + 1;
    this.render();
  }

  heardBest(best) {
    this.best = best;
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
    if (this.answer === null) return;
    const { x, y, span } = this.closeView(1);
    this.plane.look(x, y, 1.5 * span);
  }

  // The square that holds the posterior and the q that is shown.
  closeView(width) {
    const { mean, covariance } = this.shape ?? { mean: this.answer.q.mean, covariance: this.answer.q.scale };
    const dims = this.model.dims;
    const [a, b] = this.state.axes;
    const places = [[mean, (axis) => 4.5 * Math.sqrt(covariance[axis * (dims + 1)])]];
    for (const q of [this.shownQ, this.shownBest]) {
      if (q !== null) places.push([q.mean, (axis) => 3 * Math.exp(q.logStd[axis])]);
    }
    const ends = [a, b].map((axis) => [
      Math.min(...places.map(([centre, reach]) => centre[axis] - reach(axis))),
      Math.max(...places.map(([centre, reach]) => centre[axis] + reach(axis))),
    ]);
    const span = Math.max(...ends.map(([low, high]) => high - low));
    return { x: (ends[0][0] + ends[0][1]) / 2, y: dims === 1 ? 0 : (ends[1][0] + ends[1][1]) / 2, span, width, height: width };
  }

  viewed({ x, y, span }) {
    this.state.view = { x, y, span };
    this.saveAddress();
    this.render();
  }

  saveAddress() {
    clearTimeout(this.saving);
    this.saving = setTimeout(() => {
      this.address = addressOf(this.state);
      history.replaceState(null, "", this.address);
    }, 250);
  }

  followAddress() {
    if (!location.hash.startsWith(PREFIX) || location.hash === this.address) return;
    this.state = stateOf(location.hash, this.model, this.payload.count);
    Object.assign(this.plane.view, this.state.view);
    this.change({ z: this.state.z, fitted: this.state.fitted });
  }

  scene() {
    const { state, means, groups, shape, model, theme } = this;
    const marks = [];
    if (state.z !== null || state.to !== null || this.pointed !== null) marks.push([this.pointed, theme.text]);
    const walk = state.mode === "walk" && state.to !== null ? [this.between(0), this.between(1)] : null;
    const chosen = state.drawn === null ? [{ z: this.meanOf(state.image), name: "x" }] : [];
    const names = walk === null ? chosen : [{ z: walk[0], name: "from" }, { z: walk[1], name: "to" }];
    return { dims: model.dims, axes: state.axes, means, groups, shape, q: this.shownQ, best: this.shownBest, marks, walk, names: shape && walk === null ? [] : names };
  }

  // Draw once a frame, however much has changed; all of it, or what follows the pointer.
  render(all = true) {
    this.renderAll ||= all;
    this.frame ??= requestAnimationFrame(() => {
      this.frame = null;
      this.theme = themeOf(this.root);
      if (this.renderAll) this.layout.show();
      this.layout.showPointed();
      this.paint(this.renderAll);
      this.renderAll = false;
    });
  }

  paint(all) {
    const ratio = devicePixelRatio || 1;
    const { plane, theme } = this;
    plane.fit(ratio);
    const scene = this.scene();
    const context = plane.canvas.getContext("2d");
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    context.clearRect(0, 0, plane.view.width, plane.view.height);
    if (this.model.dims === 1) paintScene(new CanvasSurface(context), { ...plane.view, flat: true }, scene, theme);
    else {
      context.drawImage(this.pointsLayer(scene, ratio), 0, 0, plane.view.width, plane.view.height);
      paintOverPoints(new CanvasSurface(context), plane.view, scene, theme);
    }
    if (all && !this.layout.closeFigure.hidden) this.paintCloseUp(scene, ratio);
  }

  // Thousands of points are drawn again only if the view changes.
  pointsLayer(scene, ratio) {
    const { view } = this.plane;
    const key = [view.x, view.y, view.span, view.width, view.height, ratio, scene.axes, scene.shape !== null, this.theme.paper].join();
    if (this.layer?.key !== key) {
      const canvas = element("canvas", { width: view.width * ratio, height: view.height * ratio });
      const context = canvas.getContext("2d");
      context.scale(ratio, ratio);
      const surface = new CanvasSurface(context);
      paintFrame(surface, view, this.theme);
      paintPoints(surface, view, scene);
      this.layer = { key, canvas };
    }
    return this.layer.canvas;
  }

  paintCloseUp(scene, ratio) {
    const canvas = this.layout.closeUp;
    const width = Math.max(1, Math.round(canvas.getBoundingClientRect().width));
    Object.assign(canvas, { width: width * ratio, height: width * ratio });
    const context = canvas.getContext("2d");
    context.scale(ratio, ratio);
    const view = this.closeView(width);
    const surface = new CanvasSurface(context);
    paintFrame(surface, view, this.theme);
    paintOverPoints(surface, view, { ...scene, marks: [], walk: null }, this.theme);
  }

  async savePng() {
    save(await pngOf(this.plane.view, this.scene(), this.theme), "posterior.png");
  }

  saveSvg() {
    save(new Blob([svgOf(this.plane.view, this.scene(), this.theme)], { type: "image/svg+xml" }), "posterior.svg");
  }
}

// The colours of the page as it is now, light or dark.
function themeOf(root) {
  const style = getComputedStyle(root.firstElementChild);
  const names = ["paper", "text", "faint", "grid", "circle", "posterior", "q", "best"];
  return Object.fromEntries(names.map((name) => [name, style.getPropertyValue(`--ex-${name}`).trim()]));
}
