// The table of numbers, each with its unit and how it was made, and the bar of the gap.

class Numbers {
  constructor() {
    this.body = element("tbody");
    this.bar = element("div", { class: "ex-bar", role: "img" });
    this.verdict = element("p", { class: "ex-verdict" });
    const table = element("table", { class: "ex-numbers" }, element("caption", {}, "In nats; 1 nat is a factor e = 2.718"), this.body);
    this.panel = element("div", {}, this.bar, table);
  }

  show(app) {
    const { answer, shape } = app;
    if (answer === null) return;
    const shown = [answer, app.best, app.seen, app.state.mistake, app.ready];
    if (this.shown?.every((part, k) => part === shown[k])) return;
    this.shown = shown;
    const rows = this.rows(app);
    this.body.replaceChildren(...rows.map(({ name, key, value, how }) => {
      const number = element("td", { "data-number": key, "data-value": value, title: how }, nats(value, Math.abs(value) < 10 ? 3 : 2));
      return element("tr", {}, element("th", { scope: "row" }, name), number, element("td", {}, how));
    }));
    const gap = rows.find(({ key }) => key === "gap");
    const judged = gap !== undefined && shape !== null;
    this.verdict.textContent = judged ? verdict(answer, shape, gap.value, app.seen !== null) : this.silence(app);
    this.showBar(app, gap);
  }

  // The words if there is no gap to speak of.
  silence({ model, seen, ready }) {
    if (model.dims > 2) return "With more than two latent dimensions log p(x) is no sum over a grid: the ELBO stands alone, and bounds it from below.";
    if (!ready) return "The plane is being decoded: the exact posterior comes in a moment.";
    return seen === null ? "" : "The posterior given the visible pixels needs no encoder. Turn on the mistake to see what the encoder says of half an image.";
  }

  rows({ answer, best, seen, state }) {
    const { elbo, posterior, hidden } = answer;
    const given = seen === null ? "x" : "visible";
    const rows = [];
    if (posterior !== null) {
      rows.push({ name: `log p(${given})`, key: "log_p_x", value: posterior.logPx, how: `exact, by a sum over a lattice of z; ${errorWords(posterior)}` });
    }
    if (hidden !== undefined) {
      rows.push({ name: "log p(x)", key: "log_p_whole", value: hidden.logPx, how: "exact, of the whole image" });
      rows.push({ name: "log p(hidden | visible)", key: "log_p_hidden", value: hidden.logPHidden, how: "log p(x) − log p(visible)" });
    }
    if (seen !== null && !state.mistake) return rows;
    rows.push({ name: "ELBO of the encoder's q", key: "elbo", value: elbo.value, how: `${elbo.how}; ${errorWords(elbo)}` });
    if (posterior !== null) {
      rows.push({ name: "the gap", key: "gap", value: posterior.logPx - elbo.value, how: `log p(${given}) − ELBO = KL(q ‖ posterior)` });
    }
    if (best !== null && posterior !== null) {
      rows.push({ name: "ELBO of the best q", key: "best", value: best.elbo.value, how: "the same family, fitted to this image alone" });
      rows.push({ name: "the encoder's part", key: "amortisation", value: best.elbo.value - elbo.value, how: "of the gap: another encoder could close it" });
      rows.push({ name: "the family's part", key: "family", value: posterior.logPx - best.elbo.value, how: "of the gap: no q of this shape can close it" });
    }
    return rows;
  }

  showBar({ answer, best }, gap) {
    this.bar.hidden = gap === undefined || best === null;
    if (this.bar.hidden) return;
    const family = Math.max(0, answer.posterior.logPx - best.elbo.value);
    const amortisation = Math.max(0, best.elbo.value - answer.elbo.value);
    const part = (share, words, kind) => {
      const readable = share > 0.25 * (family + amortisation);
      return element("span", { class: `ex-part ex-${kind}`, style: `flex-grow:${share / (family + amortisation || 1)}` }, readable ? words : "");
    };
    this.bar.replaceChildren(part(amortisation, `encoder ${nats(amortisation)}`, "encoder"), part(family, `family ${nats(family)}`, "family"));
    this.bar.setAttribute("aria-label", `Of the gap ${nats(amortisation)} nats are the encoder's and ${nats(family)} the family's`);
  }
}
