// What is painted: the plane with its points kept from frame to frame, the close-up, and files.

const THUMB = 64; // pixels across of the image beside the pointer
const AWAY = 12; // from the pointer
const REACH = 4.5; // standard deviations of the posterior that a close-up holds, and 3 of a q

class Stage {
  constructor(app) {
    this.app = app;
    this.layer = null; // the points, as they were painted last
    this.theme = null;
  }

  scene() {
    const { app, theme } = this;
    const { state, means, groups, shape, model } = app;
    const walk = state.mode === "walk" && state.to !== null ? [app.between(0), app.between(1)] : null;
    const ends = walk === null ? [] : [{ z: walk[0], name: "from" }, { z: walk[1], name: "to" }];
    const chosen = walk === null && shape === null && state.drawn === null ? [{ z: app.meanOf(state.image), name: "x" }] : [];
    return {
      dims: model.dims,
      axes: state.axes,
      means,
      groups,
      shape,
      q: app.shownQ,
      best: app.shownBest,
      marks: [[app.pointed, theme.text]],
      walk,
      names: [...ends, ...chosen],
    };
  }

  // The square that holds the posterior and the q that are shown; null if there are none.
  closeView(width) {
    const { shape, shownQ, shownBest, model, state } = this.app;
    const shown = [];
    if (shape !== null) shown.push([shape.mean, (axis) => REACH * Math.sqrt(shape.covariance[axis * (model.dims + 1)])]);
    for (const q of [shownQ, shownBest]) {
      if (q !== null) shown.push([q.mean, (axis) => 3 * Math.exp(q.logStd[axis])]);
    }
    if (shown.length === 0) return null;
    const [across, up] = state.axes.map((axis) => [
      Math.min(...shown.map(([mean, reach]) => mean[axis] - reach(axis))),
      Math.max(...shown.map(([mean, reach]) => mean[axis] + reach(axis))),
    ]);
    const span = Math.max(across[1] - across[0], up[1] - up[0]);
    const y = model.dims === 1 ? 0 : (up[0] + up[1]) / 2;
    return { x: (across[0] + across[1]) / 2, y, span, width, height: width };
  }

  // All of it, or the plane alone.
  paint(all) {
    const { app } = this;
    const { plane } = app;
    const ratio = devicePixelRatio || 1;
    this.theme = themeOf(app.root);
    plane.fit(ratio);
    const scene = this.scene();
    const context = plane.canvas.getContext("2d");
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    context.clearRect(0, 0, plane.view.width, plane.view.height);
    const surface = new CanvasSurface(context);
    if (scene.dims === 1) paintScene(surface, plane.view, scene, this.theme);
    else {
      context.drawImage(this.points(scene, ratio), 0, 0, plane.view.width, plane.view.height);
      paintOverPoints(surface, plane.view, scene, this.theme);
    }
    if (app.hovers) this.paintPointed(context);
    if (all) this.paintCloseUp(scene, ratio);
  }

  // The decoder's image beside the pointer, on the side that has room.
  paintPointed(context) {
    const { app, theme } = this;
    const { view } = app.plane;
    const [a, b] = app.state.axes;
    const [x, y] = toPixels(view, app.pointed[a], app.model.dims === 1 ? 0 : app.pointed[b]);
    const height = (THUMB * app.model.height) / app.model.width;
    const left = x + AWAY + THUMB < view.width ? x + AWAY : x - AWAY - THUMB;
    const top = Math.max(2, Math.min(view.height - height - 2, y - AWAY - height));
    context.imageSmoothingEnabled = false;
    context.drawImage(app.layout.frames.pointed.canvas, left, top, THUMB, height);
    context.strokeStyle = theme.text;
    context.lineWidth = 1;
    context.strokeRect(left, top, THUMB, height);
  }

  // Thousands of points are painted again only if the view changes.
  points(scene, ratio) {
    const { view } = this.app.plane;
    const { x, y, span, width, height } = view;
    const key = [x, y, span, width, height, ratio, scene.axes, scene.shape !== null, this.theme.paper].join();
    if (this.layer?.key !== key) {
      const canvas = element("canvas", { width: width * ratio, height: height * ratio });
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
    const { closeUp, closeFigure } = this.app.layout;
    if (closeFigure.hidden) return;
    const width = Math.max(1, Math.round(closeUp.getBoundingClientRect().width));
    Object.assign(closeUp, { width: width * ratio, height: width * ratio });
    const context = closeUp.getContext("2d");
    context.scale(ratio, ratio);
    const surface = new CanvasSurface(context);
    const view = this.closeView(width);
    paintFrame(surface, view, this.theme);
    paintOverPoints(surface, view, { ...scene, marks: [], walk: null, names: [] }, this.theme);
  }

  async savePng() {
    save(await pngOf(this.app.plane.view, this.scene(), this.theme), "posterior.png");
  }

  saveSvg() {
    const text = svgOf(this.app.plane.view, this.scene(), this.theme);
    save(new Blob([text], { type: "image/svg+xml" }), "posterior.svg");
  }
}

// The colours of the page as it is now, light or dark.
function themeOf(root) {
  const style = getComputedStyle(root.firstElementChild);
  const names = ["paper", "text", "faint", "grid", "circle", "posterior", "q", "best"];
  return Object.fromEntries(names.map((name) => [name, style.getPropertyValue(`--ex-${name}`).trim()]));
}
