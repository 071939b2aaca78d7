// Where everything stands in the page.

const MODE_WORDS = [["look", "Look"], ["draw", "Draw"], ["hide", "Hide pixels"], ["walk", "Walk"]];

class Layout {
  constructor(app) {
    this.app = app;
    const { model } = app;
    this.status = element("p", { class: "ex-status", role: "status" });
    this.story = element("p", { class: "ex-story" });
    this.hint = element("p", { class: "ex-hint", id: "ex-hint" }, "Drag to move, turn the wheel or pinch to zoom. With the keyboard: arrows move the cross, Shift and arrows move the plane, + and − zoom, Enter chooses.");
    const modes = MODE_WORDS.filter(([mode]) => mode !== "hide" || model.dims <= 2);
    this.tabs = tabs("ex-mode", "What to do", modes, (mode) => app.enter(mode));
    this.closeUp = element("canvas", { class: "ex-closeup", role: "img", "aria-label": "Close-up of the posterior and of the encoder's q" });
    this.fit = checkbox("Fit the best q", (on) => app.change({ fitted: on }), { "data-fit": true });
    this.fit.label.hidden = model.dims > 2;
    this.frames = {
      image: pictureFrame(model, "the image x"),
      expected: pictureFrame(model, "expected under the posterior"),
      encoder: pictureFrame(model, "decoded at the encoder's mean"),
      pointed: pictureFrame(model, "decoded under the pointer"),
      drawn: pictureFrame(model, "x drawn from p(x | z)"),
    };
    for (const [name, { figure }] of Object.entries(this.frames)) figure.dataset.frame = name;
    this.editorFrame = element("figure", { class: "ex-frame ex-editing" }, app.editor.canvas, element("figcaption", {}, "the image x"));
    this.numbers = new Numbers();
    this.thumbnails = new Thumbnails(app);
    this.axes = new AxesPanel(app);
    this.panels = { draw: new DrawPanel(app), hide: new HidePanel(app), walk: new WalkPanel(app) };
    this.legend = element("ul", { class: "ex-legend" });
    app.plane.canvas.setAttribute("aria-describedby", "ex-hint");
    this.build(app);
  }

  build(app) {
    const left = element("div", { class: "ex-left" },
      app.plane.canvas, this.planeTools(app), this.axes.panel, this.legend, this.hint, this.thumbnails.panel);
    const closeUp = element("figure", { class: "ex-frame ex-close" }, this.closeUp, element("figcaption", {}, "close-up; lines hold 50, 80 and 95 %"));
    this.closeFigure = closeUp;
    const pictures = element("div", { class: "ex-pictures" }, this.editorFrame, ...Object.values(this.frames).map(({ figure }) => figure));
    const panels = Object.values(this.panels).map(({ panel }) => panel);
    const right = element("div", { class: "ex-right" },
      this.tabs.group, this.story, ...panels, pictures, this.panels.hide.completions, this.numbers.verdict,
      element("div", { class: "ex-found" }, closeUp, element("div", {}, this.numbers.panel, this.fit.label)),
      this.glossary());
    const grid = element("div", { class: "ex-grid" }, left, right);
    app.root.replaceChildren(element("div", { class: "explorer" }, this.status, grid));
  }

  glossary() {
    const items = GLOSSARY.flatMap(([word, meaning]) => [element("dt", {}, word), element("dd", {}, meaning)]);
    return element("details", { class: "ex-glossary" }, element("summary", {}, "What do the words mean?"), element("dl", {}, ...items));
  }

  planeTools(app) {
    return element("div", { class: "ex-tools" },
      button("+", () => app.plane.zoom(0.7), { "aria-label": "Zoom in" }),
      button("−", () => app.plane.zoom(1.4), { "aria-label": "Zoom out" }),
      button("Whole plane", () => app.wholePlane()),
      button(app.model.dims > 2 ? "To q" : "To the posterior", () => app.toPosterior(), { "data-zoom": "posterior" }),
      button("Save PNG", () => app.stage.savePng(), { "data-save": "png" }),
      button("Save SVG", () => app.stage.saveSvg(), { "data-save": "svg" }));
  }

  show() {
    const { app } = this;
    const { state } = app;
    this.tabs.show(state.mode);
    this.story.textContent = storyOf(state.mode, app.model.dims);
    for (const [mode, panel] of Object.entries(this.panels)) {
      panel.panel.hidden = mode !== state.mode;
      if (mode === state.mode) panel.show();
    }
    this.panels.hide.completions.hidden ||= state.mode !== "hide";
    this.fit.box.checked = state.fitted;
    this.fit.label.hidden = app.model.dims > 2 || (app.seen !== null && !state.mistake);
    this.closeFigure.hidden = app.shape === null || app.model.dims !== 2;
    this.thumbnails.show();
    this.axes.show();
    this.numbers.show(app);
    this.showLegend();
    this.showPictures();
  }

  showPictures() {
    const { frames, app } = this;
    const { state, answer, seen } = app;
    const edits = state.mode === "draw" || state.mode === "hide";
    this.editorFrame.hidden = !edits;
    if (edits) app.editor.show(state.mode, app.x, seen);
    this.editorFrame.lastChild.textContent = seen === null ? "the image x" : "the image x; blue pixels are hidden";
    const name = `image ${state.image}${app.nameOf(state.image)}`;
    frames.image.show(edits ? null : app.x, state.drawn === null ? name : "your drawing");
    const expected = seen === null ? "reconstruction: expected under the posterior" : "expected completion";
    frames.expected.show(state.mode === "walk" ? null : (answer?.expected ?? null), expected);
    const fed = seen === null ? "decoded at the encoder's mean" : "the mistake: decoded at the encoder's mean";
    const shown = state.mode !== "walk" && answer !== null && (seen === null || state.mistake);
    frames.encoder.show(shown ? answer.encoderMean : null, fed);
  }

  // What follows the pointer.
  showPointed() {
    const { frames, app } = this;
    const z = [...app.pointed].map((value) => nats(value)).join(", ");
    frames.pointed.show(pictureAt(app.model, app.pointed), `decoded at z = (${z})`);
    frames.drawn.show(app.state.mode === "walk" ? app.drawnPixels() : null, "an x drawn from p(x | z)");
  }

  showLegend() {
    const { app } = this;
    const items = Object.values(app.payload.classes).map(({ name, color }) => [name, `background:${color}`, "dot"]);
    if (app.shape !== null) items.push([app.seen === null ? "posterior p(z | x)" : "posterior p(z | visible)", "", "posterior"]);
    if (app.shownQ !== null) items.push(["encoder's q", "", "q"]);
    if (app.shownBest !== null) items.push(["best q", "", "best"]);
    items.push(["prior", "", "prior"]);
    this.legend.replaceChildren(...items.map(([words, style, kind]) =>
      element("li", {}, element("span", { class: `ex-key ex-key-${kind}`, style }), words)));
  }
}
