// All that the page asks about one image, whole or with hidden pixels.

const QUICK_BUDGET = 60; // z decoded for an answer while a pen moves
const SLICE = 800; // z decoded for a part of a refined answer, in a fifth of a second
const COMPLETIONS = 8;
const MOST_MODES = 3; // of a posterior, from which a q is fitted
const NARROW = 0.1; // of the posterior's variance, for a q about one of its modes
const CARRIES = 1e-4; // weight of a place that matters to a picture

// A small generator of uniform numbers (mulberry32), so that a link shows the same draws.
function uniforms(seed) {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = Math.imul(state ^ (state >>> 15), state | 1);
    t = (t + Math.imul(t ^ (t >>> 7), t | 61)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
}

// Standard Gaussian numbers (Box & Muller).
function gaussians(count, uniform) {
  return Float64Array.from({ length: count }, () => {
    return Math.sqrt(-2 * Math.log(1 - uniform())) * Math.cos(2 * Math.PI * uniform());
  });
}

class Inference {
  constructor(payload) {
    this.model = modelOf(payload);
    this.lattice = null;
    this.whole = null;
    this.visible = null;
    if (this.model.dims <= 2) {
      this.lattice = latticeOf(this.model, doublesOf(payload.means));
      this.between = new Between(this.lattice);
    }
  }

  get ready() {
    return this.lattice !== null && this.lattice.ready;
  }

  // The trackers start from the decoded lattice; false as long as it is not ready.
  startedTrackers() {
    if (!this.ready) return false;
    this.whole ??= new Tracker(this.lattice);
    this.visible ??= new Tracker(this.lattice);
    return true;
  }

  // The answer to { x, seen, quick, seed }; `seen` is null for a whole image. If it needs more than
  // `slice` decoded z it is `unfinished`: the same question with `more` goes on, and others need not
  // wait for all of it.
  answer({ x, seen = null, quick = false, seed = 0, slice = Infinity, more = false }) {
    const q = encode(this.model, x, seen);
    const answer = { q, encoderMean: pictureAt(this.model, q.mean), elbo: null, posterior: null };
    if (!this.startedTrackers()) return this.withElbo(answer, x, seen, quick);
    if (!more) this.between.forget();
    const settings = { budget: quick ? QUICK_BUDGET : slice, ahead: !quick };
    if (seen === null) {
      this.whole.update(x);
      answer.posterior = posteriorOf(this.lattice, this.between, this.whole, settings);
    } else {
      answer.hidden = this.hidden(x, seen, settings, seed, quick);
      answer.posterior = answer.hidden.posterior;
    }
    answer.expected = this.expected(answer.posterior, x, seen);
    answer.draws = this.drawn(answer.posterior, seed, seen === null ? 1 : COMPLETIONS, x, seen);
    answer.unfinished = (answer.hidden ?? answer.posterior).unfinished;
    return this.withElbo(answer, x, seen, quick || answer.unfinished);
  }

  withElbo(answer, x, seen, quick) {
    const settings = quick ? { seen, nodes: 5, most: 5 } : { seen };
    answer.elbo = { ...elboOf(this.model, answer.q, x, settings), unfinished: quick };
    return answer;
  }

  // log p(hidden | visible) = log p(x) − log p(visible).
  hidden(x, seen, settings, seed, quick) {
    this.visible.update(x, seen);
    const posterior = posteriorOf(this.lattice, this.between, this.visible, { ...settings, seen });
    this.whole.update(x);
    const whole = posteriorOf(this.lattice, this.between, this.whole, settings);
    return {
      posterior,
      logPx: whole.logPx,
      logPHidden: whole.logPx - posterior.logPx,
      error: whole.error + posterior.error,
      unfinished: posterior.unfinished || whole.unfinished,
    };
  }

  // E[x | what is seen]: the visible pixels, and the means of the hidden ones under p(z | visible).
  // Of a whole image: its reconstruction, E over p(z | x) of the decoder's means.
  expected(posterior, x, seen) {
    const mean = new Float32Array(x.length);
    const held = posterior.weights.reduce((sum, weight) => sum + (weight < CARRIES ? 0 : weight), 0);
    posterior.places.forEach(([i, j], p) => {
      const weight = posterior.weights[p];
      if (weight < CARRIES) return;
      const logits = this.between.logitsAt(i, j);
      for (let d = 0; d < mean.length; d++) mean[d] += (weight / held) * sigmoid(logits[d]);
    });
    return joined(mean, x, seen);
  }

  // z ~ p(z | what is seen), each with its picture.
  drawn(posterior, seed, count, x, seen) {
    const uniform = uniforms(seed + 1);
    return Array.from({ length: count }, () => {
      const z = this.drawnZ(posterior, uniform);
      const picture = pictureAt(this.model, z);
      const pixels = picture.map((mean) => (uniform() < mean ? 1 : 0));
      return { z, picture: joined(picture, x, seen), pixels: joined(pixels, x, seen) };
    });
  }

  // A place of the lattice by its weight, and a point of its cell.
  drawnZ({ places, weights, step }, uniform) {
    let left = uniform();
    let p = 0;
    while (p < weights.length - 1 && left > weights[p]) left -= weights[p++];
    return this.lattice.z(...places[p]).map((coordinate) => coordinate + step * (uniform() - 0.5));
  }

  // The best q of the encoder's family, from the encoder's q, the whole posterior and its modes.
  fitted({ x, seen = null }) {
    this.startedTrackers();
    const tracker = seen === null ? this.whole : this.visible;
    tracker.update(x, seen);
    const posterior = posteriorOf(this.lattice, this.between, tracker, { seen });
    const { mean, covariance } = posterior;
    const narrow = covariance.map((value) => NARROW * value);
    const starts = [
      encode(this.model, x, seen),
      gaussianFromMoments(mean, covariance, this.model.family),
      ...modesOf(posterior, this.lattice, MOST_MODES).map((mode) => gaussianFromMoments(mode, narrow, this.model.family)),
    ];
    const { q } = bestGaussian(this.model, x, starts, seen);
    return { q, elbo: elboOf(this.model, q, x, { seen }) };
  }

  // log p(x) − ELBO of the encoder's q.
  gap(x) {
    const { posterior, elbo } = this.answer({ x });
    return posterior.logPx - elbo.value;
  }
}

function pictureAt(model, z) {
  return Float32Array.from(decode(model, Float64Array.from(z)), sigmoid);
}

function joined(picture, x, seen) {
  return seen === null ? picture : picture.map((value, d) => (seen[d] ? x[d] : value));
}
