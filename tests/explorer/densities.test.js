const test = require("node:test");
const assert = require("node:assert/strict");
const { modules, values, near } = require("./values.js");

test("the Bernoulli log mass is Python's, of all pixels and of some", () => {
  for (const { logits, x, seen, whole, some } of values.bernoulli) {
    near(modules.bernoulliLogDensity(logits, x), whole, 1e-9 * Math.abs(whole));
    near(modules.bernoulliLogDensity(logits, x, seen), some, 1e-9 * Math.abs(some));
  }
});

test("a sum of softplus stays finite for many pixels and for large logits", () => {
  near(modules.sumOfSoftplus(new Float64Array(5000).fill(0)), 5000 * Math.LN2, 1e-8);
  near(modules.sumOfSoftplus([800, -800]), 800, 1e-9);
});

test("Gaussians have SciPy's density, entropy, and KL to the standard one", () => {
  for (const { mean, log_std, lower, z, log_prob, entropy, kl } of values.gaussians) {
    const q = modules.gaussian(mean, log_std, lower);
    near(modules.gaussianLogDensity(q, z), log_prob, 1e-9);
    near(modules.gaussianEntropy(q), entropy, 1e-9);
    near(modules.gaussianKlToStandard(q), kl, 1e-9);
  }
  near(modules.standardGaussianLogDensity([0.3, -1.2]), values.standard, 1e-12);
});

test("a sample of a Gaussian is mean + L ε", () => {
  const q = modules.gaussian([1, 2], [Math.log(2), Math.log(3)], [0.5]);
  near([...modules.gaussianSample(q, [1, -1])], [3, 2 + 3 * (0.5 - 1)], 1e-12);
});

test("log-sum-exp holds for values that exp cannot hold", () => {
  near(modules.logSumExp([-1000, -1000]), -1000 + Math.LN2, 1e-12);
  assert.equal(modules.logSumExp([-Infinity]), -Infinity);
});
