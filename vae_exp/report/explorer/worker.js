// What runs beside the page, so that the page never freezes: a message asks, a message answers.

// `port` is the worker's own scope: it hears messages and posts them.
function serve(port) {
  let inference = null;
  const questions = {
    answer: (question) => inference.answer(question),
    fitted: (question) => inference.fitted(question),
    gap: (question) => inference.gap(question.x),
  };
  function fill() {
    const done = inference.lattice.fill();
    port.postMessage({ kind: done < 1 ? "filling" : "ready", done });
    if (done < 1) setTimeout(fill);
  }
  port.onmessage = ({ data: { id, kind, ...question } }) => {
    if (kind === "start") {
      inference = new Inference(question.payload);
      if (inference.lattice !== null) setTimeout(fill);
      return;
    }
    const began = performance.now();
    const answer = questions[kind](question);
    port.postMessage({ id, kind, answer, took: performance.now() - began });
  };
}

// A worker made of the script's own text: no file is fetched.
function startWorker(source, payload) {
  const text = `(${source})().serve(self);`;
  const address = URL.createObjectURL(new Blob([text], { type: "text/javascript" }));
  const worker = new Worker(address);
  URL.revokeObjectURL(address);
  worker.postMessage({ kind: "start", payload });
  return new Asker(worker);
}

// Questions of a kind one at a time: a newer one takes the place of one that still waits.
class Asker {
  constructor(worker) {
    this.worker = worker;
    this.number = 0;
    this.open = new Map(); // by number
    this.waiting = new Map(); // by kind
    this.busy = new Set(); // kinds
    this.onfilling = () => {};
    this.onfailure = () => {};
    worker.onmessage = ({ data }) => this.hear(data);
    worker.onerror = ({ message }) => this.onfailure(message);
  }

  ask(kind, question, then) {
    if (this.busy.has(kind)) {
      this.waiting.set(kind, [question, then]);
      return;
    }
    this.busy.add(kind);
    this.open.set(++this.number, then);
    this.worker.postMessage({ id: this.number, kind, ...question });
  }

  hear({ id, kind, answer, took, done }) {
    if (id === undefined) {
      this.onfilling(done);
      return;
    }
    const then = this.open.get(id);
    this.open.delete(id);
    this.busy.delete(kind);
    const next = this.waiting.get(kind);
    this.waiting.delete(kind);
    if (next) this.ask(kind, ...next);
    then(answer, took);
  }
}
