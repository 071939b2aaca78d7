// What a picture of the plane is drawn on: a canvas, or the text of an SVG file.

class CanvasSurface {
  constructor(context) {
    this.context = context;
  }

  dots(places, radius, color, opacity) {
    const { context } = this;
    context.globalAlpha = opacity;
    context.fillStyle = color;
    const side = 2 * radius;
    for (let k = 0; k < places.length; k += 2) context.fillRect(places[k] - radius, places[k + 1] - radius, side, side);
    context.globalAlpha = 1;
  }

  line(places, { color, width = 1.5, dash = [], fill = null, closed = false }) {
    const { context } = this;
    context.beginPath();
    places.forEach(([x, y], k) => (k ? context.lineTo(x, y) : context.moveTo(x, y)));
    if (closed) context.closePath();
    this.stroke(color, width, dash, fill);
  }

  // Pieces [x, y, x, y] that need not hang together.
  pieces(pieces, { color, width = 1.5 }) {
    this.context.beginPath();
    for (const [x, y, u, v] of pieces) {
      this.context.moveTo(x, y);
      this.context.lineTo(u, v);
    }
    this.stroke(color, width, [], null);
  }

  stroke(color, width, dash, fill) {
    const { context } = this;
    context.setLineDash(dash);
    context.lineWidth = width;
    context.lineCap = "round";
    context.strokeStyle = color;
    if (fill !== null) {
      context.fillStyle = fill;
      context.globalAlpha = 0.25;
      context.fill();
      context.globalAlpha = 1;
    }
    context.stroke();
    context.setLineDash([]);
  }

  picture(canvas, x, y, width, height) {
    this.context.imageSmoothingEnabled = true;
    this.context.drawImage(canvas, x, y, width, height);
  }

  text(words, x, y, { color, halo, align = "center", size = 12 }) {
    const { context } = this;
    context.font = `${size}px system-ui, sans-serif`;
    context.textAlign = align;
    context.textBaseline = "middle";
    context.lineWidth = 3;
    context.strokeStyle = halo;
    context.strokeText(words, x, y);
    context.fillStyle = color;
    context.fillText(words, x, y);
  }
}

class SvgSurface {
  constructor() {
    this.parts = [];
  }

  dots(places, radius, color, opacity) {
    let path = "";
    for (let k = 0; k < places.length; k += 2) {
      path += `M${two(places[k] - radius)} ${two(places[k + 1])}h${two(2 * radius)}`;
    }
    this.parts.push(`<path d="${path}" stroke="${color}" stroke-width="${two(2 * radius)}" opacity="${opacity}"/>`);
  }

  line(places, { color, width = 1.5, dash = [], fill = null, closed = false }) {
    const path = places.map(([x, y], k) => `${k ? "L" : "M"}${two(x)} ${two(y)}`).join("");
    const inside = fill === null ? 'fill="none"' : `fill="${fill}" fill-opacity="0.25"`;
    this.parts.push(
      `<path d="${path}${closed ? "Z" : ""}" ${inside} stroke="${color}" stroke-width="${width}" stroke-dasharray="${dash.join(" ")}"/>`,
    );
  }

  pieces(pieces, { color, width = 1.5 }) {
    const path = pieces.map(([x, y, u, v]) => `M${two(x)} ${two(y)}L${two(u)} ${two(v)}`).join("");
    this.parts.push(`<path d="${path}" fill="none" stroke="${color}" stroke-width="${width}" stroke-linecap="round"/>`);
  }

  picture(canvas, x, y, width, height) {
    const place = `x="${two(x)}" y="${two(y)}" width="${two(width)}" height="${two(height)}"`;
    this.parts.push(`<image ${place} preserveAspectRatio="none" href="${canvas.toDataURL()}"/>`);
  }

  text(words, x, y, { color, halo, align = "center", size = 12 }) {
    const anchor = { left: "start", center: "middle", right: "end" }[align];
    const escaped = words.replace(/[&<>"]/g, (sign) => `&#${sign.charCodeAt(0)};`);
    const place = `x="${two(x)}" y="${two(y)}" text-anchor="${anchor}" dominant-baseline="middle" font-size="${size}"`;
    const paint = `fill="${color}" stroke="${halo}" stroke-width="3" paint-order="stroke" font-family="sans-serif"`;
    this.parts.push(`<text ${place} ${paint}>${escaped}</text>`);
  }

  toString(width, height, background) {
    const size = `width="${width}" height="${height}" viewBox="0 0 ${width} ${height}"`;
    const paper = `<rect width="${width}" height="${height}" fill="${background}"/>`;
    return `<svg xmlns="http://www.w3.org/2000/svg" ${size}>${paper}${this.parts.join("")}</svg>`;
  }
}

function two(number) {
  return Math.round(100 * number) / 100;
}
