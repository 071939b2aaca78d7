// The controls of the four modes. Each panel has `panel`, and `show()` to follow the state.

const SHOWN = 20; // thumbnails at a time
const PRESETS = [["top", "Show the top"], ["bottom", "the bottom"], ["left", "the left"], ["right", "the right"], ["centre", "the centre"], ["random", "a random half"]];

// Images to choose from: by class, in order, or by the largest gap among those that are shown.
class Thumbnails {
  constructor(app) {
    this.app = app;
    this.page = 0;
    this.label = "";
    this.gaps = new Map(); // by image
    this.buttons = element("div", { class: "ex-thumbs" });
    const classes = Object.entries(app.payload.classes).map(([label, { name }]) => [label, name]);
    const picked = choice("Class", [["", "all"], ...classes], (label) => this.turn(label, 0));
    picked.label.hidden = classes.length === 0;
    this.more = button("More images", () => this.turn(this.label, this.page + 1));
    this.worst = button("Put the encoder's largest gaps first", () => this.findGaps(), { "data-worst": true });
    this.worst.hidden = app.model.dims > 2;
    const tools = element("div", { class: "ex-tools" }, picked.label, this.more, this.worst);
    this.panel = element("section", { "aria-label": "Images" }, tools, this.buttons);
    this.turn("", 0);
  }

  turn(label, page) {
    const { labels, count } = this.app.payload;
    const all = Array.from({ length: count }, (_, n) => n).filter((n) => label === "" || String(labels[n]) === label);
    this.page = page * SHOWN < all.length ? page : 0;
    this.label = label;
    this.images = all.slice(this.page * SHOWN, (this.page + 1) * SHOWN);
    this.paint();
  }

  paint() {
    this.buttons.replaceChildren(...this.images.map((n) => this.thumbnail(n)));
    this.show();
  }

  thumbnail(n) {
    const { app } = this;
    const canvas = element("canvas", { class: "ex-picture" });
    paintPicture(canvas, app.model, app.imageAt(n));
    const gap = this.gaps.get(n);
    const words = gap === undefined ? "" : `${nats(gap, 1)} nats`;
    const name = `Image ${n}${app.nameOf(n)}${words && `, gap ${words}`}`;
    return button(canvas, () => app.pick(n), { class: "ex-thumb", "aria-label": name, title: name, "data-image": n });
  }

  show() {
    for (const made of this.buttons.children) {
      made.setAttribute("aria-pressed", String(Number(made.dataset.image) === this.app.state.image));
      const gap = this.gaps.get(Number(made.dataset.image));
      if (gap !== undefined && made.children.length === 1) made.append(element("small", {}, nats(gap, 1)));
    }
  }

  // One image after the other, while the page stays alive.
  findGaps() {
    if (!this.app.ready) return;
    const left = this.images.filter((n) => !this.gaps.has(n));
    this.worst.disabled = left.length > 0;
    const next = () => {
      const n = left.shift();
      if (n === undefined) {
        this.worst.disabled = false;
        this.images.sort((one, other) => (this.gaps.get(other) ?? 0) - (this.gaps.get(one) ?? 0));
        this.paint();
        return;
      }
      this.app.asker.ask("gap", { x: this.app.imageAt(n) }, (gap) => {
        this.gaps.set(n, gap);
        this.show();
        next();
      });
    };
    next();
  }
}

class DrawPanel {
  constructor(app) {
    const erase = checkbox("Erase (or draw with the right button)", (on) => (app.editor.erasing = on));
    this.panel = element("div", { class: "ex-tools" },
      button("Clear", () => app.change({ drawn: new Uint8Array(app.model.pixels) }), { "data-clear": true }),
      button("Back to the image", () => app.change({ drawn: null })),
      erase.label);
  }

  show() {}
}

class HidePanel {
  constructor(app) {
    this.app = app;
    const presets = PRESETS.map(([name, words]) =>
      button(words, () => app.change({ seen: presetMask(name, app.model, app.state.seed) }), { "data-mask": name }));
    const uncover = checkbox("The brush uncovers", (on) => (app.editor.erasing = on));
    this.mistake = checkbox("Show the mistake: feed the encoder the image with hidden pixels as empty", (on) => app.change({ mistake: on }), { "data-mistake": true });
    this.completions = element("div", { class: "ex-completions", role: "group", "aria-label": "Eight completions" });
    this.others = button("Eight other completions", () => app.change({ seed: app.state.seed + 1 }));
    this.panel = element("div", {},
      element("div", { class: "ex-tools" }, ...presets, button("Show all", () => app.change({ seen: null })), uncover.label),
      element("div", { class: "ex-tools" }, this.mistake.label, this.others));
    this.frames = Array.from({ length: COMPLETIONS }, (_, k) => pictureFrame(app.model, `completion ${k + 1}`));
    this.completions.append(...this.frames.map(({ figure }) => figure));
  }

  show() {
    this.mistake.box.checked = this.app.state.mistake;
    const draws = this.app.seen === null ? [] : (this.app.answer?.draws ?? []);
    this.completions.hidden = this.others.hidden = draws.length !== COMPLETIONS;
    if (!this.completions.hidden) this.frames.forEach((frame, k) => frame.show(draws[k].picture, `completion ${k + 1}`));
  }
}

class WalkPanel {
  constructor(app) {
    this.app = app;
    this.along = slider("Along the line", {}, (along) => app.change({ along, z: null }));
    this.strip = element("div", { class: "ex-strip" });
    const draws = [
      button("Draw z from the prior", () => app.drawZ("prior"), { "data-draw": "prior" }),
      button("Draw z from this image's posterior", () => app.drawZ("posterior"), { "data-draw": "posterior", hidden: app.model.dims > 2 }),
      button("Draw x from p(x | z) again", () => app.change({ seed: app.state.seed + 1 })),
    ];
    this.panel = element("div", {}, this.along.label, this.strip, element("div", { class: "ex-tools" }, ...draws));
    this.frames = Array.from({ length: 9 }, () => pictureFrame(app.model, "on the way"));
    this.strip.append(...this.frames.map(({ figure }) => figure));
  }

  show() {
    const { app } = this;
    const walks = app.state.to !== null;
    this.along.label.hidden = this.strip.hidden = !walks;
    this.along.range.value = app.state.along;
    this.along.value.textContent = percent(app.state.along);
    const walk = `${app.state.image} to ${app.state.to}`;
    if (!walks || walk === this.walk) return;
    this.walk = walk;
    this.frames.forEach((frame, k) => frame.show(pictureAt(app.model, app.between(k / 8)), percent(k / 8)));
  }
}

// More than two latent dimensions: which two axes the plane has, and where the others are.
class AxesPanel {
  constructor(app) {
    this.app = app;
    const names = Array.from({ length: app.model.dims }, (_, a) => [String(a), `z${a + 1}`]);
    this.choices = [0, 1].map((k) => choice(k ? "up" : "across", names, (axis) => this.turn(k, Number(axis))));
    this.sliders = names.map(([, name], a) => slider(name, { min: -4, max: 4, step: 0.05 }, (value) => this.move(a, value)));
    const rest = element("details", {}, element("summary", {}, "The other coordinates of z"), ...this.sliders.map(({ label }) => label));
    this.panel = element("div", { class: "ex-axes" }, ...this.choices.map(({ label }) => label), rest);
    this.panel.hidden = app.model.dims <= 2;
  }

  turn(k, axis) {
    const axes = [...this.app.state.axes];
    if (axes[1 - k] === axis) axes[1 - k] = axes[k];
    axes[k] = axis;
    this.app.change({ axes });
  }

  move(a, value) {
    const z = [...this.app.pointed];
    z[a] = value;
    this.app.change({ z });
  }

  show() {
    const { state, pointed } = this.app;
    this.choices.forEach(({ select }, k) => (select.value = String(state.axes[k])));
    this.sliders.forEach(({ label, range, value }, a) => {
      label.hidden = state.axes.includes(a);
      range.value = pointed[a];
      value.textContent = short(pointed[a]);
    });
  }
}
