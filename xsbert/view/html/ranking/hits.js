// ---- hits

function texts(hit) {
  const whole = [[0, hit.units.length]];
  const ranges = hit.open || !hit.fold ? whole : hit.fold;
  const nodes = [];
  let at = ranges === whole ? 0 : null;
  ranges.forEach(([first, last]) => {
    if (at === null) {
      at = hit.units[first][0];
      if (at > 0) nodes.push(element("span", "gap", "\u2026 "));
    } else if (ranges !== whole) {
      nodes.push(element("span", "gap", " \u2026 "));
      at = hit.units[first][0];
    }
    for (let t = first; t < last; t++) {
      const [start, end] = hit.units[t];
      if (start > at) nodes.push(document.createTextNode(hit.characters.slice(at, start).join("")));
      const unit = element("span", "unit", hit.characters.slice(Math.max(at, start), end).join(""));
      unit.dataset.at = t;
      nodes.push(unit);
      at = Math.max(at, end);
    }
  });
  const rest = hit.characters.slice(at || 0).join("");
  if (hit.stopped) {
    nodes.push(" ", element("span", "stop", "the model stopped reading here"), " ");
    nodes.push(ranges === whole ? element("span", "unread", rest) : element("span", "gap", "\u2026"));
    return nodes;
  }
  if (ranges === whole) nodes.push(document.createTextNode(rest));
  else if (rest.trim()) nodes.push(element("span", "gap", " \u2026"));
  return nodes;
}

function paintHit(hit) {
  if (hit.reason !== null) return;
  const asked = word !== null;
  hit.share.textContent = asked ? data.words[word] + " " + signed(hit.query[word]) : "";
  const values = valuesOf(hit);
  const largest = scaleOf(hit);
  hit.body.querySelectorAll(".unit").forEach((unit) => {
    const value = values[unit.dataset.at];
    paint(unit, asked && !hit.pairs ? 0 : value, largest);
    unit.title = signed(value, 4);
  });
}

function fill(hit) {
  hit.body.replaceChildren(...texts(hit));
  paintHit(hit);
}

function listHits() {
  const largest = sizeOf(hits.map((hit) => hit.score));
  $(".hits").replaceChildren(...hits.map((hit) => {
    const item = element("li", "hit");
    const line = element("div", "line");
    const bar = element("span", "bar");
    const filled = element("span");
    bar.setAttribute("aria-hidden", "true");
    filled.style.width = (largest ? (100 * Math.abs(hit.score)) / largest : 0) + "%";
    filled.style.setProperty("--hue", hit.score < 0 ? "var(--negative)" : "var(--positive)");
    bar.append(filled);
    line.append(element("span", "rank", String(hit.rank + 1)), element("span", "score", hit.score === null ? "no score" : signed(hit.score, 4)), bar);
    line.append(element("bdi", "name", hit.name));
    hit.share = element("span", "share");
    hit.body = element("p", "text");
    hit.body.dir = "auto";
    hit.body.lang = "";
    hit.item = item;
    item.append(line);
    if (hit.reason === null) {
      const label = element("label", "choose");
      hit.box = Object.assign(element("input"), { type: "checkbox" });
      hit.box.addEventListener("change", () => compare(hit.rank, hit.box.checked));
      label.append(hit.box, "compare");
      line.append(label, hit.share);
    }
    hit.notes.forEach((note) => item.append(element("p", "note", note)));
    item.append(hit.body);
    if (hit.reason !== null) {
      hit.body.textContent = hit.text;
      return item;
    }
    if (hit.fold) {
      const fold = element("button", "fold", "Show all");
      fold.setAttribute("aria-expanded", "false");
      fold.addEventListener("click", () => {
        hit.open = !hit.open;
        fold.textContent = hit.open ? "Show the best passages" : "Show all";
        fold.setAttribute("aria-expanded", String(hit.open));
        fill(hit);
      });
      item.append(fold);
    }
    fill(hit);
    return item;
  }));
}
