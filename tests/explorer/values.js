// The script as the page has it, and the values that Python wrote: see tests/test_explorer_modules.py.

const fs = require("node:fs");
const assert = require("node:assert/strict");
const vm = require("node:vm");

vm.runInThisContext(fs.readFileSync(process.env.EXPLORER_SCRIPT, "utf8"));

function near(got, expected, tolerance) {
  assert.equal(got.length ?? 1, expected.length ?? 1);
  const [one, other] = [[got].flat(), [expected].flat()];
  one.forEach((value, k) => assert.ok(Math.abs(value - other[k]) <= tolerance, `${value} is not ${other[k]}`));
}

module.exports = {
  modules: globalThis.explorerModules(),
  values: JSON.parse(fs.readFileSync(process.env.EXPLORER_VALUES, "utf8")),
  near,
};
