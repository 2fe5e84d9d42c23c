const NAMES = ["a", "b"];
const POWER = 0.7; // of a share of the largest number: its colour. Below 1, so that weak cells of long texts are seen
const BARE_POWER = 0.5; // the same for cells that are too narrow for their number
const MUTED = 0.4; // how much of its colour a pair with a special token keeps
const N_PAIRS = 8; // in the table
const N_LINES = 5; // between the texts
const STRONG = 0.3; // of the largest number of a word, above which a word is made wide enough for its own
const ROOMY = 60; // units of both texts together, up to which every unit has room for its number
const lists = [...root.querySelectorAll(".units")];
const canvas = $("canvas");
const slider = $(".threshold input");
let level = null;
let selection = null; // {side, from, to}: units of one text, both ends included
let cell = null; // [s, t]: one pair
let threshold = 0;
let own = false; // colours on the scale of the row that is shown
let kept = false;
let anchor = null; // where a span of units began: {side, at, moved, was}
let dragging = false;

function isolated(text) {
  const characters = Array.from(text);
  return element("bdi", "", characters.length > 40 ? characters.slice(0, 39).join("") + "\u2026" : text);
}

// ---- numbers

// Which of the same words of a text a unit is, as [2, 3] for the second of three.
function placesOf(labels, isText) {
  const total = new Map();
  const found = labels.map((label, at) => {
    const key = isText[at] ? label.toLowerCase() : null;
    total.set(key, (total.get(key) || 0) + 1);
    return [key, total.get(key)];
  });
  return found.map(([key, place]) => [place, key === null ? 1 : total.get(key)]);
}

function prepare(raw) {
  const [rows, columns] = raw.shape;
  const values = floatsOf(raw.matrix);
  const main = raw.main.map(floatsOf);
  const isText = raw.sides.map((side) => side.roles.map((role) => role === "text" || role === "rest"));
  const totals = main.map((effects) => Float64Array.from(effects));
  const rowMost = new Float64Array(rows);
  let among = 0;
  for (let s = 0; s < rows; s++) {
    for (let t = 0; t < columns; t++) {
      const number = values[s * columns + t];
      totals[0][s] += number;
      totals[1][t] += number;
      if (isText[0][s] !== isText[1][t] || isText[0][s]) rowMost[s] = Math.max(rowMost[s], isText[1][t] ? Math.abs(number) : 0);
      if (isText[0][s] && isText[1][t]) among = Math.max(among, Math.abs(number));
    }
  }
  const ofText = totals.map((side, which) => sizeOf(side.filter((_, at) => isText[which][at])));
  return {
    ...raw, rows, columns, main, totals, isText, rowMost,
    value: (s, t) => values[s * columns + t],
    largest: among || sizeOf(values), // special tokens do not set the scale of the words
    most: Math.max(...ofText) || Math.max(...totals.map(sizeOf)),
    hasMain: main.some((side) => side.some((one) => one !== 0)),
    unknown: raw.sides.map((side) => new Set(side.unknown)),
    places: raw.sides.map((side, which) => placesOf(side.labels, isText[which])),
  };
}

// Decimals that give the largest number two digits; null where it is too small to be written so.
function decimals(largest) {
  const order = Math.floor(Math.log10(largest || 1));
  return order < -5 ? null : Math.max(0, 1 - order);
}

function signed(number, largest, extra = 0) {
  const size = Math.abs(number);
  const places = decimals(largest);
  const text = places === null && size > 0 ? size.toExponential(1 + extra) : size.toFixed((places || 0) + extra);
  return (Number(text) === 0 ? "" : number < 0 ? "\u2212" : "+") + text;
}

const shown = (number) => Math.abs(number) >= threshold;

function partners(one) {
  const sums = new Float64Array(one.side === 0 ? level.columns : level.rows);
  for (let at = one.from; at <= one.to; at++) {
    for (let other = 0; other < sums.length; other++) {
      sums[other] += one.side === 0 ? level.value(at, other) : level.value(other, at);
    }
  }
  return sums;
}

function strongest(sums) {
  return [...sums.keys()].sort((p, q) => Math.abs(sums[q]) - Math.abs(sums[p]));
}
