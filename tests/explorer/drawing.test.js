const test = require("node:test");
const assert = require("node:assert/strict");
const { modules, values } = require("./values.js");

test("a brush sets the pixels near its way, and tells whether any changed", () => {
  for (const { width, height, from, to, radius, bits } of values.strokes) {
    const drawn = new Uint8Array(width * height);
    assert.equal(modules.brush(drawn, { width, height }, from, to, radius, 1), bits.includes(1));
    assert.deepEqual([...drawn], bits);
    assert.equal(modules.brush(drawn, { width, height }, from, to, radius, 1), false);
    modules.brush(drawn, { width, height }, from, to, radius, 0);
    assert.ok(!drawn.includes(1));
  }
});

test("the presets show what the program's masks show", () => {
  for (const { name, height, width, seen } of values.masks) {
    assert.deepEqual([...modules.presetMask(name, { height, width }, 1)], seen);
  }
  const random = modules.presetMask("random", { height: 28, width: 28 }, 3);
  assert.deepEqual(random, modules.presetMask("random", { height: 28, width: 28 }, 3));
  assert.notDeepEqual(random, modules.presetMask("random", { height: 28, width: 28 }, 4));
});

test("bits come back from the text of a link, and a damaged text is refused", () => {
  const bits = Uint8Array.from({ length: 35 }, (_, d) => Number(d % 3 === 0));
  const text = modules.textOfBits(bits);
  assert.match(text, /^[\w-]+$/);
  assert.deepEqual(modules.bitsOfText(text, 35), bits);
  for (const bad of ["!", "AAAA AAAA", text.slice(1), "A"]) assert.equal(modules.bitsOfText(bad, 35), null);
});

test("an address carries the whole state, and what does not fit is left out", () => {
  const model = { dims: 2, pixels: 12 };
  const state = {
    ...modules.firstState(model), mode: "hide", image: 3, seen: Uint8Array.from({ length: 12 }, (_, d) => d % 2),
    drawn: new Uint8Array(12).fill(1), mistake: true, fitted: true, seed: 9, to: 4, along: 0.25, z: [0.5, -1], view: { x: 1, y: 2, span: 3 },
  };
  assert.deepEqual(modules.stateOf(modules.addressOf(state), model, 5), state);
  const first = modules.firstState(model);
  for (const address of ["", "#numbers", "#explore?mode=x&image=99&z=1&view=0,0,-1&to=1e9&seen=!!&seed=-1&axes=0,7"]) {
    assert.deepEqual(modules.stateOf(address, model, 5), first);
  }
  const line = { dims: 1, pixels: 12 };
  assert.deepEqual(modules.stateOf("#explore?image=0", line, 5), modules.firstState(line));
});
