// Images as small canvases: ink on paper, and a tint where pixels are hidden.

const PAPER = [255, 255, 255];
const INK = [17, 17, 17];
const HIDDEN = [146, 178, 214];

// `values` [D] in 0..1; hidden pixels are tinted.
function paintPicture(canvas, model, values, seen = null) {
  canvas.width = model.width;
  canvas.height = model.height;
  const context = canvas.getContext("2d");
  const image = context.createImageData(model.width, model.height);
  for (let d = 0; d < model.pixels; d++) {
    const hidden = seen !== null && !seen[d];
    for (let c = 0; c < 3; c++) {
      const paper = hidden ? HIDDEN[c] : PAPER[c];
      image.data[4 * d + c] = paper + (INK[c] - paper) * values[d];
    }
    image.data[4 * d + 3] = 255;
  }
  context.putImageData(image, 0, 0);
}

// A figure with a caption: { figure, canvas, caption, show(values, words, seen) }.
function pictureFrame(model, label) {
  const canvas = element("canvas", { class: "ex-picture", role: "img", "aria-label": label });
  const caption = element("figcaption", {}, label);
  const figure = element("figure", { class: "ex-frame" }, canvas, caption);
  const show = (values, words = label, seen = null) => {
    figure.hidden = values === null;
    if (values === null) return;
    paintPicture(canvas, model, values, seen);
    caption.textContent = words;
    canvas.setAttribute("aria-label", words);
  };
  return { figure, canvas, caption, show };
}
