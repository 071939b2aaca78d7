// The plane (or the line) decoded once on a lattice, and the log likelihood of an image all over it.

const LEVELS = 5; // how often the step may be halved
const UNIT = 1 << LEVELS; // the lattice's step in units of the finest one
const MOST_POINTS = 12000;
const STEP = { 1: 0.01, 2: 0.12 };
const LEAST_RADIUS = 6; // of the prior N(0, I) in two dimensions 2e-8 lies outside
const MARGIN = 1; // around the encoder's means
const CHUNK = 200; // points decoded at a time

// Points (i, j) times the step, within a circle that holds the encoder's means [N, Z].
function latticeOf(model, means) {
  let radius = LEAST_RADIUS;
  for (let first = 0; first < means.length; first += model.dims) {
    const norm = Math.hypot(...means.subarray(first, first + model.dims));
    radius = Math.max(radius, norm + MARGIN);
  }
  let step = STEP[model.dims];
  const count = model.dims === 2 ? Math.PI * (radius / step) ** 2 : (2 * radius) / step;
  if (count > MOST_POINTS) step *= (count / MOST_POINTS) ** (1 / model.dims);
  const half = Math.floor(radius / step);
  const across = model.dims === 2 ? half : 0;
  const places = [];
  for (let i = -half; i <= half; i++) {
    for (let j = -across; j <= across; j++) {
      if (Math.hypot(i, j) * step <= radius) places.push([i, j]);
    }
  }
  return new Lattice(model, step, half, places);
}

class Lattice {
  constructor(model, step, half, places) {
    this.model = model;
    this.step = step;
    this.count = places.length;
    this.i = Int32Array.from(places, (place) => UNIT * place[0]);
    this.j = Int32Array.from(places, (place) => UNIT * place[1]);
    this.index = new Map(places.map((_, g) => [keyOf(this.i[g], this.j[g]), g]));
    this.logits = new Float32Array(model.pixels * this.count); // pixel by pixel
    this.softplus = new Float64Array(this.count); // summed over pixels
    this.logPrior = Float64Array.from(places, (_, g) => standardGaussianLogDensity(this.z(this.i[g], this.j[g])));
    this.edge = half * step;
    this.filled = 0;
  }

  // The z of a place in finest units.
  z(i, j) {
    const unit = this.step / UNIT;
    return this.model.dims === 2 ? [i * unit, j * unit] : [i * unit];
  }

  get ready() {
    return this.filled === this.count;
  }

  // Decode some more points; returns the share that is done.
  fill() {
    const { model, count } = this;
    const last = Math.min(count, this.filled + CHUNK);
    const some = last - this.filled;
    const z = new Float64Array(some * model.dims);
    for (let s = 0; s < some; s++) z.set(this.z(this.i[this.filled + s], this.j[this.filled + s]), s * model.dims);
    const logits = decode(model, z, some);
    for (let s = 0; s < some; s++) {
      const g = this.filled + s;
      this.softplus[g] = sumOfSoftplus(logits, null, s * model.pixels, model.pixels);
      for (let d = 0; d < model.pixels; d++) this.logits[d * count + g] = logits[s * model.pixels + d];
    }
    this.filled = last;
    return this.filled / count;
  }

  // The decoder's logits at a point of the lattice.
  logitsAt(g) {
    const logits = new Float32Array(this.model.pixels);
    for (let d = 0; d < logits.length; d++) logits[d] = this.logits[d * this.count + g];
    return logits;
  }
}

// One number for two integers of at most 15 bits and a sign.
function keyOf(i, j) {
  return (i + 32768) * 65536 + (j + 32768);
}

// log p(x | z) of one image at every point, kept up to date pixel by pixel: a stroke of a pen
// changes few of them. Starts from an empty image that is seen whole.
class Tracker {
  constructor(lattice) {
    this.lattice = lattice;
    this.x = new Uint8Array(lattice.model.pixels);
    this.seen = new Uint8Array(lattice.model.pixels).fill(1);
    this.values = lattice.softplus.map((sum) => -sum);
  }

  update(x, seen = null) {
    const { count, logits } = this.lattice;
    const { values } = this;
    for (let d = 0; d < x.length; d++) {
      const shown = seen === null || seen[d] ? 1 : 0;
      const before = this.x[d] * this.seen[d];
      const change = x[d] * shown - before;
      const first = d * count;
      if (change !== 0) for (let g = 0; g < count; g++) values[g] += change * logits[first + g];
      const sign = this.seen[d] - shown;
      if (sign !== 0) for (let g = 0; g < count; g++) values[g] += sign * softplus(logits[first + g]);
      this.x[d] = x[d];
      this.seen[d] = shown;
    }
    return values;
  }
}

// Logits at points between those of the lattice, kept for the images that come next.
class Between {
  constructor(lattice, most = 8000) {
    this.lattice = lattice;
    this.most = most;
    this.known = new Map();
  }

  // Make room; no answer that is still being made may rely on what was known.
  forget() {
    if (this.known.size > this.most) this.known.clear();
  }

  // Those of the places [i, j] that would have to be decoded.
  lacking(places) {
    return places.filter(([i, j]) => !this.known.has(keyOf(i, j)) && !this.lattice.index.has(keyOf(i, j)));
  }

  // Decode those of the places that are not known yet; returns how many there were.
  learn(places) {
    const { lattice, known } = this;
    const missing = this.lacking(places);
    const { dims, pixels } = lattice.model;
    for (let first = 0; first < missing.length; first += CHUNK) {
      const some = missing.slice(first, first + CHUNK);
      const logits = decode(lattice.model, Float64Array.from(some.flatMap(([i, j]) => lattice.z(i, j))), some.length);
      some.forEach(([i, j], s) => {
        const own = Float32Array.from(logits.subarray(s * pixels, (s + 1) * pixels));
        known.set(keyOf(i, j), { logits: own, softplus: sumOfSoftplus(own) });
      });
    }
    return missing.length;
  }

  logitsAt(i, j) {
    const g = this.lattice.index.get(keyOf(i, j));
    return g === undefined ? this.known.get(keyOf(i, j)).logits : this.lattice.logitsAt(g);
  }

  // log p(x, z) at a place that is known; the tracker has it if the place is of the lattice.
  logJoint(i, j, tracker, inked, seen) {
    const { lattice } = this;
    const g = lattice.index.get(keyOf(i, j));
    if (g !== undefined) return tracker.values[g] + lattice.logPrior[g];
    const { logits, softplus: total } = this.known.get(keyOf(i, j));
    let sum = standardGaussianLogDensity(lattice.z(i, j));
    for (const d of inked) sum += logits[d];
    return sum - (seen === null ? total : sumOfSoftplus(logits, seen));
  }
}
