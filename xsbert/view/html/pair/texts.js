// ---- texts

let widths = null; // of the units, so that numbers are shown only where they fit
let digitWidth = 6.2;

function fillTexts() {
  const roomy = level.rows + level.columns <= ROOMY;
  measureDigits();
  level.sides.forEach((side, which) => {
    lists[which].classList.toggle("roomy", roomy);
    lists[which].replaceChildren(...side.labels.map((label, at) => {
      const unknown = level.unknown[which].has(at);
      const unit = element("span", "unit " + side.roles[at] + (side.joined[at] ? " joined" : "") + (unknown ? " unknown" : ""));
      unit.setAttribute("role", "option");
      unit.tabIndex = at === 0 ? 0 : -1;
      if (side.roles[at] === "special") unit.dir = "ltr";
      if (side.roles[at] !== "text") unit.title = side.roles[at] === "rest" ? "in no range" : side.roles[at];
      if (unknown) unit.title = "unknown to the model";
      unit.append(element("span", "label", label), element("span", "value"));
      // The strongest words have room for their number from the start, so that nothing moves when it is shown.
      const total = level.totals[which][at];
      if (Math.abs(total) > STRONG * level.most) unit.style.minWidth = numberWidth(signed(total, level.most)) + "px";
      return unit;
    }));
  });
  measureTexts();
}

function measureDigits() {
  const context = canvas.getContext("2d");
  context.font = "10.5px system-ui, sans-serif";
  digitWidth = Math.max(context.measureText("0").width, 5.5);
}

const numberWidth = (text) => Math.ceil(text.length * digitWidth + 2);

function measureTexts() {
  measureDigits();
  widths = lists.map((list) => [...list.children].map((unit) => unit.clientWidth));
  measureRows();
}

function paint(which, at, number, largest, state) {
  const unit = lists[which].children[at];
  const muted = level.isText[which][at] ? 1 : MUTED;
  const strength = number === null || !largest ? 0 : Math.min(1, Math.abs(number) / largest);
  const text = number === null ? "" : signed(number, Number.isFinite(largest) ? largest : level.most);
  unit.style.setProperty("--hue", number < 0 ? "var(--negative)" : "var(--positive)");
  unit.style.setProperty("--alpha", (muted * strength ** POWER).toFixed(3));
  unit.lastChild.textContent = text;
  const worth = lists[which].classList.contains("roomy") || strength > 0.1 || state === "selected";
  unit.classList.toggle("fits", worth && numberWidth(text) <= widths[which][at]);
  unit.classList.toggle("strong", strength > 0.1);
  unit.classList.toggle("selected", state === "selected");
  unit.classList.toggle("partner", state === "partner");
  unit.setAttribute("aria-selected", state === "selected");
}

// What the colours of the other text run to while units are selected.
function reach(sums) {
  if (!own) return Math.max(level.largest, sizeOf(sums.filter((_, at) => level.isText[1 - selection.side][at])));
  return sizeOf(sums.filter((_, at) => level.isText[1 - selection.side][at])) || sizeOf(sums);
}

function paintTexts() {
  const sums = selection && partners(selection);
  const largest = sums && reach(sums);
  lists.forEach((list, which) => {
    const totals = level.totals[which];
    for (let at = 0; at < totals.length; at++) {
      const total = shown(totals[at]) ? totals[at] : null;
      if (!selection) paint(which, at, total, level.most, "");
      else if (which === selection.side) {
        const chosen = at >= selection.from && at <= selection.to;
        paint(which, at, chosen ? total : null, Infinity, chosen ? "selected" : "");
      } else paint(which, at, shown(sums[at]) ? sums[at] : null, largest, cell && cell[which] === at ? "partner" : "");
    }
  });
  readOut(sums);
}

function label(one) {
  const side = level.sides[one.side];
  let text = "";
  for (let at = one.from; at <= one.to; at++) text += (at > one.from && !side.joined[at] ? " " : "") + side.labels[at];
  return text;
}

function readOut(sums) {
  const line = $(".readout");
  const muted = (text) => element("span", "muted", text);
  line.replaceChildren();
  if (!selection) {
    const main = level.hasMain ? ", main effect included" : "";
    line.append(muted("Each number is what the " + level.unit + " adds to the score, over the whole other text" + main + "."));
    return;
  }
  if (cell) {
    const parts = NAMES.map((name, side) => [muted(name + " "), isolated(level.sides[side].labels[cell[side]])]);
    const number = element("b", "", signed(level.value(cell[0], cell[1]), level.largest, 1));
    line.append(...parts[0], "  \u00b7  ", ...parts[1], "  ", number);
    return;
  }
  const pairs = sums.reduce((sum, one) => sum + one, 0);
  let main = 0;
  for (let at = selection.from; at <= selection.to; at++) main += level.main[selection.side][at];
  const say = (number) => signed(number, level.most, 1);
  line.append(muted(NAMES[selection.side] + " "), isolated(label(selection)), muted(" adds "));
  line.append(element("b", "", say(pairs + main)));
  if (level.hasMain) line.append(muted(`, pairs ${say(pairs)} and main effect ${say(main)}`));
  const top = strongest(sums).filter((at) => level.isText[1 - selection.side][at] && shown(sums[at])).slice(0, 3);
  if (top.length) line.append(muted("; strongest in " + NAMES[1 - selection.side] + ": "));
  top.forEach((at, rank) => {
    const number = signed(sums[at], level.largest, 1);
    line.append(rank ? " \u00b7 " : "", isolated(level.sides[1 - selection.side].labels[at]), " " + number);
  });
}
