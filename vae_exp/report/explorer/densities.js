// Log densities in nats, in double precision.

const LOG_2PI = Math.log(2 * Math.PI);
const FACTORS = 500; // of at most 2 each: their product stays below the largest double, 2^1024

function sigmoid(a) {
  return 1 / (1 + Math.exp(-a));
}

// log(1 + exp(a)).
function softplus(a) {
  return Math.max(a, 0) + Math.log1p(Math.exp(-Math.abs(a)));
}

// Σ_i softplus(logit_i) over the pixels that are seen, or over all of them. A logarithm is taken
// once for many pixels: Σ log(1 + e_i) = log Π (1 + e_i).
function sumOfSoftplus(logits, seen = null, first = 0, count = logits.length) {
  let sum = 0;
  let product = 1;
  let factors = 0;
  for (let i = 0; i < count; i++) {
    if (seen !== null && !seen[i]) continue;
    const a = logits[first + i];
    if (a > 0) sum += a;
    product *= 1 + Math.exp(a > 0 ? -a : a);
    if (++factors === FACTORS) {
      sum += Math.log(product);
      product = 1;
      factors = 0;
    }
  }
  return sum + Math.log(product);
}

// log p(x | z) = Σ_i x_i logit_i − softplus(logit_i), over the pixels that are seen.
function bernoulliLogDensity(logits, x, seen = null, first = 0) {
  let sum = 0;
  for (let i = 0; i < x.length; i++) {
    if (x[i] && (seen === null || seen[i])) sum += logits[first + i];
  }
  return sum - sumOfSoftplus(logits, seen, first, x.length);
}

// log N(z; 0, I).
function standardGaussianLogDensity(z) {
  let sum = 0;
  for (const coordinate of z) sum -= 0.5 * (LOG_2PI + coordinate * coordinate);
  return sum;
}

// q(z) = N(mean, L Lᵀ); L is lower triangular, row by row, and its diagonal is exp(log_std).
function gaussian(mean, logStd, lower = null) {
  const dims = mean.length;
  const scale = new Float64Array(dims * dims);
  let entry = 0;
  for (let i = 0; i < dims; i++) {
    const std = Math.exp(logStd[i]);
    scale[i * dims + i] = std;
    for (let j = 0; j < i; j++) scale[i * dims + j] = lower === null ? 0 : std * lower[entry++];
  }
  return { mean: Float64Array.from(mean), logStd: Float64Array.from(logStd), scale };
}

// What the encoder says of one image as a q of the family "diagonal" or "full".
function gaussianOf(parameters, dims, family) {
  const mean = parameters.slice(0, dims);
  const logStd = parameters.slice(dims, 2 * dims);
  return gaussian(mean, logStd, family === "full" ? parameters.slice(2 * dims) : null);
}

// z = mean + L ε.
function gaussianSample(q, noise, first = 0) {
  const dims = q.mean.length;
  return q.mean.map((mean, i) => {
    let z = mean;
    for (let j = 0; j <= i; j++) z += q.scale[i * dims + j] * noise[first + j];
    return z;
  });
}

function gaussianLogDensity(q, z) {
  const dims = q.mean.length;
  const noise = new Float64Array(dims);
  let sum = 0;
  for (let i = 0; i < dims; i++) {
    let rest = z[i] - q.mean[i];
    for (let j = 0; j < i; j++) rest -= q.scale[i * dims + j] * noise[j];
    noise[i] = rest / q.scale[i * dims + i];
    sum -= q.logStd[i];
  }
  return sum + standardGaussianLogDensity(noise);
}

function gaussianEntropy(q) {
  let sum = 0;
  for (const logStd of q.logStd) sum += logStd + 0.5 * (1 + LOG_2PI);
  return sum;
}

// KL(q ‖ N(0, I)) = ½ Σ (mean² + Σ_j L_ij² − 1) − Σ log_std.
function gaussianKlToStandard(q) {
  let sum = 0;
  for (const entry of q.scale) sum += 0.5 * entry * entry;
  for (let i = 0; i < q.mean.length; i++) sum += 0.5 * (q.mean[i] ** 2 - 1) - q.logStd[i];
  return sum;
}

function logSumExp(values) {
  let top = -Infinity;
  for (const value of values) if (value > top) top = value;
  if (top === -Infinity) return top;
  let sum = 0;
  for (const value of values) sum += Math.exp(value - top);
  return top + Math.log(sum);
}
