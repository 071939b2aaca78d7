// Base64 to numbers and back: weights, images of a bit a pixel, and what a link carries.

function bytesOf(base64) {
  const text = atob(base64);
  const bytes = new Uint8Array(text.length);
  for (let i = 0; i < text.length; i++) bytes[i] = text.charCodeAt(i);
  return bytes;
}

// float32, little-endian. Doubles are multiplied faster than floats are turned into doubles.
function doublesOf(base64) {
  const bytes = bytesOf(base64);
  const view = new DataView(bytes.buffer);
  const values = new Float64Array(bytes.length / 4);
  for (let i = 0; i < values.length; i++) values[i] = view.getFloat32(4 * i, true);
  return values;
}

// Image number `index`: a byte a pixel, 0 or 1.
function unpacked(bytes, index, pixels) {
  const first = index * Math.ceil(pixels / 8);
  const image = new Uint8Array(pixels);
  for (let i = 0; i < pixels; i++) image[i] = (bytes[first + (i >> 3)] >> (7 - (i & 7))) & 1;
  return image;
}

// Bits as text that may stand in an address.
function textOfBits(bits) {
  const bytes = new Uint8Array(Math.ceil(bits.length / 8));
  for (let i = 0; i < bits.length; i++) if (bits[i]) bytes[i >> 3] |= 128 >> (i & 7);
  const text = btoa(String.fromCharCode(...bytes));
  return text.replaceAll("+", "-").replaceAll("/", "_").replace(/=+$/, "");
}

// Null if the text is not that of so many bits.
function bitsOfText(text, count) {
  if (!/^[\w-]*$/.test(text)) return null;
  try {
    const bytes = bytesOf(text.replaceAll("-", "+").replaceAll("_", "/"));
    return bytes.length === Math.ceil(count / 8) ? unpacked(bytes, 0, count) : null;
  } catch {
    return null; // no base64: the length of a text can be wrong too
  }
}
