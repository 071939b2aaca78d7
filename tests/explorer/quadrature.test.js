const test = require("node:test");
const assert = require("node:assert/strict");
const { modules, values, near } = require("./values.js");

test("Gauss–Hermite rules are NumPy's", () => {
  for (const { count, nodes, weights } of values.hermite) {
    const rule = modules.gaussHermite(count);
    const order = [...rule.nodes.keys()].sort((one, other) => rule.nodes[one] - rule.nodes[other]);
    near(order.map((k) => rule.nodes[k]), nodes, 1e-11);
    near(order.map((k) => rule.weights[k]), weights, 1e-11);
  }
});

test("every activation and the residual block are PyTorch's", () => {
  for (const { steps, inputs, outputs } of values.networks) {
    const network = modules.networkOf(steps);
    near([...modules.forward(network, Float64Array.from(inputs.flat()), inputs.length)], outputs.flat(), 1e-5);
    near([...modules.forward(network, Float64Array.from(inputs[0]))], outputs[0], 1e-5);
  }
});

for (const [index, { name, payload, images, seen, log_p_x, log_p_hidden, elbo, elbo_given_noise, best }] of values.models.entries()) {
  const inference = new modules.Inference(payload);
  while (inference.lattice !== null && !inference.ready) inference.lattice.fill();

  test(`${name}: log p(x), log p(hidden | visible) and both ELBOs are Python's`, () => {
    images.forEach((x, n) => {
      const whole = inference.answer({ x });
      near(whole.posterior.logPx, log_p_x[n], 1e-3);
      assert.ok(whole.posterior.error < 1e-3);
      near(whole.elbo.value, elbo[n], 5e-3);
      near(modules.elboGivenNoise(inference.model, whole.q, x, inference.model.noise).value, elbo_given_noise[n], 1e-3);
      const part = inference.answer({ x, seen });
      near(part.hidden.logPHidden, log_p_hidden[n], 2e-3);
    });
  });

  test(`${name}: pixels changed one by one lead to the same posterior as all at once`, () => {
    const [from, to] = images;
    const x = Uint8Array.from(from);
    inference.answer({ x });
    for (let d = 0; d < x.length; d++) {
      x[d] = to[d];
      inference.answer({ x, quick: true });
    }
    near(inference.answer({ x }).posterior.logPx, log_p_x[1], 1e-3);
  });

  test(`${name}: an answer in slices ends as the one in one go, and each slice is small`, () => {
    for (const hidden of [null, seen]) {
      inference.between.known.clear();
      const { posterior: whole } = inference.answer({ x: images[0], seen: hidden });
      inference.between.known.clear();
      let [answer, slices, known] = [null, 0, 0];
      do {
        answer = inference.answer({ x: images[0], seen: hidden, slice: 20, more: slices > 0 });
        assert.ok(inference.between.known.size <= known + (hidden === null ? 20 : 40));
        known = inference.between.known.size;
        slices += 1;
      } while (answer.unfinished);
      assert.equal(answer.posterior.logPx, whole.logPx);
      assert.ok(known <= 20 || slices > 1);
    }
  });

  test(`${name}: the best q is no worse than the one that SVI finds`, () => {
    images.forEach((x, n) => {
      const { elbo: found } = inference.fitted({ x });
      assert.ok(found.value > best[n] - 0.02, `${index}, image ${n}: ${found.value} < ${best[n]}`);
      assert.ok(found.value < log_p_x[n] + 1e-3);
    });
  });
}

test("the posterior's moments and its contours are those of a Gaussian", () => {
  const { raster, mean, covariance } = values.raster;
  const shape = modules.shapeOf({ raster: { ...raster, values: Float32Array.from(raster.values) }, mean, covariance });
  modules.MASSES.forEach((mass, k) => {
    near(shape.levels[k], values.raster.peak + Math.log(1 - mass), 0.03);
    for (const [x, y] of shape.contours[k]) {
      const q = modules.gaussianFromMoments(mean, covariance, "full");
      near(modules.gaussianLogDensity(q, [x, y]), shape.levels[k], 0.02);
    }
  });
  const q = modules.gaussianFromMoments(mean, covariance, "full");
  near(modules.shareOutside(shape, q), 0.05, 0.015);
  near(modules.widthRatio(q, covariance), 1, 1e-9);
  near(modules.offset([mean[0] + 2 * Math.sqrt(covariance[0]), mean[1]], mean, [covariance[0], 0, 0, 1]), 2, 1e-9);
});

test("a posterior that lies beyond what was decoded is said to, after few z", () => {
  const { payload } = values.models.find(({ payload: { latent_dim } }) => latent_dim === 2);
  const inference = new modules.Inference(payload);
  const { pixels } = inference.model;
  const mode = inference.lattice.edge + 2;
  const weight = Float64Array.from({ length: 2 * pixels }, (_, k) => (k % 2 ? 0 : mode / pixels));
  const bias = new Float64Array(pixels).fill(-50); // so far down log σ is a line
  inference.model.decoder = [{ kind: "linear", weight, bias, inputs: 2, outputs: pixels }];
  while (!inference.ready) inference.lattice.fill();
  const { posterior } = inference.answer({ x: new Uint8Array(pixels).fill(1) });
  assert.ok(posterior.atEdge);
  assert.equal(posterior.error, Infinity);
  assert.ok(inference.between.known.size < 20000, String(inference.between.known.size));
});
