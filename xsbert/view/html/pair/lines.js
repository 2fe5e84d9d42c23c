// ---- lines between the texts

function linesShown() {
  if (cell) return [[...cell, level.value(...cell)]];
  if (!selection) {
    const pairs = level.pairs.slice(0, N_LINES).map(([s, t]) => [s, t, level.value(s, t)]);
    return pairs.filter(([, , number]) => Math.abs(number) >= 0.1 * level.largest);
  }
  if (selection.from !== selection.to) return [];
  const sums = partners(selection);
  const top = strongest(sums).filter((at) => level.isText[1 - selection.side][at] && sums[at]).slice(0, 3);
  return top.map((at) => (selection.side === 0 ? [selection.from, at, sums[at]] : [at, selection.from, sums[at]]));
}

function drawLines() {
  const svg = $(".lines");
  const box = svg.getBoundingClientRect();
  const lines = linesShown().filter(([, , number]) => number && shown(number));
  const most = sizeOf(lines.map(([, , number]) => number));
  const scale = own ? most : Math.max(most, level.largest);
  svg.replaceChildren(...lines.map(([s, t, number]) => {
    const [from, to] = [lists[0].children[s], lists[1].children[t]].map((unit) => unit.getBoundingClientRect());
    const [x, y] = [from.left + from.width / 2 - box.left, from.bottom - box.top];
    const [right, below] = [to.left + to.width / 2 - box.left, to.top - box.top];
    const bend = Math.max(12, (below - y) / 2);
    const path = document.createElementNS(svg.namespaceURI, "path");
    path.setAttribute("d", `M${x} ${y} C${x} ${y + bend} ${right} ${below - bend} ${right} ${below}`);
    path.setAttribute("class", number < 0 ? "against" : "for");
    path.style.strokeWidth = 0.75 + 3.5 * Math.abs(number) / (scale || 1) + "px";
    return path;
  }));
}
