function (host, data) {
  "use strict";
  const root = host.attachShadow({ mode: "open" });
  root.innerHTML = "<style>" + data.css + "</style>" + data.html;
  host.setAttribute("data-lm-suppress-shortcuts", "true");

  const $ = (selector) => root.querySelector(selector);
  const MAX_OPACITY = 0.68;
  let word = null; // the chosen word of the query
  let compared = []; // at most two ranks, in the order in which they were chosen

  function element(tag, className, text) {
    const node = document.createElement(tag);
    if (className) node.className = className;
    if (text !== undefined) node.textContent = text;
    return node;
  }

  // ---- numbers

  function bytes(text) {
    return Uint8Array.from(atob(text), (character) => character.charCodeAt(0));
  }

  function floats(text) {
    const view = new DataView(bytes(text).buffer);
    return Float64Array.from({ length: view.byteLength / 4 }, (_, at) => view.getFloat32(4 * at, true));
  }

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

  const size = (values) => values.reduce((most, one) => Math.max(most, Math.abs(one)), 0);

  const hits = data.hits.map((raw) => {
    const hit = { ...raw, characters: Array.from(raw.text), open: false };
    if (raw.reason !== null) return hit;
    hit.values = floats(raw.values);
    hit.query = floats(raw.query);
    hit.units = [];
    let at = 0;
    for (let n = 0; n < raw.spans.length; n += 2) {
      const start = at + raw.spans[n];
      at = start + raw.spans[n + 1];
      hit.units.push([start, at]);
    }
    if (raw.pairs) {
      const whole = new Int8Array(bytes(raw.pairs).buffer);
      hit.pairs = (s, t) => whole[s * hit.units.length + t] * raw.pair_scale;
    }
    return hit;
  });
  const explained = hits.filter((hit) => hit.reason === null);
  // One scale for all hits: a word of a document that hardly scores is hardly coloured.
  const scales = new Map([[null, Math.max(0, ...explained.map((hit) => size(hit.values)))]]);

  function valuesOf(hit) {
    return word !== null && hit.pairs ? hit.values.map((_, t) => hit.pairs(word, t)) : hit.values;
  }

  function scale() {
    if (!scales.has(word)) scales.set(word, Math.max(0, ...explained.map((hit) => size(valuesOf(hit)))));
    return scales.get(word);
  }

  // ---- query

  function means() {
    return data.words.map((_, s) => explained.reduce((sum, hit) => sum + hit.query[s], 0) / (explained.length || 1));
  }

  function listWords() {
    const values = means();
    const largest = size(values.filter((_, s) => data.roles[s] === "text"));
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
      line.textContent = "Numbers above are means over the hits; words below are marked by what they have in the score.";
      return;
    }
    const best = explained.reduce((top, hit) => (top && top.query[word] >= hit.query[word] ? top : hit), null);
    line.append(element("bdi", "", data.words[word]));
    if (!best) return;
    line.append(" has most in hit " + (best.rank + 1) + ": " + signed(best.query[word], 4) + ". ");
    line.append(best.pairs ? "Marked is where it is answered." : "Where it is answered is known with detail=\"pairs\".");
  }

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
    if (ranges === whole) nodes.push(document.createTextNode(rest));
    else if (rest.trim()) nodes.push(element("span", "gap", " \u2026"));
    return nodes;
  }

  function paintHit(hit) {
    if (hit.reason !== null) return;
    const asked = word !== null;
    hit.share.textContent = asked ? data.words[word] + " " + signed(hit.query[word]) : "";
    const values = valuesOf(hit);
    const largest = scale();
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
    const largest = size(hits.map((hit) => hit.score));
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

  // ---- contrast

  function compare(rank, on) {
    compared = on ? [...compared, rank].slice(-2) : compared.filter((one) => one !== rank);
    hits.forEach((hit) => {
      const chosen = compared.includes(hit.rank);
      if (hit.box) hit.box.checked = chosen;
      hit.item.classList.toggle("chosen", chosen);
    });
    showContrast();
  }

  function showContrast() {
    const panel = $(".contrast");
    panel.hidden = compared.length < 2;
    if (panel.hidden) return;
    const [i, j] = [...compared].sort((p, q) => p - q).map((rank) => hits[rank]);
    const margin = i.score - j.score;
    const rows = data.words.map((label, s) => [label, i.query[s], j.query[s], data.roles[s]]);
    const shown = rows.filter((row) => row[3] === "text").sort((p, q) => Math.abs(q[1] - q[2]) - Math.abs(p[1] - p[2]));
    const sum = (side) => rows.reduce((total, row) => total + (row[3] === "text" ? 0 : row[side]), 0);
    shown.push(["(other tokens)", sum(1), sum(2)], ["(reference)", i.query_baseline, j.query_baseline]);
    const largest = size(shown.map((row) => row[1] - row[2]));
    $(".contrast h2").textContent = "Hit " + (i.rank + 1) + " less hit " + (j.rank + 1) + ": " + signed(i.score, 4).replace("+", "")
      + " \u2212 " + signed(j.score, 4).replace("+", "") + " = " + signed(margin, 4);
    $(".contrast tbody").replaceChildren(...shown.map(([label, one, other]) => {
      const row = element("tr");
      const head = element("th");
      head.scope = "row";
      head.append(element("bdi", "", label));
      const side = element("td", "side");
      const filled = element("span");
      filled.style.width = (largest ? (100 * Math.abs(one - other)) / largest : 0) + "%";
      filled.style.setProperty("--hue", one < other ? "var(--negative)" : "var(--positive)");
      side.append(filled);
      row.append(head, element("td", "", signed(one)), element("td", "", signed(other)), element("td", "", signed(one - other)), side);
      return row;
    }));
    const gap = margin - shown.reduce((total, row) => total + row[1] - row[2], 0);
    $(".contrast .note").textContent = "error " + gap.toExponential(1);
  }

  listWords();
  listHits();
  $(".how").textContent = data.how.join(" \u00b7 ");
  $(".words").addEventListener("keydown", moveAmongWords);
  root.addEventListener("keydown", (event) => {
    if (event.key !== "Escape") return;
    compared = [];
    compare(-1, false);
    choose(null);
  });
  readOut();
}
