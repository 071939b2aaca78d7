// What the page says, in plain English: a sentence on what to do, and one on what was found.

const LOOK = "Click another point, or put the encoder's largest gaps first, and see it fail.";

// What each mode is for, by the number of latent dimensions.
function storyOf(mode, dims) {
  if (mode === "look") return { 1: LOOK_1, 2: LOOK_2 }[dims] ?? LOOK_MORE;
  if (mode === "walk") return WALK;
  if (mode === "hide") return HIDE;
  return dims > 2 ? DRAW_MORE : DRAW;
}

const LOOK_2 =
  "Which points z could have made this image? The exact answer is the posterior p(z | x): the blue hill. " +
  "Half of it lies inside its inner line, 95 % inside its outer line. The encoder looks at the image once and " +
  `guesses a bell shape, q(z | x): the dashed ellipses, with the same shares inside. ${LOOK}`;
const LOOK_1 =
  "Which z could have made this image? The exact answer is the posterior p(z | x): the blue hill. " +
  `The encoder looks at the image once and guesses a bell shape, q(z | x): the dashed curve. ${LOOK}`;
const LOOK_MORE =
  "The plane shows two of the latent axes. Each point is the encoder's mean of an image; the dashed ellipses hold 50, 80 and 95 % " +
  "of its q(z | x) for the image you chose. Move the pointer to see what the decoder makes of z; sliders move the other axes.";
const DRAW =
  "Draw with the mouse or a finger. The posterior, the encoder's guess and the numbers follow your pen. " +
  "An image that is like no training image has a very low log p(x), and the encoder's guess is often far off.";
const DRAW_MORE = "Draw with the mouse or a finger. The encoder's guess and its ELBO follow your pen.";
const HIDE =
  "Hide pixels with the brush or a preset. The blue hill now shows which z fit the visible pixels alone: it grows as you hide more. " +
  "The decoder fills in what is hidden, once for each z that is drawn from the hill.";
const WALK =
  "Choose a second image in the plane or below, and move along the line between the two means. " +
  "Or draw a z at random, and images x from p(x | z).";

const GLOSSARY = [
  ["z", "a point of the latent plane; the decoder turns it into the probability of ink at each pixel"],
  ["prior p(z)", "where z lies before an image is seen: a standard bell, the circles"],
  ["posterior p(z | x)", "where z lies once the image x is seen: z that make x likely weigh more (Bayes' rule)"],
  ["q(z | x)", "the encoder's guess of the posterior: one bell shape, found at a glance"],
  ["log p(x)", "how likely the model finds the image, all z together"],
  ["ELBO", "what q can prove of log p(x): it is never higher, and equal only if q is the posterior"],
  ["gap", "log p(x) − ELBO: how far q is from the posterior, in nats"],
];

const FAR = 0.5; // nats of a gap that are worth a word

function nats(value, digits = 2) {
  return Number.isFinite(value) ? value.toFixed(digits).replace("-", "−") : "unknown";
}

function percent(share) {
  return `${Math.round(100 * share)} %`;
}

// What is wrong with the encoder's q, or that it is good.
function verdict(answer, shape, gap, half) {
  const { mean, covariance } = shape;
  const outside = shareWords(shareOutside(shape, answer.q));
  const off = offset(answer.q.mean, mean, covariance).toFixed(1);
  const ratio = widthRatio(answer.q, covariance);
  const times = ratio > 0.85 && ratio < 1.15 ? "about as wide" : `${ratio.toFixed(1)} times as wide`;
  const width = `${times} as the posterior${ratio < 0.85 ? ": too sure" : ""}`;
  const begin =
    gap < FAR
      ? `The encoder's guess is good here: it loses only ${nats(gap)} nats.`
      : `${half ? "Fed with half an image, the encoder" : "The encoder"} loses ${nats(gap)} nats here: by its q the image seems ${factor(gap)} less likely than it is.`;
  return `${begin} ${outside} of q lies outside the posterior's 95 % region. The centre of q is ${off} posterior standard deviations off, and q is ${width}.`;
}

function factor(gap) {
  const times = Math.exp(gap);
  return times < 1e4 ? `${Number(times.toPrecision(2)).toLocaleString("en")} times` : `10^${(gap / Math.LN10).toFixed(0)} times`;
}

function shareWords(share) {
  if (share > 0.995) return "Nearly all";
  return share < 0.005 ? "Nearly nothing" : `About ${percent(share)}`;
}

// The distance of a point from a mean, in the standard deviations of its direction.
function offset(point, mean, covariance) {
  const [dx, dy = 0] = mean.map((value, a) => point[a] - value);
  if (mean.length === 1) return Math.abs(dx) / Math.sqrt(covariance[0]);
  const [a, b, , c] = covariance;
  return Math.sqrt(Math.max(0, (c * dx * dx - 2 * b * dx * dy + a * dy * dy) / (a * c - b * b)));
}

// Of q to the posterior: the ratio of their standard deviations, the geometric mean over axes.
function widthRatio(q, covariance) {
  const dims = q.mean.length;
  const determinant = dims === 1 ? covariance[0] : covariance[0] * covariance[3] - covariance[1] ** 2;
  const logDeterminant = q.logStd.reduce((sum, logStd) => sum + 2 * logStd, 0);
  return Math.exp((logDeterminant - Math.log(determinant)) / (2 * dims));
}

// How sure a number is, for the small print behind it.
function errorWords({ error, atEdge = false, unfinished = false }) {
  if (atEdge) return "at least: mass reaches the edge of what was searched";
  if (!Number.isFinite(error)) return unfinished ? "about: refined when your hand rests" : "about";
  return error < 1e-4 ? "± below 0.0001" : `± ${error.toPrecision(1)}`;
}
