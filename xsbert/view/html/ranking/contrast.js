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
  const largest = sizeOf(shown.map((row) => row[1] - row[2]));
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
