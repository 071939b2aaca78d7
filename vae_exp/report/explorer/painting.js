// The picture of the plane: points by class, the prior's circles, the exact posterior, every q.

const RADII = [1, 2, 3]; // of the prior's circles, in its standard deviations
const ELLIPSE = 90; // points

// z in the plane's two axes to pixels, and back. `span` is the view's width in units of z.
function toPixels(view, x, y) {
  const scale = view.width / view.span;
  return [view.width / 2 + (x - view.x) * scale, view.height / 2 - (y - view.y) * scale];
}

function fromPixels(view, px, py) {
  const scale = view.span / view.width;
  return [view.x + (px - view.width / 2) * scale, view.y - (py - view.height / 2) * scale];
}

// A scene is what there is to see: `groups` of points by colour, `axes`, and, if they are known,
// `shape` (an exact posterior), `q`, `best`, `chosen`, `walk` and `cursor`.
function paintScene(surface, view, scene, theme) {
  paintFrame(surface, view, theme);
  if (scene.dims === 1) return paintLine(surface, view, scene, theme);
  paintPoints(surface, view, scene);
  return paintOverPoints(surface, view, scene, theme);
}

function paintOverPoints(surface, view, scene, theme) {
  paintCircles(surface, view, theme);
  const at = ([x, y]) => toPixels(view, x, y);
  if (scene.shape) paintShape(surface, view, scene.shape, theme);
  if (scene.q) paintGaussian(surface, view, scene.q, scene.axes, { color: theme.q, dash: [6, 4] });
  if (scene.best) paintGaussian(surface, view, scene.best, scene.axes, { color: theme.best, dash: [2, 4] });
  const flat = (z) => scene.axes.map((axis) => z[axis]);
  if (scene.walk) surface.line(scene.walk.map((z) => at(flat(z))), { color: theme.text, width: 1.5 });
  for (const [z, color] of scene.marks ?? []) paintMark(surface, at(flat(z)), color, theme);
  for (const { z, name } of scene.names ?? []) {
    surface.text(name, ...at(flat(z)), { color: theme.text, halo: theme.paper, size: 13 });
  }
}

function paintFrame(surface, view, theme) {
  const step = tickStep(view.span);
  const [left, bottom] = fromPixels(view, 0, view.height);
  const [right, top] = fromPixels(view, view.width, 0);
  const words = { color: theme.faint, halo: theme.paper, size: 11 };
  for (let k = Math.ceil(left / step); k * step < right; k++) {
    const [x] = toPixels(view, k * step, 0);
    surface.line([[x, 0], [x, view.height]], { color: theme.grid, width: 1 });
    if (x > 14 && x < view.width - 14) surface.text(short(k * step), x, view.height - 9, words);
  }
  for (let k = Math.ceil(bottom / step); k * step < top && view.flat !== true; k++) {
    const [, y] = toPixels(view, 0, k * step);
    surface.line([[0, y], [view.width, y]], { color: theme.grid, width: 1 });
    if (y > 14 && y < view.height - 20) surface.text(short(k * step), 4, y, { ...words, align: "left" });
  }
}

// 1, 2 or 5 times a power of ten, for some five lines across.
function tickStep(span) {
  const power = 10 ** Math.floor(Math.log10(span / 4));
  return power * [1, 2, 5].findLast((factor) => (factor * power * 3) <= span);
}

function paintPoints(surface, view, scene) {
  const [a, b] = scene.axes;
  const radius = Math.min(3.5, 1.1 * Math.sqrt(9 / view.span) * Math.sqrt(view.width / 600));
  for (const { color, indices } of scene.groups) {
    const places = [];
    for (const n of indices) {
      const [x, y] = toPixels(view, scene.means[n * scene.dims + a], scene.means[n * scene.dims + b]);
      if (x > -5 && y > -5 && x < view.width + 5 && y < view.height + 5) places.push(x, y);
    }
    surface.dots(places, radius, color, scene.shape ? 0.45 : 0.7);
  }
}

function paintCircles(surface, view, theme) {
  for (const radius of RADII) {
    surface.line(ellipse(view, [0, 0], [radius, 0, 0, radius]), { color: theme.circle, width: 1, dash: [4, 4], closed: true });
    const [x, y] = toPixels(view, 0, -radius);
    surface.text(`${radius}σ`, x, y, { color: theme.faint, halo: theme.paper, size: 11 });
  }
}

function paintShape(surface, view, shape, theme) {
  const { raster, contours } = shape;
  shape.heat ??= {};
  shape.heat[theme.posterior] ??= heatOf(raster, theme.posterior);
  const half = raster.step / 2;
  const [x, y] = toPixels(view, raster.left - half, raster.bottom + (raster.rows - 1) * raster.step + half);
  const scale = (raster.step * view.width) / view.span;
  surface.picture(shape.heat[theme.posterior], x, y, raster.columns * scale, raster.rows * scale);
  contours.forEach((pieces, k) => {
    const drawn = pieces.map(([a, b, c, d]) => [...toPixels(view, a, b), ...toPixels(view, c, d)]);
    surface.pieces(drawn, { color: theme.posterior, width: 2 - 0.4 * k });
  });
}

// The density as a picture: opaque at its peak, clear where there is none.
function heatOf({ values, rows, columns }, color) {
  const canvas = document.createElement("canvas");
  canvas.width = columns;
  canvas.height = rows;
  const context = canvas.getContext("2d");
  context.fillStyle = color;
  context.fillRect(0, 0, columns, rows);
  const image = context.getImageData(0, 0, columns, rows);
  const top = values.reduce((most, value) => Math.max(most, value), -Infinity);
  for (let row = 0; row < rows; row++) {
    for (let column = 0; column < columns; column++) {
      const density = Math.exp(values[(rows - 1 - row) * columns + column] - top);
      image.data[4 * (row * columns + column) + 3] = 200 * density;
    }
  }
  context.putImageData(image, 0, 0);
  return canvas;
}

// The ellipses in which 50, 80 and 95 % of a Gaussian lie; of more dimensions, those of two axes.
function paintGaussian(surface, view, q, axes, style) {
  const dims = q.mean.length;
  const covariance = axes.flatMap((a) => axes.map((b) => {
    let sum = 0;
    for (let k = 0; k < dims; k++) sum += q.scale[a * dims + k] * q.scale[b * dims + k];
    return sum;
  }));
  const first = Math.sqrt(covariance[0]);
  const below = covariance[1] / first;
  const factor = [first, 0, below, Math.sqrt(Math.max(0, covariance[3] - below * below))];
  const centre = axes.map((axis) => q.mean[axis]);
  MASSES.forEach((mass, k) => {
    const radius = Math.sqrt(-2 * Math.log(1 - mass));
    const places = ellipse(view, centre, factor.map((entry) => radius * entry));
    surface.line(places, { ...style, width: 2.2 - 0.4 * k, closed: true });
  });
}

function ellipse(view, [x, y], [a, , b, c]) {
  return Array.from({ length: ELLIPSE }, (_, k) => {
    const [u, v] = [Math.cos((2 * Math.PI * k) / ELLIPSE), Math.sin((2 * Math.PI * k) / ELLIPSE)];
    return toPixels(view, x + a * u, y + b * u + c * v);
  });
}

function paintMark(surface, [x, y], color, theme) {
  for (const [stroke, width] of [[theme.paper, 5], [color, 2]]) {
    surface.line([[x - 7, y], [x + 7, y]], { color: stroke, width });
    surface.line([[x, y - 7], [x, y + 7]], { color: stroke, width });
  }
}

// One latent dimension: densities over z, each as high as its own peak, and the means below.
function paintLine(surface, view, scene, theme) {
  const height = view.height - 60;
  const base = view.height - 50;
  scene.groups.forEach(({ color, indices }, k) => {
    const places = [];
    for (const n of indices) {
      places.push(toPixels(view, scene.means[n], 0)[0], base + 6 + (24 * k) / scene.groups.length);
    }
    surface.dots(places, 1.2, color, 0.6);
  });
  const curve = (logDensity, style) => {
    const places = [];
    for (let px = 0; px <= view.width; px++) places.push([px, logDensity(fromPixels(view, px, 0)[0])]);
    surface.line(places.map(([px, value]) => [px, base - height * Math.exp(Math.min(0, value))]), style);
  };
  const prior = gaussian([0], [0]);
  curve((z) => gaussianLogDensity(prior, [z]) + 0.5 * LOG_2PI, { color: theme.circle, dash: [4, 4] });
  const tops = [scene.shape && Math.max(...scene.shape.raster.values), ...[scene.q, scene.best].map((q) => q && gaussianLogDensity(q, q.mean))];
  const top = Math.max(...tops.filter(Number.isFinite));
  if (scene.shape) curve((z) => valueAt(scene.shape.raster, z, 0) - top, { color: theme.posterior, width: 2, fill: theme.posterior });
  if (scene.q) curve((z) => gaussianLogDensity(scene.q, [z]) - top, { color: theme.q, width: 2, dash: [6, 4] });
  if (scene.best) curve((z) => gaussianLogDensity(scene.best, [z]) - top, { color: theme.best, width: 2, dash: [2, 4] });
  for (const [z, color] of scene.marks ?? []) paintMark(surface, [toPixels(view, z[0], 0)[0], base], color, theme);
}
