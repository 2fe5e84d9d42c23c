// ---- what stays in view

function strongestPairs(count) {
  const pairs = [];
  let least = -1; // of the pairs that are kept
  for (let s = 0; s < level.rows; s++) {
    for (let t = 0; t < level.columns; t++) {
      const size = Math.abs(level.value(s, t));
      if (!level.isText[0][s] || !level.isText[1][t] || (pairs.length === count && size <= least)) continue;
      pairs.push([s, t, size]);
      pairs.sort((p, q) => q[2] - p[2]);
      if (pairs.length > count) pairs.pop();
      least = pairs[pairs.length - 1][2];
    }
  }
  return pairs.map(([s, t]) => [s, t]);
}

// A word, with its place among the same words of its text.
function named(side, at) {
  const [place, total] = level.places[side][at];
  const word = isolated(level.sides[side].labels[at]);
  return total > 1 ? [word, element("span", "place", ` ${place} of ${total}`)] : [word];
}

function fillPairs() {
  $(".pairs tbody").replaceChildren(...level.pairs.filter(([s, t]) => shown(level.value(s, t))).map(([s, t]) => {
    const line = element("tr");
    const number = signed(level.value(s, t), level.largest, 1);
    [named(0, s), named(1, t), [number]].forEach((content) => {
      const entry = element("td");
      entry.append(...content);
      line.append(entry);
    });
    line.addEventListener("pointerenter", () => kept || selectCell([s, t]));
    line.addEventListener("pointerleave", () => kept || clear());
    return line;
  }));
}

function fillSentence() {
  const { score, lead, pairs_for, pairs_against } = data.sentence;
  const line = $(".sentence");
  const name = (pairs) => pairs.forEach(([one, other], rank) => {
    const pair = element("span", "pair");
    pair.append(isolated(one), " \u00b7 ", isolated(other));
    line.append(rank ? ", " : "", pair);
  });
  line.append(element("b", "", score), ": " + lead + " ");
  name(pairs_for);
  if (pairs_against.length) line.append("; against it: ");
  name(pairs_against);
}

function fillSum() {
  const list = $(".sum");
  data.summary.forEach(([name, text, sign]) => {
    const group = element("div", name === data.summary[0][0] ? "score" : name === "error" ? "error" : "");
    if (sign) group.dataset.sign = sign;
    const defined = data.legend.find(([term]) => term === name);
    const term = element("dt", "", name);
    if (defined) term.title = defined[1];
    group.append(term, element("dd", "", text));
    list.append(group);
  });
  $(".how").append(...data.how.map((text) => element("span", "", text)));
  if (data.caption) $(".rows").append("; " + data.caption);
  root.querySelectorAll(".stop").forEach((node, side) => {
    node.hidden = !data.unread[side];
    node.replaceChildren("The model stopped reading here. Not read: ", element("span", "unread", data.unread[side]));
  });
  fillLegend();
  data.notes.forEach((text) => $("header").append(element("p", "note", text)));
  $(".view").setAttribute("aria-label", "Attribution of the " + data.summary[0][0]);
}

function showLevel(index) {
  level = data.levels[index];
  if (!level.value) {
    level = data.levels[index] = prepare(level);
    level.unit = level.name.toLowerCase().replace(/s$/, "");
    level.pairs = strongestPairs(N_PAIRS);
  }
  selection = cell = null;
  kept = false;
  fillTexts();
  showThreshold();
}

function showThreshold() {
  threshold = (level.largest * slider.value) / 100;
  const size = signed(threshold, level.largest, 1).replace("+", "");
  $(".threshold output").textContent = size;
  slider.setAttribute("aria-valuetext", size);
  fillPairs();
  showScale();
}

function showScale() {
  own = $(".own input").checked;
  const ends = own ? ["\u2212 largest of the row", "+ largest of the row"] : [-1, 1].map((sign) => signed(sign * level.largest, level.largest));
  $(".low").textContent = ends[0];
  $(".high").textContent = ends[1];
  drawMap();
  update();
}

function listLevels() {
  const field = $(".levels");
  field.hidden = data.levels.length < 2;
  data.levels.forEach((one, index) => {
    const choice = element("label", "", one.name);
    const radio = element("input");
    Object.assign(radio, { type: "radio", name: "level", value: index, checked: index === 0 });
    radio.addEventListener("change", () => showLevel(index));
    choice.prepend(radio);
    field.append(choice);
  });
}

function redraw() {
  measureTexts();
  showScale();
}

fillSentence();
fillSum();
listLevels();
lists.forEach(listen);
listenMap();
slider.addEventListener("input", showThreshold);
$(".own input").addEventListener("change", showScale);
root.addEventListener("click", (event) => {
  if (kept && !event.target.closest(".unit, .stage, .controls, .pairs")) clear();
});
showLevel(0);
if (window.ResizeObserver) {
  let width = 0;
  new ResizeObserver(([entry]) => {
    if (Math.abs(entry.contentRect.width - width) > 1) redraw();
    width = entry.contentRect.width;
  }).observe($(".scroll"));
}
window.matchMedia("(prefers-color-scheme: dark)").addEventListener("change", drawMap);
whilePrinting(redraw, redraw);
