function (host, data) {
  "use strict";
  const root = host.attachShadow({ mode: "open" });
  root.innerHTML = "<style>" + data.css + "</style>" + data.html;
  // JupyterLab would take arrow keys and letters for its own commands.
  host.setAttribute("data-lm-suppress-shortcuts", "true");

  const $ = (selector) => root.querySelector(selector);
  const NAMES = ["a", "b"];
  const MAX_OPACITY = 0.68;
  const lists = [...root.querySelectorAll(".units")];
  const canvas = $("canvas");
  const slider = $(".threshold input");
  let level = null;
  let selection = null; // {side, from, to}: units of one text, both ends included
  let cell = null; // [s, t]: one pair
  let threshold = 0;
  let kept = false;
  let anchor = null; // where a span of units began: {side, at, moved, was}
  let dragging = false;

  function element(tag, className, text) {
    const node = document.createElement(tag);
    if (className) node.className = className;
    if (text !== undefined) node.textContent = text;
    return node;
  }

  // ---- numbers

  function decode(text, shape) {
    const bytes = Uint8Array.from(atob(text), (character) => character.charCodeAt(0));
    const words = new DataView(bytes.buffer);
    return Float64Array.from({ length: shape[0] * shape[1] }, (_, at) => words.getFloat32(4 * at, true));
  }

  function prepare(raw) {
    const values = decode(raw.matrix, raw.shape);
    const [rows, columns] = raw.shape;
    const value = (s, t) => values[s * columns + t];
    const largest = values.reduce((most, one) => Math.max(most, Math.abs(one)), 0);
    const totals = [new Float64Array(rows), new Float64Array(columns)];
    for (let s = 0; s < rows; s++) {
      for (let t = 0; t < columns; t++) {
        totals[0][s] += value(s, t);
        totals[1][t] += value(s, t);
      }
    }
    const order = Math.floor(Math.log10(largest || 1));
    return { ...raw, rows, columns, value, largest, totals, digits: order < -5 ? null : Math.max(0, 2 - order) };
  }

  function signed(number, extra = 0) {
    const size = Math.abs(number);
    const text = level.digits === null && size > 0 ? size.toExponential(1 + extra)
      : size.toFixed((level.digits || 0) + extra);
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

  // ---- texts

  function fillTexts() {
    level.sides.forEach((side, which) => {
      lists[which].replaceChildren(...side.labels.map((label, at) => {
        const unit = element("span", "unit " + side.roles[at] + (side.joined[at] ? " joined" : ""));
        unit.setAttribute("role", "option");
        unit.tabIndex = at === 0 ? 0 : -1;
        if (side.roles[at] === "special") unit.dir = "ltr";
        if (side.roles[at] !== "text") unit.title = side.roles[at] === "rest" ? "in no range" : side.roles[at];
        unit.append(element("span", "label", label), element("span", "value"));
        return unit;
      }));
    });
  }

  function paint(unit, number, largest, state) {
    const strength = number === null || !largest ? 0 : Math.min(1, Math.abs(number) / largest);
    unit.style.setProperty("--hue", number < 0 ? "var(--negative)" : "var(--positive)");
    unit.style.setProperty("--alpha", (strength * MAX_OPACITY).toFixed(3));
    unit.lastChild.textContent = number === null ? "" : signed(number);
    unit.classList.toggle("strong", strength > 0.1);
    unit.classList.toggle("selected", state === "selected");
    unit.classList.toggle("partner", state === "partner");
    unit.setAttribute("aria-selected", state === "selected");
  }

  function paintTexts() {
    const sums = selection && partners(selection);
    let largest = level.largest;
    if (sums) for (const one of sums) largest = Math.max(largest, Math.abs(one));
    lists.forEach((list, which) => {
      const totals = level.totals[which];
      const most = totals.reduce((top, one) => Math.max(top, Math.abs(one)), 0);
      [...list.children].forEach((unit, at) => {
        if (!selection) return paint(unit, totals[at], most, "");
        if (which === selection.side) {
          const chosen = at >= selection.from && at <= selection.to;
          return paint(unit, chosen ? totals[at] : null, Infinity, chosen ? "selected" : "");
        }
        return paint(unit, shown(sums[at]) ? sums[at] : null, largest, cell && cell[which] === at ? "partner" : "");
      });
    });
    readOut(sums);
  }

  function label(one) {
    const side = level.sides[one.side];
    let text = "";
    for (let at = one.from; at <= one.to; at++) text += (at > one.from && !side.joined[at] ? " " : "") + side.labels[at];
    return text;
  }

  function isolated(text) {
    const characters = Array.from(text);
    return element("bdi", "", characters.length > 60 ? characters.slice(0, 59).join("") + "…" : text);
  }

  function readOut(sums) {
    const line = $(".readout");
    line.replaceChildren();
    if (!selection) {
      line.append(element("span", "muted", "Each number is the sum over the other text."));
      return;
    }
    const here = NAMES[selection.side];
    const there = NAMES[1 - selection.side];
    if (cell) {
      const parts = NAMES.map((name, side) => [element("span", "muted", name + " "), isolated(level.sides[side].labels[cell[side]])]);
      const number = element("b", "", signed(level.value(cell[0], cell[1]), 1));
      line.append(...parts[0], "  ·  ", ...parts[1], "  ", number);
      return;
    }
    const total = sums.reduce((sum, one) => sum + one, 0);
    line.append(element("span", "muted", here + " "), isolated(label(selection)), element("span", "muted", " sums to "));
    line.append(element("b", "", signed(total, 1)));
    const top = strongest(sums).filter((at) => shown(sums[at])).slice(0, 3);
    line.append(element("span", "muted", " over " + there + (top.length ? ", strongest " : "")));
    top.forEach((at, rank) => {
      line.append(rank ? " · " : "", isolated(level.sides[1 - selection.side].labels[at]), " " + signed(sums[at], 1));
    });
  }

  // ---- heat map

  const map = {};

  function shorten(context, text, width) {
    if (context.measureText(text).width <= width) return text;
    const characters = Array.from(text).slice(0, 60);
    while (characters.length && context.measureText(characters.join("") + "…").width > width) characters.pop();
    return characters.join("").trimEnd() + "…";
  }

  function measureMap() {
    const context = canvas.getContext("2d");
    const { rows, columns } = level;
    context.font = map.font = "11.5px system-ui, sans-serif";
    const limits = [Math.max(120, 0.3 * $(".scroll").clientWidth), 120];
    map.labels = level.sides.map((side, which) => side.labels.map((text) => shorten(context, text, limits[which])));
    const widths = map.labels.map((side) => Math.max(...side.map((text) => context.measureText(text).width)));
    map.left = Math.ceil(widths[0]) + 12;
    const room = ($(".scroll").clientWidth || 800) - map.left - 4;
    map.width = Math.max(11, Math.min(56, Math.floor(room / columns)));
    map.numbers = map.width >= 44;
    map.angle = widths[1] + 6 <= map.width ? 0 : map.width >= 22 ? -Math.PI / 4 : -Math.PI / 2;
    map.overhang = map.angle === -Math.PI / 4 ? Math.ceil(widths[1] * 0.71) : 0;
    map.width = Math.max(11, Math.min(map.width, Math.floor((room - map.overhang) / columns)));
    map.numbers = map.numbers && map.width >= 40;
    map.height = map.numbers ? 26 : Math.min(map.width, 22);
    map.top = Math.ceil(map.angle === 0 ? 20 : 12 + widths[1] * Math.sin(-map.angle));
    map.total = [map.left + columns * map.width + map.overhang + 4, map.top + rows * map.height + 2];
  }

  function drawMap() {
    measureMap();
    const ratio = window.devicePixelRatio || 1;
    canvas.width = map.total[0] * ratio;
    canvas.height = map.total[1] * ratio;
    canvas.style.width = map.total[0] + "px";
    canvas.style.height = map.total[1] + "px";
    const style = getComputedStyle($(".view"));
    const hues = ["--positive", "--negative"].map((name) => style.getPropertyValue(name).trim().split(" ").join(","));
    const context = canvas.getContext("2d");
    context.scale(ratio, ratio);
    context.font = map.font;
    context.textBaseline = "middle";
    drawLabels(context, style.color);
    for (let s = 0; s < level.rows; s++) {
      for (let t = 0; t < level.columns; t++) drawCell(context, s, t, hues, style.color);
    }
    const name = `Heat map, ${level.rows} rows of text a by ${level.columns} columns of text b; arrow keys read pairs`;
    $(".scroll").setAttribute("aria-label", name);
    markMap();
  }

  function drawLabels(context, color) {
    context.fillStyle = color;
    map.labels[0].forEach((text, s) => {
      context.textAlign = "right";
      context.fillText(text, map.left - 6, map.top + (s + 0.5) * map.height);
    });
    map.labels[1].forEach((text, t) => {
      context.save();
      context.translate(map.left + (t + 0.5) * map.width, map.top - 7);
      context.rotate(map.angle);
      context.textAlign = map.angle ? "left" : "center";
      context.fillText(text, 0, map.angle ? 0 : -3);
      context.restore();
    });
  }

  function drawCell(context, s, t, hues, color) {
    const number = level.value(s, t);
    const x = map.left + t * map.width;
    const y = map.top + s * map.height;
    const gap = map.width > 8 ? 1 : 0;
    const strength = level.largest ? Math.abs(number) / level.largest : 0;
    context.fillStyle = color;
    context.globalAlpha = 0.05;
    context.fillRect(x, y, map.width - gap, map.height - gap);
    context.globalAlpha = 1;
    if (!shown(number)) return;
    context.fillStyle = `rgba(${hues[number < 0 ? 1 : 0]},${strength * MAX_OPACITY})`;
    context.fillRect(x, y, map.width - gap, map.height - gap);
    if (!map.numbers) return;
    context.fillStyle = color;
    context.globalAlpha = strength > 0.05 ? 1 : 0.65;
    context.textAlign = "center";
    context.fillText(signed(number), x + (map.width - gap) / 2, y + map.height / 2);
    context.globalAlpha = 1;
  }

  function frame(className, x, y, width, height) {
    const node = element("div", className);
    Object.assign(node.style, { left: x - 1 + "px", top: y - 1 + "px", width: width + 1 + "px", height: height + 1 + "px" });
    $(".stage").append(node);
  }

  function markMap() {
    root.querySelectorAll(".band, .spot").forEach((node) => node.remove());
    if (!selection) return;
    const { left, top, width, height } = map;
    const count = selection.to - selection.from + 1;
    if (selection.side === 0) frame("band", left, top + selection.from * height, level.columns * width, count * height);
    else frame("band", left + selection.from * width, top, count * width, level.rows * height);
    if (cell) frame("spot", left + cell[1] * width, top + cell[0] * height, width, height);
  }

  function cellAt(event) {
    const box = canvas.getBoundingClientRect();
    const s = Math.floor((event.clientY - box.top - map.top) / map.height);
    const t = Math.floor((event.clientX - box.left - map.left) / map.width);
    return s >= 0 && t >= 0 && s < level.rows && t < level.columns ? [s, t] : null;
  }

  function selectCell(pair) {
    cell = pair;
    selection = pair && { side: 0, from: pair[0], to: pair[0] };
    update();
  }

  // ---- selection

  function select(side, from, to) {
    cell = null;
    selection = { side, from: Math.min(from, to), to: Math.max(from, to) };
    update();
  }

  function clear() {
    selection = cell = null;
    kept = false;
    update();
  }

  function update() {
    paintTexts();
    markMap();
  }

  function place(target) {
    const unit = target.closest && target.closest(".unit");
    if (!unit) return null;
    const side = lists.indexOf(unit.parentNode);
    return { side, at: [...lists[side].children].indexOf(unit) };
  }

  function focusUnit(side, at) {
    const units = lists[side].children;
    for (const unit of units) unit.tabIndex = -1;
    units[at].tabIndex = 0;
    units[at].focus();
  }

  function onKey(event, side) {
    const where = place(event.target);
    if (!where || event.ctrlKey || event.metaKey || event.altKey) return;
    const last = lists[side].children.length - 1;
    const forward = getComputedStyle(lists[side]).direction === "rtl" ? "ArrowLeft" : "ArrowRight";
    const backward = forward === "ArrowRight" ? "ArrowLeft" : "ArrowRight";
    const goal = { [forward]: Math.min(where.at + 1, last), [backward]: Math.max(where.at - 1, 0), Home: 0, End: last };
    if (event.key in goal) {
      const start = event.shiftKey && anchor && anchor.side === side ? anchor.at : event.shiftKey ? where.at : null;
      kept = false;
      focusUnit(side, goal[event.key]);
      anchor = { side, at: start === null ? goal[event.key] : start };
      select(side, anchor.at, goal[event.key]);
    } else if (event.key === (side === 0 ? "ArrowDown" : "ArrowUp")) {
      focusUnit(1 - side, strongest(partners({ side, from: where.at, to: where.at }))[0]);
    } else if (event.key === "Enter" || event.key === " ") {
      kept = !kept;
      if (!selection) select(side, where.at, where.at);
    } else if (event.key === "Escape") {
      clear();
    } else if (!["ArrowUp", "ArrowDown"].includes(event.key)) {
      return;
    }
    event.preventDefault();
    event.stopPropagation();
  }

  function listen(list, side) {
    list.addEventListener("keydown", (event) => onKey(event, side));
    list.addEventListener("focusin", (event) => {
      const where = place(event.target);
      if (dragging || !where) return;
      kept = false;
      anchor = { side, at: where.at };
      select(side, where.at, where.at);
    });
    list.addEventListener("focusout", (event) => {
      if (!kept && !dragging && !list.contains(event.relatedTarget)) clear();
    });
    list.addEventListener("pointerover", (event) => {
      const where = place(event.target);
      if (!where) return;
      if (dragging && anchor.side === side) {
        anchor.moved = anchor.moved || where.at !== anchor.at;
        select(side, anchor.at, where.at);
      } else if (!dragging && !kept) select(side, where.at, where.at);
    });
    list.addEventListener("pointerleave", () => {
      if (kept || dragging) return;
      const focused = root.activeElement && place(root.activeElement);
      if (focused) select(focused.side, focused.at, focused.at);
      else clear();
    });
    list.addEventListener("pointerdown", (event) => {
      const where = place(event.target);
      if (!where || event.button) return;
      const same = kept && selection && selection.side === side && selection.from === where.at && selection.to === where.at;
      const extend = event.shiftKey && anchor && anchor.side === side;
      dragging = true;
      for (const type of ["pointerup", "pointercancel"]) window.addEventListener(type, finishDrag, { once: true });
      anchor = { side, at: extend ? anchor.at : where.at, moved: extend, was: same };
      select(side, anchor.at, where.at);
    });
  }

  function finishDrag() {
    if (!dragging) return;
    dragging = false;
    kept = true;
    if (anchor.was && !anchor.moved) clear();
  }

  function listenMap() {
    const scroll = $(".scroll");
    canvas.addEventListener("pointermove", (event) => kept || selectCell(cellAt(event)));
    canvas.addEventListener("pointerleave", () => kept || clear());
    canvas.addEventListener("click", (event) => {
      const pair = cellAt(event);
      const same = kept && pair && cell && pair[0] === cell[0] && pair[1] === cell[1];
      kept = Boolean(pair) && !same;
      selectCell(same ? null : pair);
    });
    scroll.addEventListener("keydown", (event) => {
      const step = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] }[event.key];
      if (event.key === "Escape") clear();
      else if (!step) return;
      else {
        const next = cell ? [cell[0] + step[0], cell[1] + step[1]] : [0, 0];
        selectCell([Math.max(0, Math.min(level.rows - 1, next[0])), Math.max(0, Math.min(level.columns - 1, next[1]))]);
        const right = map.left + (cell[1] + 1) * map.width;
        if (right > scroll.scrollLeft + scroll.clientWidth) scroll.scrollLeft = right - scroll.clientWidth;
        if (right - map.width < scroll.scrollLeft) scroll.scrollLeft = right - map.width - map.left;
      }
      event.preventDefault();
      event.stopPropagation();
    });
    scroll.addEventListener("blur", () => kept || clear());
  }

  // ---- what stays in view

  function strongestPairs(count) {
    const pairs = [];
    for (let s = 0; s < level.rows; s++) {
      for (let t = 0; t < level.columns; t++) {
        if (level.sides[0].roles[s] === "text" && level.sides[1].roles[t] === "text") pairs.push([s, t]);
      }
    }
    return pairs.sort((p, q) => Math.abs(level.value(...q)) - Math.abs(level.value(...p))).slice(0, count);
  }

  function fillPairs() {
    const { sides } = level;
    level.pairs = level.pairs || strongestPairs(12);
    $(".pairs tbody").replaceChildren(...level.pairs.filter(([s, t]) => shown(level.value(s, t))).map(([s, t]) => {
      const line = element("tr");
      [isolated(sides[0].labels[s]), isolated(sides[1].labels[t]), signed(level.value(s, t), 1)].forEach((content) => {
        const entry = element("td");
        entry.append(content);
        line.append(entry);
      });
      return line;
    }));
  }

  function fillSum() {
    const list = $(".sum");
    data.summary.forEach(([name, text, sign]) => {
      const group = element("div", name === data.summary[0][0] ? "score" : name === "error" ? "error" : "");
      if (sign) group.dataset.sign = sign;
      group.append(element("dt", "", name), element("dd", "", text));
      list.append(group);
    });
    $(".how").append(...data.how.map((text) => element("span", "", text)));
    if (data.caption) $(".rows").append("; " + data.caption);
    data.notes.forEach((text) => $("header").append(element("p", "note", text)));
    $(".view").setAttribute("aria-label", "Attribution of the " + data.summary[0][0]);
  }

  function showLevel(index) {
    level = data.levels[index];
    if (!level.value) level = data.levels[index] = prepare(level);
    fillTexts();
    showThreshold();
    clear();
  }

  function showThreshold() {
    threshold = (level.largest * slider.value) / 100;
    const size = signed(threshold).replace("+", "");
    $(".threshold output").textContent = size;
    slider.setAttribute("aria-valuetext", size);
    $(".low").textContent = signed(-level.largest);
    $(".high").textContent = signed(level.largest);
    drawMap();
    fillPairs();
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

  fillSum();
  listLevels();
  lists.forEach(listen);
  listenMap();
  slider.addEventListener("input", showThreshold);
  root.addEventListener("click", (event) => {
    if (kept && !event.target.closest(".unit, .stage, .controls, .pairs")) clear();
  });
  showLevel(0);
  if (window.ResizeObserver) {
    let width = 0;
    new ResizeObserver(([entry]) => {
      if (Math.abs(entry.contentRect.width - width) > 1) drawMap();
      width = entry.contentRect.width;
    }).observe($(".scroll"));
  }
  window.matchMedia("(prefers-color-scheme: dark)").addEventListener("change", drawMap);
}
