"use strict";
// What moved between two results, and two results side by side.

const MOST_ROWS = 40;

function element(tag, className, ...content) {
  const node = document.createElement(tag);
  if (className) node.className = className;
  node.append(...content);
  return node;
}

function signed(number, digits = 3) {
  const text = Math.abs(number).toFixed(digits);
  return (Number(text) === 0 ? "" : number < 0 ? "\u2212" : "+") + text;
}

function plain(number, digits = 4) {
  return signed(number, digits).replace("+", "");
}

const largestOf = (numbers) => numbers.reduce((most, one) => Math.max(most, Math.abs(one)), 0);

// A word in the colour of its value, which a tooltip and the reading aloud have as well.
function word(label, value, largest, className) {
  const node = element(className === "added" ? "ins" : "span", className, element("bdi", "", label));
  const shown = className === "added" ? element("span", "", node) : node;
  shown.style.setProperty("--hue", value < 0 ? "var(--negative)" : "var(--positive)");
  shown.style.setProperty("--share", largest ? (Math.abs(value) / largest).toFixed(3) : "0");
  shown.title = signed(value, 4);
  return shown;
}

function tableOf(head, rows) {
  const cells = (tag, row) => row.map((cell, at) => {
    const node = element(tag, typeof cell === "string" && at === row.length - 1 ? "text" : "", cell === null ? "" : cell);
    return node;
  });
  const table = element("table", "", element("thead", "", element("tr", "", ...cells("th", head))));
  table.append(element("tbody", "", ...rows.map((row) => element("tr", "", ...cells("td", row)))));
  return element("div", "scroll", table);
}

function movedPair(found) {
  const heading = `What moved: ${plain(found.before)} \u2192 ${plain(found.after)}, ${signed(found.margin, 4)}`;
  const largest = largestOf([...found.edit.map((step) => step[3]), ...found.shared.map((row) => row[1])]);
  const edited = element("p", "words");
  edited.dir = "auto";
  found.edit.forEach(([kind, before, after, value]) => edited.append(word(kind === "removed" ? before : after, value, largest, kind)));
  const shared = element("p", "words");
  shared.dir = "auto";
  found.shared.forEach(([label, value]) => shared.append(word(label, value, largest)));
  const strongest = [...found.edit].sort((p, q) => Math.abs(q[3]) - Math.abs(p[3])).slice(0, 6);
  const rows = strongest.map(([kind, before, after, value]) => [signed(value, 4), kind, kind === "removed" ? before : after]);
  return [
    element("h2", "", heading),
    element("small", "", "The edited text, by what each word adds now less what it added before (underlined: new, struck out: gone):"), edited,
    element("small", "", "The other text, by how much of the change each word has:"), shared,
    tableOf(["change", "", "word"], rows),
    element("small", "", `${signed(found.rest, 4)} of the change is in special tokens, the reference and the error.`),
  ];
}

function placed(place) {
  return place ? `${place[0]}.  ${place[1] === null ? "no score" : plain(place[1])}` : "\u2013";
}

function ranks(heading, names, found) {
  const rows = found.rows.slice(0, MOST_ROWS).map((row) => [
    placed(row.before), placed(row.after),
    row.before && row.after ? signed(row.after[1] - row.before[1], 4) : null,
    (row.edited ? "edited: " : "") + row.text,
  ]);
  return [element("h2", "", heading), tableOf([...names, "difference", "document"], rows)];
}

function besidePair(found, names) {
  const agreement = found.agreement === null ? "" : `; rank agreement of words ${plain(found.agreement, 2)}`;
  const heading = `Side by side: ${plain(found.scores[0])} and ${plain(found.scores[1])}${agreement}`;
  const rows = [...found.rows].sort((p, q) => Math.abs(q[2] - q[3]) - Math.abs(p[2] - p[3])).slice(0, 10);
  return [
    element("h2", "", heading),
    element("small", "", "The words on which both differ most, each as a share of all that the words of its model add:"),
    tableOf([...names, "difference", "text", "word"], rows.map(([text, label, one, other]) => [
      signed(one), signed(other), signed(one - other), element("span", "", text), label])),
  ];
}

function showComparison(found, names) {
  const panel = document.getElementById("comparison");
  panel.hidden = !found;
  if (!found) return;
  const side = names !== undefined;
  let content;
  if (found.kind === "ranking") content = ranks(side ? "Side by side" : "What moved", side ? names : ["before", "after"], found);
  else content = side ? besidePair(found, names) : movedPair(found);
  panel.replaceChildren(...content);
}
