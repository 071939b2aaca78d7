// The Gaussian q of the encoder's family that is best for one image: its ELBO at its highest.
//
// Gradients are expectations of log p(x, z) alone (Stein's lemma), so no network is differentiated:
// E ∇f = L⁻ᵀ E[ε f] and E ∇²f = L⁻ᵀ E[(ε εᵀ − I) f] L⁻¹. A step moves the precision towards
// −E ∇²f and the mean by Σ E ∇f (Khan & Rue 2023, arXiv:2107.04562).

const FIT_NODES = 8;
const FIT_STEPS = 40;
const SMALLEST_STEP = 0.02;
const SETTLED = 1e-4; // nats

// The best of the fits from several starts: { q, elbo } by Gauss–Hermite.
function bestGaussian(model, x, starts, seen = null) {
  const fits = starts.map((start) => climbed(model, x, start, seen));
  return fits.reduce((best, fit) => (fit.elbo > best.elbo ? fit : best));
}

function climbed(model, x, start, seen) {
  const rule = hermiteProduct(FIT_NODES, model.dims);
  let now = scored(model, x, start, rule, seen);
  let rate = 0.5;
  for (let step = 0; step < FIT_STEPS && rate > SMALLEST_STEP; step++) {
    const q = moved(now, rule, rate, model.family);
    const next = q === null ? null : scored(model, x, q, rule, seen);
    if (next === null || !(next.elbo > now.elbo)) {
      rate /= 2;
      continue;
    }
    const gained = next.elbo - now.elbo;
    now = next;
    if (gained < SETTLED) break;
    rate = Math.min(1, 1.3 * rate);
  }
  return now;
}

function scored(model, x, q, { noise, weights }, seen) {
  const z = gaussianSamples(q, noise);
  const values = logLikelihoods(model, x, z, weights.length, seen);
  values.forEach((_, s) => {
    values[s] += standardGaussianLogDensity(z.subarray(s * model.dims, (s + 1) * model.dims));
  });
  const mean = values.reduce((sum, value, s) => sum + weights[s] * value, 0);
  return { q, values, elbo: mean + gaussianEntropy(q) };
}

// A natural-gradient step; null if it leads to no Gaussian.
function moved({ q, values }, { noise, weights }, rate, family) {
  const dims = q.mean.length;
  const gradient = new Float64Array(dims); // E[ε f]
  const bend = new Float64Array(dims * dims); // E[(ε εᵀ − I) f]
  for (let s = 0; s < weights.length; s++) {
    const held = weights[s] * values[s];
    for (let a = 0; a < dims; a++) {
      const first = noise[s * dims + a];
      gradient[a] += held * first;
      for (let b = 0; b < dims; b++) {
        bend[a * dims + b] += held * (first * noise[s * dims + b] - (a === b ? 1 : 0));
      }
    }
  }
  // In the noise's own coordinates the old precision is I.
  const precision = bend.map((value, entry) => {
    const own = entry % (dims + 1) === 0 ? 1 : 0;
    return family === "full" || own ? (1 - rate) * own - rate * value : 0;
  });
  const factor = choleskyOfInverse(precision, dims);
  if (factor === null) return null;
  const shift = timesTransposed(factor, gradient, dims); // the new covariance times the gradient
  const mean = q.mean.map((value, a) => {
    let sum = value;
    for (let b = 0; b <= a; b++) sum += rate * q.scale[a * dims + b] * shift[b];
    return sum;
  });
  return withScale(mean, product(q.scale, factor, dims));
}

// The lower triangular L with L Lᵀ = P⁻¹ of a matrix of one or two rows; null if P is not positive.
function choleskyOfInverse(matrix, dims) {
  if (dims === 1) return matrix[0] > 0 ? Float64Array.of(matrix[0] ** -0.5) : null;
  const [a, b, , c] = matrix;
  const determinant = a * c - b * b;
  if (!(a > 0 && determinant > 0)) return null;
  const first = Math.sqrt(c / determinant);
  const below = -b / determinant / first;
  return Float64Array.of(first, 0, below, Math.sqrt(a / determinant - below * below));
}

// L Lᵀ v.
function timesTransposed(scale, v, dims) {
  const inner = new Float64Array(dims);
  const outer = new Float64Array(dims);
  for (let a = 0; a < dims; a++) for (let b = 0; b < dims; b++) inner[b] += scale[a * dims + b] * v[a];
  for (let a = 0; a < dims; a++) for (let b = 0; b < dims; b++) outer[a] += scale[a * dims + b] * inner[b];
  return outer;
}

function product(one, other, dims) {
  const result = new Float64Array(dims * dims);
  for (let a = 0; a < dims; a++) {
    for (let b = 0; b < dims; b++) {
      for (let k = 0; k < dims; k++) result[a * dims + b] += one[a * dims + k] * other[k * dims + b];
    }
  }
  return result;
}

function withScale(mean, scale) {
  const dims = mean.length;
  return { mean, scale, logStd: mean.map((_, a) => Math.log(scale[a * (dims + 1)])) };
}

// The Gaussian with the moments of a posterior; of the family "diagonal" without its covariance.
function gaussianFromMoments(mean, covariance, family) {
  const dims = mean.length;
  const kept = Float64Array.from(covariance, (value, entry) => (family === "full" || entry % (dims + 1) === 0 ? value : 0));
  if (dims === 1) return withScale(Float64Array.from(mean), Float64Array.of(Math.sqrt(kept[0])));
  const first = Math.sqrt(kept[0]);
  const below = kept[2] / first;
  return withScale(Float64Array.from(mean), Float64Array.of(first, 0, below, Math.sqrt(kept[3] - below * below)));
}
