// ---- query

function means() {
  return data.words.map((_, s) => explained.reduce((sum, hit) => sum + hit.query[s], 0) / (explained.length || 1));
}

function listWords() {
  const values = means();
  const largest = sizeOf(values.filter((_, s) => data.roles[s] === "text"));
  $(".words").replaceChildren(...data.words.map((label, s) => {
    const button = element("button", "word");
    button.append(element("span", "label", label), element("span", "value", explained.length ? signed(values[s], decimals(largest)) : ""));
    button.hidden = data.roles[s] !== "text";
    if (button.hidden) button.dir = "ltr"; // not to decide the direction of all
    button.tabIndex = -1;
    button.setAttribute("aria-pressed", "false");
    paint(button, values[s], largest);
    button.addEventListener("click", () => choose(word === s ? null : s));
    return button;
  }));
  const shown = wordButtons();
  if (shown.length) shown[0].tabIndex = 0;
}

const wordButtons = () => [...$(".words").children].filter((button) => !button.hidden);

function moveAmongWords(event) {
  const shown = wordButtons();
  const at = shown.indexOf(root.activeElement);
  const forward = getComputedStyle($(".words")).direction === "rtl" ? "ArrowLeft" : "ArrowRight";
  const backward = forward === "ArrowLeft" ? "ArrowRight" : "ArrowLeft";
  const next = { [forward]: at + 1, [backward]: at - 1, Home: 0, End: shown.length - 1 }[event.key];
  if (at < 0 || next === undefined || !shown[next]) return;
  event.preventDefault();
  shown[at].tabIndex = -1;
  shown[next].tabIndex = 0;
  shown[next].focus();
}

function choose(s) {
  word = s;
  [...$(".words").children].forEach((button, at) => button.setAttribute("aria-pressed", String(at === s)));
  hits.forEach(paintHit);
  readOut();
}

function readOut() {
  const line = $(".readout");
  line.replaceChildren();
  if (word === null) {
    line.textContent = "Numbers above are means over the hits; words below are marked by what they add to the score.";
    return;
  }
  const best = explained.reduce((top, hit) => (top && top.query[word] >= hit.query[word] ? top : hit), null);
  line.append(element("bdi", "", data.words[word]));
  if (!best) return;
  line.append(" has most in hit " + (best.rank + 1) + ": " + signed(best.query[word], 4) + ". ");
  line.append(best.pairs ? "Marked is where it is answered." : "Where it is answered is known with detail=\"pairs\".");
}
