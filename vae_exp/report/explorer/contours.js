// A posterior on a rectangle as a picture: finer by interpolation, its regions of given mass.

const MASSES = [0.5, 0.8, 0.95];
const FINE = 180; // columns that a picture should have

// Cubic convolution (Keys 1981) of a raster, which is exact for quadratics, as log densities nearly
// are: `factor` times as many rows and columns. A raster of one row stays one row.
function finer(raster) {
  const factor = Math.max(2, Math.min(12, Math.round(FINE / raster.columns)));
  const columns = (raster.columns - 1) * factor + 1;
  const rows = (raster.rows - 1) * factor + 1;
  const wide = new Float32Array(raster.rows * columns);
  const values = new Float32Array(rows * columns);
  for (let row = 0; row < raster.rows; row++) {
    stretch(raster.values, row * raster.columns, 1, raster.columns, wide, row * columns, 1, factor);
  }
  for (let column = 0; column < columns; column++) {
    stretch(wide, column, columns, raster.rows, values, column, columns, factor);
  }
  return { ...raster, values, rows, columns, step: raster.step / factor };
}

// `count` numbers, `stride` apart, as factor · (count − 1) + 1 numbers.
function stretch(from, first, stride, count, to, start, step, factor) {
  const at = (k) => from[first + Math.max(0, Math.min(count - 1, k)) * stride];
  for (let k = 0; k < count; k++) {
    for (let part = 0; part < (k === count - 1 ? 1 : factor); part++) {
      const t = part / factor;
      const [a, b, c, d] = [at(k - 1), at(k), at(k + 1), at(k + 2)];
      const value = b + 0.5 * t * (c - a + t * (2 * a - 5 * b + 4 * c - d + t * (3 * (b - c) + d - a)));
      to[start + (k * factor + part) * step] = value;
    }
  }
}

// The levels of log density whose superlevel sets hold the given masses.
function massLevels(values, masses = MASSES) {
  const ordered = Float32Array.from(values).sort().reverse();
  const sum = ordered.reduce((all, value) => all + Math.exp(value - ordered[0]), 0);
  const levels = [];
  let held = 0;
  for (const value of ordered) {
    const density = Math.exp(value - ordered[0]);
    held += density;
    while (levels.length < masses.length && held - 0.5 * density >= masses[levels.length] * sum) levels.push(value);
    if (levels.length === masses.length) break;
  }
  return levels;
}

// Marching squares: pieces [x, y, x, y] of the line on which a raster has a level.
function contour(raster, level) {
  const { values, rows, columns, left, bottom, step } = raster;
  const pieces = [];
  for (let row = 0; row + 1 < rows; row++) {
    for (let column = 0; column + 1 < columns; column++) {
      const first = row * columns + column;
      const corners = [values[first], values[first + 1], values[first + columns + 1], values[first + columns]];
      const ends = crossings(corners, level).map(([x, y]) => [left + step * (column + x), bottom + step * (row + y)]);
      for (let k = 0; k + 1 < ends.length; k += 2) pieces.push([...ends[k], ...ends[k + 1]]);
    }
  }
  return pieces;
}

const CORNERS = [[0, 0], [1, 0], [1, 1], [0, 1]];

// Where the sides of a unit square cross a level: none, two or four places.
function crossings(corners, level) {
  const found = [];
  for (let k = 0; k < 4; k++) {
    const here = corners[k];
    const next = corners[(k + 1) % 4];
    if (here > level === next > level) continue;
    const t = (level - here) / (next - here);
    const [x, y] = CORNERS[k];
    const [u, v] = CORNERS[(k + 1) % 4];
    found.push([x + t * (u - x), y + t * (v - y)]);
  }
  return found;
}

// log density at a place by its four neighbours; −Infinity outside.
function valueAt({ values, rows, columns, left, bottom, step }, x, y) {
  const column = (x - left) / step;
  const row = rows === 1 ? 0 : (y - bottom) / step;
  const [c, r] = [Math.floor(column), Math.floor(row)];
  if (c < 0 || r < 0 || c + 1 >= columns || (rows > 1 && r + 1 >= rows)) return -Infinity;
  const [s, t] = [column - c, row - r];
  const above = rows > 1 ? columns : 0;
  const first = r * columns + c;
  const lower = (1 - s) * values[first] + s * values[first + 1];
  const upper = (1 - s) * values[first + above] + s * values[first + above + 1];
  return (1 - t) * lower + t * upper;
}

// What the page draws of a posterior.
function shapeOf(posterior) {
  const raster = finer(posterior.raster);
  const levels = massLevels(raster.values);
  const contours = raster.rows > 1 ? levels.map((level) => contour(raster, level)) : [];
  return { raster, levels, contours, mean: posterior.mean, covariance: posterior.covariance };
}

// The share of a q's samples that lie outside of the posterior's region of most mass.
function shareOutside(shape, q, count = 2000) {
  const noise = gaussians(count * q.mean.length, uniforms(7));
  const level = shape.levels[shape.levels.length - 1];
  let outside = 0;
  for (let s = 0; s < count; s++) {
    const z = gaussianSample(q, noise, s * q.mean.length);
    if (!(valueAt(shape.raster, z[0], z[1] ?? 0) >= level)) outside++;
  }
  return outside / count;
}
