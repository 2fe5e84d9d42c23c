const MAX_OPACITY = 0.68;
let word = null; // the chosen word of the query
let compared = []; // at most two ranks, in the order in which they were chosen

// ---- numbers

function signed(number, digits = 3) {
  const text = Math.abs(number).toFixed(digits);
  return (Number(text) === 0 ? "" : number < 0 ? "\u2212" : "+") + text;
}

// Decimals that give the largest number two digits, as on the page of a pair.
function decimals(largest) {
  return Math.min(6, Math.max(0, 1 - Math.floor(Math.log10(largest || 1))));
}

function paint(node, number, largest) {
  const strength = largest ? Math.min(1, Math.abs(number) / largest) : 0;
  node.style.setProperty("--hue", number < 0 ? "var(--negative)" : "var(--positive)");
  node.style.setProperty("--alpha", (strength * MAX_OPACITY).toFixed(3));
}

const hits = data.hits.map((raw) => {
  const hit = { ...raw, characters: Array.from(raw.text), open: false };
  if (raw.reason !== null) return hit;
  hit.values = floatsOf(raw.values);
  hit.query = floatsOf(raw.query);
  hit.units = [];
  let at = 0;
  for (let n = 0; n < raw.spans.length; n += 2) {
    const start = at + raw.spans[n];
    at = start + raw.spans[n + 1];
    hit.units.push([start, at]);
  }
  if (raw.pairs) {
    const whole = new Int8Array(bytesOf(raw.pairs).buffer);
    hit.pairs = (s, t) => whole[s * hit.units.length + t] * raw.pair_scale;
  }
  return hit;
});
const explained = hits.filter((hit) => hit.reason === null);
function valuesOf(hit) {
  return word !== null && hit.pairs ? hit.values.map((_, t) => hit.pairs(word, t)) : hit.values;
}

// The number that has the full colour: the strongest word of a document takes as much of it as the document's score, or
// what the chosen word of the query has in it, is of the largest among the hits. Words of long documents are small, and
// those of short ones large, whatever the score.
function scaleOf(hit) {
  const counted = (one) => (word === null ? one.score : one.query[word]);
  const most = sizeOf(explained.map(counted));
  const share = most ? Math.abs(counted(hit)) / most : 0;
  return share ? sizeOf(valuesOf(hit)) / share : Infinity;
}
