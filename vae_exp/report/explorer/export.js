// The picture of the plane as a file.

const PNG_SCALE = 2; // pixels of the file for a pixel of the page

function svgOf(view, scene, theme) {
  const surface = new SvgSurface();
  paintScene(surface, view, scene, theme);
  return surface.toString(view.width, view.height, theme.paper);
}

function pngOf(view, scene, theme) {
  const canvas = element("canvas", { width: PNG_SCALE * view.width, height: PNG_SCALE * view.height });
  const context = canvas.getContext("2d");
  context.scale(PNG_SCALE, PNG_SCALE);
  context.fillStyle = theme.paper;
  context.fillRect(0, 0, view.width, view.height);
  paintScene(new CanvasSurface(context), view, scene, theme);
  return new Promise((done) => canvas.toBlob(done, "image/png"));
}

function save(blob, name) {
  const address = URL.createObjectURL(blob);
  element("a", { href: address, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(address), 1000);
}
