// The ELBO of a q: by Gauss–Hermite rules in one or two dimensions, else from given noise.

const AT_A_TIME = 64; // z that are decoded together
const MOST_NODES = { 1: 150, 2: 36 }; // an axis
const NEGLIGIBLE_WEIGHT = 1e-10; // of a node; log p(x, z) is some hundreds of nats

// Nodes and weights of E f(ε), ε ~ N(0, 1): Newton's method on the orthonormal Hermite functions.
function gaussHermite(count) {
  const nodes = new Float64Array(count);
  const weights = new Float64Array(count);
  let root = 0;
  for (let i = 0; i < (count + 1) >> 1; i++) {
    root = firstGuess(i, count, root, nodes);
    let slope = 1;
    for (let round = 0; round < 50; round++) {
      const [value, below] = hermite(count, root);
      slope = Math.sqrt(2 * count) * below;
      root -= value / slope;
      if (Math.abs(value / slope) < 1e-15) break;
    }
    nodes[i] = root;
    weights[i] = 2 / (slope * slope);
    nodes[count - 1 - i] = -root;
    weights[count - 1 - i] = weights[i];
  }
  return {
    nodes: nodes.map((node) => node * Math.SQRT2),
    weights: weights.map((weight) => weight / Math.sqrt(Math.PI)),
  };
}

// From the largest root down (Press et al., Numerical Recipes, gauher).
function firstGuess(i, count, last, roots) {
  if (i === 0) return Math.sqrt(2 * count + 1) - 1.85575 * (2 * count + 1) ** (-1 / 6);
  if (i === 1) return last - (1.14 * count ** 0.426) / last;
  if (i === 2) return 1.86 * last - 0.86 * roots[0];
  if (i === 3) return 1.91 * last - 0.91 * roots[1];
  return 2 * last - roots[i - 2];
}

// The orthonormal Hermite polynomials of degrees count and count − 1.
function hermite(count, z) {
  let value = Math.PI ** -0.25;
  let below = 0;
  for (let j = 0; j < count; j++) {
    const next = z * Math.sqrt(2 / (j + 1)) * value - Math.sqrt(j / (j + 1)) * below;
    below = value;
    value = next;
  }
  return [value, below];
}

// Every point of a product of rules with its weight: noise [count, Z], weights [count].
function hermiteProduct(nodes, dims) {
  const rule = gaussHermite(nodes);
  const noise = [];
  const weights = [];
  for (let place = 0; place < nodes ** dims; place++) {
    const at = Array.from({ length: dims }, (_, i) => Math.floor(place / nodes ** i) % nodes);
    const weight = at.reduce((product, i) => product * rule.weights[i], 1);
    if (weight < NEGLIGIBLE_WEIGHT) continue;
    for (const i of at) noise.push(rule.nodes[i]);
    weights.push(weight);
  }
  return { noise: Float64Array.from(noise), weights: Float64Array.from(weights) };
}

// log p(x | z_s) of z [count, Z], of the pixels that are seen.
function logLikelihoods(model, x, z, count, seen = null) {
  const found = new Float64Array(count);
  for (let first = 0; first < count; first += AT_A_TIME) {
    const some = Math.min(AT_A_TIME, count - first);
    const logits = decode(model, z.subarray(first * model.dims, (first + some) * model.dims), some);
    for (let s = 0; s < some; s++) {
      found[first + s] = bernoulliLogDensity(logits, x, seen, s * model.pixels);
    }
  }
  return found;
}

// z_s = mean + L ε_s of noise [count, Z]: [count, Z].
function gaussianSamples(q, noise) {
  const dims = q.mean.length;
  const z = new Float64Array(noise.length);
  for (let first = 0; first < noise.length; first += dims) {
    z.set(gaussianSample(q, noise, first), first);
  }
  return z;
}

// E_q log p(x | z) − KL(q ‖ p(z)), the first term from noise [S, Z].
function elboGivenNoise(model, q, x, noise, seen = null) {
  const count = noise.length / model.dims;
  const values = logLikelihoods(model, x, gaussianSamples(q, noise), count, seen);
  const mean = values.reduce((sum, value) => sum + value, 0) / count;
  const square = values.reduce((sum, value) => sum + (value - mean) ** 2, 0) / (count - 1);
  return { value: mean - gaussianKlToStandard(q), error: Math.sqrt(square / count) };
}

// The same without Monte Carlo: nodes^Z points.
function elboByHermite(model, q, x, nodes, seen = null) {
  const { noise, weights } = hermiteProduct(nodes, model.dims);
  const values = logLikelihoods(model, x, gaussianSamples(q, noise), weights.length, seen);
  const mean = values.reduce((sum, value, s) => sum + weights[s] * value, 0);
  return mean - gaussianKlToStandard(q);
}

// By ever finer rules until the value moves by less than the tolerance. A single rule has no error.
function elboOf(model, q, x, { seen = null, tolerance = 2e-3, most = MOST_NODES[model.dims], nodes = 6 } = {}) {
  if (model.dims > 2) {
    return { ...elboGivenNoise(model, q, x, model.noise, seen), how: `${model.noise.length / model.dims} samples` };
  }
  let used = nodes;
  let value = elboByHermite(model, q, x, used, seen);
  let error = Infinity;
  while (error > tolerance && 2 * used < most) {
    used = 2 * used + 1;
    const finer = elboByHermite(model, q, x, used, seen);
    error = Math.abs(finer - value);
    value = finer;
  }
  return { value, error, how: `Gauss–Hermite, ${used} nodes an axis` };
}
