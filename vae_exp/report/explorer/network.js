// Fully connected networks, from the weights that the page carries.

const ERF_TERMS = [0.254829592, -0.284496736, 1.421413741, -1.453152027, 1.061405429];

const ACTIVATIONS = {
  tanh: (a) => 1 - 2 / (Math.exp(2 * a) + 1),
  relu: (a) => Math.max(a, 0),
  gelu: (a) => 0.5 * a * (1 + errorFunction(a / Math.SQRT2)),
  softplus,
};

// erf to 1.5e-7 (Abramowitz & Stegun 7.1.26), as near as single precision.
function errorFunction(a) {
  const t = 1 / (1 + 0.3275911 * Math.abs(a));
  const series = ERF_TERMS.reduceRight((sum, term) => (sum + term) * t, 0);
  return Math.sign(a) * (1 - series * Math.exp(-a * a));
}

function networkOf(steps) {
  return steps.map((step) => {
    if (step.kind === "residual") return { kind: step.kind, steps: networkOf(step.steps) };
    if (step.kind !== "linear") return { kind: step.kind };
    return { ...step, weight: doublesOf(step.weight), bias: doublesOf(step.bias) };
  });
}

// inputs [count, I] row by row -> [count, O].
function forward(network, inputs, count = 1) {
  let values = inputs;
  for (const step of network) {
    if (step.kind === "linear") values = linear(step, values, count);
    else if (step.kind === "residual") values = added(values, forward(step.steps, values, count));
    else values = values.map(ACTIVATIONS[step.kind]);
  }
  return values;
}

function added(one, other) {
  return one.map((value, i) => value + other[i]);
}

function linear(step, inputs, count) {
  const outputs = new Float64Array(count * step.outputs);
  if (count === 1) oneTimesMatrix(step, inputs, outputs);
  else manyTimesMatrix(step, inputs, count, outputs);
  return outputs;
}

// Pixels are mostly 0, which is cheap to see for a single image.
function oneTimesMatrix({ weight, bias, inputs: width, outputs: height }, x, y) {
  const held = [];
  for (let k = 0; k < width; k++) if (x[k] !== 0) held.push(k);
  for (let o = 0; o < height; o++) {
    const row = o * width;
    let sum = bias[o];
    for (const k of held) sum += weight[row + k] * x[k];
    y[o] = sum;
  }
}

// Two inputs times four rows at once: each number that is read serves several products.
function manyTimesMatrix({ weight, bias, inputs: width, outputs: height }, x, count, y) {
  const last = height - (height % 4);
  for (let p = 0; p < count; p += 2) {
    const first = p * width;
    const second = p + 1 < count ? first + width : first;
    const out = p * height;
    const outSecond = p + 1 < count ? out + height : out;
    for (let o = 0; o < last; o += 4) {
      const r0 = o * width;
      const r1 = r0 + width;
      const r2 = r1 + width;
      const r3 = r2 + width;
      let a0 = bias[o];
      let a1 = bias[o + 1];
      let a2 = bias[o + 2];
      let a3 = bias[o + 3];
      let b0 = a0;
      let b1 = a1;
      let b2 = a2;
      let b3 = a3;
      for (let k = 0; k < width; k++) {
        const u = x[first + k];
        const v = x[second + k];
        const w0 = weight[r0 + k];
        const w1 = weight[r1 + k];
        const w2 = weight[r2 + k];
        const w3 = weight[r3 + k];
        a0 += w0 * u;
        a1 += w1 * u;
        a2 += w2 * u;
        a3 += w3 * u;
        b0 += w0 * v;
        b1 += w1 * v;
        b2 += w2 * v;
        b3 += w3 * v;
      }
      y[out + o] = a0;
      y[out + o + 1] = a1;
      y[out + o + 2] = a2;
      y[out + o + 3] = a3;
      y[outSecond + o] = b0;
      y[outSecond + o + 1] = b1;
      y[outSecond + o + 2] = b2;
      y[outSecond + o + 3] = b3;
    }
    for (let o = last; o < height; o++) {
      for (const [start, place] of [[first, out], [second, outSecond]]) {
        let sum = bias[o];
        for (let k = 0; k < width; k++) sum += weight[o * width + k] * x[start + k];
        y[place + o] = sum;
      }
    }
  }
}

// The model: its sizes, its two networks, and the family of its q.
function modelOf(payload) {
  return {
    dims: payload.latent_dim,
    pixels: payload.height * payload.width,
    height: payload.height,
    width: payload.width,
    family: payload.family,
    encoder: networkOf(payload.encoder),
    decoder: networkOf(payload.decoder),
    noise: doublesOf(payload.noise),
  };
}

// The encoder's q(z | x). Pixels that are not seen are fed as zeros: a mistake, shown as one.
function encode(model, x, seen = null) {
  const fed = Float64Array.from(x, (value, i) => (seen === null || seen[i] ? value : 0));
  return gaussianOf(forward(model.encoder, fed), model.dims, model.family);
}

// z [count, Z] -> logits [count, D].
function decode(model, z, count = 1) {
  return forward(model.decoder, z, count);
}
