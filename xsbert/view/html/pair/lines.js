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

// Rows of words of each text, with the gaps between the words, where a line can pass.
let rows = [[], []];

function measureRows() {
  const box = $(".lines").getBoundingClientRect();
  rows = lists.map((list, side) => {
    const found = [];
    for (const unit of list.children) {
      const at = unit.getBoundingClientRect();
      const [left, right, top, bottom] = [at.left - box.left, at.right - box.left, at.top - box.top, at.bottom - box.top];
      const last = found[found.length - 1];
      if (last && top < last.bottom) {
        last.words.push([left, right, unit.classList.contains("joined")]);
        last.bottom = Math.max(last.bottom, bottom);
      } else found.push({ top, bottom, words: [[left, right, false]] });
    }
    found.forEach((row) => { row.gaps = gapsOf(row.words); });
    const stop = root.querySelectorAll(".stop")[side];
    if (!stop.hidden) {
      const at = stop.getBoundingClientRect();
      found.push({ top: at.top - box.top, bottom: at.bottom - box.top, gaps: [at.left - box.left - 4, at.right - box.left + 4] });
    }
    return found;
  });
}

function gapsOf(words) {
  const sorted = [...words].sort((p, q) => p[0] - q[0]);
  const between = sorted.slice(1).map(([left, , joined], at) => (joined ? null : (sorted[at][1] + left) / 2));
  return [sorted[0][0] - 3, ...between.filter((x) => x !== null), sorted[sorted.length - 1][1] + 3];
}

// From a word of text a to one of text b, through the gaps of all rows between them.
function route(x, y, right, below) {
  let path = `M${x} ${y}`;
  let at = [x, y];
  const bendTo = (x2, y2) => {
    const bend = (y2 - at[1]) / 2;
    path += ` C${at[0]} ${at[1] + bend} ${x2} ${y2 - bend} ${x2} ${y2}`;
    at = [x2, y2];
  };
  const crossed = [...rows[0].filter((row) => row.top >= y - 1), ...rows[1].filter((row) => row.bottom <= below + 1)];
  crossed.forEach((row) => {
    const wanted = at[0] + ((right - at[0]) * (row.top - at[1])) / Math.max(1, below - at[1]);
    const gap = row.gaps.reduce((best, one) => (Math.abs(one - wanted) < Math.abs(best - wanted) ? one : best));
    bendTo(gap, row.top);
    path += ` V${row.bottom}`;
    at = [gap, row.bottom];
  });
  bendTo(right, below);
  return path;
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
    const path = document.createElementNS(svg.namespaceURI, "path");
    path.setAttribute("d", route(x, y, right, below));
    path.setAttribute("class", number < 0 ? "against" : "for");
    path.style.strokeWidth = 0.75 + 3.5 * Math.abs(number) / (scale || 1) + "px";
    return path;
  }));
}
