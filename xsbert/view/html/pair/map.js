// ---- heat map

const map = {};

function shorten(context, text, width) {
  if (context.measureText(text).width <= width) return text;
  const characters = Array.from(text).slice(0, 60);
  while (characters.length && context.measureText(characters.join("") + "\u2026").width > width) characters.pop();
  return characters.join("").trimEnd() + "\u2026";
}

function measureMap() {
  const context = canvas.getContext("2d");
  const { rows, columns } = level;
  context.font = map.font = "11.5px system-ui, sans-serif";
  const limits = [Math.max(120, 0.3 * $(".scroll").clientWidth), 120];
  map.labels = level.sides.map((side, which) => side.labels.map((text) => shorten(context, text, limits[which])));
  const widest = map.labels.map((side) => Math.max(...side.map((text) => context.measureText(text).width)));
  map.left = Math.ceil(widest[0]) + 12;
  const room = ($(".scroll").clientWidth || 800) - map.left - 4;
  map.width = Math.max(11, Math.min(56, Math.floor(room / columns)));
  map.numbers = map.width >= 36;
  map.angle = widest[1] + 6 <= map.width ? 0 : map.width >= 22 ? -Math.PI / 4 : -Math.PI / 2;
  map.overhang = map.angle === -Math.PI / 4 ? Math.ceil(widest[1] * 0.71) : 0;
  map.width = Math.max(11, Math.min(map.width, Math.floor((room - map.overhang) / columns)));
  map.numbers = map.numbers && map.width >= 34;
  map.height = map.numbers ? 26 : Math.max(11, Math.min(map.width, 22));
  map.top = Math.ceil(map.angle === 0 ? 20 : 12 + widest[1] * Math.sin(-map.angle));
  if (map.height < 14) map.font = "10px system-ui, sans-serif";
  map.total = [map.left + columns * map.width + map.overhang + 4, map.top + rows * map.height + 2];
}

const powerOfCells = () => (map.numbers ? POWER : BARE_POWER);

function drawRamp() {
  const stops = [-1, -0.75, -0.5, -0.25, -0.1, 0, 0.1, 0.25, 0.5, 0.75, 1].map((at) => {
    const alpha = (Math.abs(at) ** powerOfCells()).toFixed(3);
    return `rgb(var(--${at < 0 ? "negative" : "positive"}) / calc(${alpha} * var(--opacity))) ${50 + 50 * at}%`;
  });
  $(".ramp").style.background = `linear-gradient(to right, ${stops.join(", ")})`;
}

function drawMap() {
  measureMap();
  drawRamp();
  // Paper shows more dots than a screen.
  const wanted = Math.max(window.devicePixelRatio || 1, $(".view").classList.contains("printing") ? 3 : 1);
  // A canvas beyond what browsers hold stays empty: long matrices get fewer dots, not none.
  const ratio = Math.min(wanted, 8192 / map.total[0], 8192 / map.total[1]);
  canvas.width = map.total[0] * ratio;
  canvas.height = map.total[1] * ratio;
  canvas.style.width = map.total[0] + "px";
  canvas.style.height = map.total[1] + "px";
  const style = getComputedStyle($(".view"));
  const colours = {
    ink: style.color,
    hues: ["--positive", "--negative"].map((name) => style.getPropertyValue(name).trim().split(" ").join(",")),
    opacity: Number(style.getPropertyValue("--opacity")),
  };
  const context = canvas.getContext("2d");
  context.scale(ratio, ratio);
  context.font = map.font;
  context.textBaseline = "middle";
  drawLabels(context, colours.ink);
  for (let s = 0; s < level.rows; s++) {
    for (let t = 0; t < level.columns; t++) drawCell(context, s, t, colours);
  }
  const name = `Heat map, ${level.rows} rows of text a by ${level.columns} columns of text b; arrow keys read pairs`;
  $(".scroll").setAttribute("aria-label", name);
  markMap();
}

function drawLabels(context, ink) {
  context.fillStyle = ink;
  map.labels[0].forEach((text, s) => {
    context.globalAlpha = level.isText[0][s] ? 1 : 0.6;
    context.textAlign = "right";
    context.fillText(text, map.left - 6, map.top + (s + 0.5) * map.height);
  });
  map.labels[1].forEach((text, t) => {
    context.save();
    context.globalAlpha = level.isText[1][t] ? 1 : 0.6;
    context.translate(map.left + (t + 0.5) * map.width, map.top - 7);
    context.rotate(map.angle);
    context.textAlign = map.angle ? "left" : "center";
    context.fillText(text, 0, map.angle ? 0 : -3);
    context.restore();
  });
  context.globalAlpha = 1;
}

function drawCell(context, s, t, colours) {
  const number = level.value(s, t);
  const x = map.left + t * map.width;
  const y = map.top + s * map.height;
  const gap = map.width > 14 ? 1 : 0.5;
  const largest = own ? level.rowMost[s] : level.largest;
  const strength = largest ? Math.min(1, Math.abs(number) / largest) : 0;
  context.fillStyle = colours.ink;
  context.globalAlpha = 0.05;
  context.fillRect(x, y, map.width - gap, map.height - gap);
  context.globalAlpha = 1;
  if (!shown(number)) return;
  const muted = level.isText[0][s] && level.isText[1][t] ? 1 : MUTED;
  context.fillStyle = `rgba(${colours.hues[number < 0 ? 1 : 0]},${muted * colours.opacity * strength ** powerOfCells()})`;
  context.fillRect(x, y, map.width - gap, map.height - gap);
  if (!map.numbers) return;
  context.fillStyle = colours.ink;
  context.globalAlpha = muted < 1 ? 0.6 : strength > 0.05 ? 1 : 0.7;
  context.textAlign = "center";
  context.fillText(signed(number, level.largest), x + (map.width - gap) / 2, y + map.height / 2);
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
