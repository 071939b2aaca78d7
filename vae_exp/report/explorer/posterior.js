// The exact p(z | x) of one image, and log p(x): sums over a lattice that is refined where the
// posterior's mass lies, until halving the step no longer matters. For a smooth density of width σ
// a lattice of step h is off by about 2 exp(−2π²σ²/h²) an axis, so each halving takes the error to
// its fourth power if the density is as narrow in one direction as in the others. What a halving
// changed is the error before it; to the power 1.5 it is a careful guess of the error after it.

const DROPPED = 12; // nats below the peak at which the lattice is no longer refined
const FLOOR = 30; // nats below the peak that a picture shows at places without a value
const RESOLVED = { 1: 5, 2: 16 }; // points within three standard deviations that make a sum a sum
const THREE_SIGMA = 4.5; // nats
const MOST_PLACES = 6000; // of a level: a posterior as wide as this is summed well before
const AT_THE_EDGE = 1; // halvings of the step, if mass lies beyond what was decoded anyway

// `log_p_x` and its `error` in nats, the points with their weights, the moments. `budget` is the
// number of z that may be decoded before the best answer so far is returned, as `unfinished`; with
// `ahead` it is spent on the level that is too large for it, so that the same question goes on there.
function posteriorOf(lattice, between, tracker, { seen = null, tolerance = 5e-4, budget = Infinity, ahead = false, levels = LEVELS } = {}) {
  const inked = [];
  tracker.x.forEach((value, d) => {
    if (value && tracker.seen[d]) inked.push(d);
  });
  let level = coarsest(lattice, tracker.values);
  let error = errorAfter(level, movedFromCoarser(lattice, level), lattice.model.dims);
  let spent = 0;
  let unfinished = false;
  for (let depth = 1; depth <= levels && error > tolerance; depth++) {
    if (depth > AT_THE_EDGE && reachesEdge(lattice, level)) break;
    const places = refinedPlaces(level, lattice.model.dims);
    if (places.length > MOST_PLACES) break;
    const lacking = between.lacking(places);
    if (spent + lacking.length > budget) {
      if (ahead) between.learn(lacking.slice(0, budget - spent));
      unfinished = true;
      break;
    }
    spent += between.learn(lacking);
    const finer = finerLevel(level, places, lattice, (i, j) => between.logJoint(i, j, tracker, inked, seen));
    error = errorAfter(finer, Math.abs(finer.total - level.total), lattice.model.dims);
    level = finer;
  }
  return { ...summary(lattice, level, error), unfinished };
}

// Whether a place that matters lies at the border of what was decoded.
function reachesEdge(lattice, { values, peak }) {
  for (const [key, value] of values) {
    if (value > peak - DROPPED / 2 && Math.hypot(...lattice.z(...placeOf(key))) > lattice.edge - lattice.step) return true;
  }
  return false;
}

// The lattice itself: values of log p(x, z) by place, and the log of their integral.
function coarsest(lattice, logLikelihood) {
  const values = new Map();
  let peak = -Infinity;
  for (let g = 0; g < lattice.count; g++) {
    const value = logLikelihood[g] + lattice.logPrior[g];
    values.set(keyOf(lattice.i[g], lattice.j[g]), value);
    if (value > peak) peak = value;
  }
  const total = logSumExp([...values.values()]) + lattice.model.dims * Math.log(lattice.step);
  return { values, peak, total, stride: UNIT, rest: -Infinity };
}

function placeOf(key) {
  return [Math.floor(key / 65536) - 32768, (key % 65536) - 32768];
}

// Around each point whose cell may hold mass: the points at half the step.
function refinedPlaces(level, dims) {
  const { values, peak, stride } = level;
  const half = stride / 2;
  const across = dims === 2 ? [-half, 0, half] : [0];
  const places = new Map();
  for (const [key, value] of values) {
    if (value < peak - DROPPED && highestNear(level, key, dims) < peak - DROPPED) continue;
    const [i, j] = placeOf(key);
    for (const di of [-half, 0, half]) {
      for (const dj of across) places.set(keyOf(i + di, j + dj), [i + di, j + dj]);
    }
  }
  return [...places.values()];
}

// What a concave quadratic can reach between a point and its neighbours: ¼ of the second
// differences above the point.
function highestNear({ values, stride }, key, dims) {
  const [i, j] = placeOf(key);
  const value = values.get(key);
  let bend = 0;
  for (const [di, dj] of dims === 2 ? [[stride, 0], [0, stride]] : [[stride, 0]]) {
    const one = values.get(keyOf(i + di, j + dj));
    const other = values.get(keyOf(i - di, j - dj));
    if (one !== undefined && other !== undefined) bend += Math.abs(one + other - 2 * value);
  }
  return value + 0.25 * bend;
}

// The sum at half the step, and what the points that were left out hold.
function finerLevel(level, places, lattice, logJoint) {
  const stride = level.stride / 2;
  const values = new Map();
  let peak = -Infinity;
  for (const [i, j] of places) {
    const key = keyOf(i, j);
    const known = level.values.get(key);
    const value = known === undefined ? logJoint(i, j) : known;
    values.set(key, value);
    if (value > peak) peak = value;
  }
  const left = [];
  for (const [key, value] of level.values) if (!values.has(key)) left.push(value);
  const rest = logSumExp([level.rest, logSumExp(left) + logCell(lattice, level.stride)]);
  const total = logSumExp([logSumExp([...values.values()]) + logCell(lattice, stride), rest]);
  return { values, peak, total, stride, rest };
}

function logCell(lattice, stride) {
  return lattice.model.dims * Math.log((lattice.step * stride) / UNIT);
}

function errorAfter(level, moved, dims) {
  return resolved(level, dims) && moved < 1 ? moved ** 1.5 : Infinity;
}

// Every second point an axis is a lattice of twice the step: by how much those sums differ.
function movedFromCoarser(lattice, level) {
  const parts = Array.from({ length: 2 ** lattice.model.dims }, () => []);
  for (const [key, value] of level.values) {
    if (value < level.peak - FLOOR) continue;
    const [i, j] = placeOf(key);
    parts[((i / UNIT) & 1) + (lattice.model.dims === 2 ? 2 * ((j / UNIT) & 1) : 0)].push(value);
  }
  const cell = logCell(lattice, 2 * UNIT);
  return Math.max(...parts.map((part) => Math.abs(logSumExp(part) + cell - level.total)));
}

function resolved({ values, peak }, dims) {
  let near = 0;
  for (const value of values.values()) if (value > peak - THREE_SIGMA) near++;
  return near >= RESOLVED[dims];
}

function summary(lattice, level, error) {
  const dims = lattice.model.dims;
  const places = [];
  const weights = [];
  for (const [key, value] of level.values) {
    if (value < level.peak - DROPPED) continue;
    const place = placeOf(key);
    places.push(place);
    weights.push(Math.exp(value - level.peak));
  }
  const atEdge = reachesEdge(lattice, level);
  const sum = weights.reduce((all, weight) => all + weight, 0);
  weights.forEach((weight, p) => (weights[p] = weight / sum));
  const z = places.map((place) => lattice.z(...place));
  const mean = Array.from({ length: dims }, (_, a) => expectation(weights, (p) => z[p][a]));
  const covariance = Array.from({ length: dims * dims }, (_, entry) => {
    const a = Math.floor(entry / dims);
    const b = entry % dims;
    return expectation(weights, (p) => (z[p][a] - mean[a]) * (z[p][b] - mean[b]));
  });
  return {
    logPx: level.total,
    error: atEdge ? Infinity : error,
    atEdge,
    step: (lattice.step * level.stride) / UNIT,
    places,
    weights,
    mean,
    covariance,
    raster: rasterOf(lattice, level, places),
  };
}

function expectation(weights, f) {
  let sum = 0;
  for (let p = 0; p < weights.length; p++) sum += weights[p] * f(p);
  return sum;
}

// The highest places of a posterior, none of which has a higher neighbour: at most `most` of them.
function modesOf({ places, weights, step }, lattice, most) {
  const stride = Math.round((step * UNIT) / lattice.step);
  const known = new Map(places.map(([i, j], p) => [keyOf(i, j), weights[p]]));
  const steps = [-stride, 0, stride];
  const isMode = ([i, j], p) =>
    steps.every((di) => steps.every((dj) => !(known.get(keyOf(i + di, j + dj)) > weights[p])));
  const found = places.map((_, p) => p).filter((p) => isMode(places[p], p));
  return found.sort((one, other) => weights[other] - weights[one]).slice(0, most).map((p) => lattice.z(...places[p]));
}

// log p(z | x) on a rectangle that holds the mass, for pictures: `values` [rows, columns] at
// (left + step · column, bottom + step · row).
function rasterOf(lattice, level, places) {
  const { stride, values, peak, total } = level;
  const low = [Infinity, Infinity];
  const high = [-Infinity, -Infinity];
  for (const place of places) {
    for (let a = 0; a < 2; a++) {
      low[a] = Math.min(low[a], place[a]);
      high[a] = Math.max(high[a], place[a]);
    }
  }
  const margin = lattice.model.dims === 2 ? stride : 0;
  const columns = Math.round((high[0] - low[0]) / stride) + 3;
  const rows = Math.round((high[1] - low[1] + 2 * margin) / stride) + 1;
  const grid = new Float32Array(rows * columns);
  for (let row = 0; row < rows; row++) {
    for (let column = 0; column < columns; column++) {
      const key = keyOf(low[0] + (column - 1) * stride, low[1] - margin + row * stride);
      const value = values.get(key);
      grid[row * columns + column] = Math.max(value === undefined ? -Infinity : value, peak - FLOOR) - total;
    }
  }
  const unit = lattice.step / UNIT;
  return {
    values: grid,
    rows,
    columns,
    step: stride * unit,
    left: (low[0] - stride) * unit,
    bottom: (low[1] - margin) * unit,
  };
}
