"use strict";
const root = host.attachShadow({ mode: "open" });
root.innerHTML = "<style>" + data.css + "</style>" + data.html;
// JupyterLab would take arrow keys and letters for its own commands.
host.setAttribute("data-lm-suppress-shortcuts", "true");

const $ = (selector) => root.querySelector(selector);

function element(tag, className, text) {
  const node = document.createElement(tag);
  if (className) node.className = className;
  if (text !== undefined) node.textContent = text;
  return node;
}

function bytesOf(text) {
  return Uint8Array.from(atob(text), (character) => character.charCodeAt(0));
}

function floatsOf(text) {
  const view = new DataView(bytesOf(text).buffer);
  return Float64Array.from({ length: view.byteLength / 4 }, (_, at) => view.getFloat32(4 * at, true));
}

const sizeOf = (numbers) => numbers.reduce((most, one) => Math.max(most, Math.abs(one)), 0);

function fillLegend() {
  $(".legend dl").replaceChildren(...data.legend.flatMap(([name, text, address]) => {
    const term = element("dt", "", address ? undefined : name);
    if (address) term.append(Object.assign(element("a", "", name), { href: address, rel: "noopener" }));
    return [term, element("dd", "", text)];
  }));
}

// Printing shows what is folded, in the colours for white paper, at the width of a page.
function whilePrinting(open, close) {
  let folded = [];
  window.addEventListener("beforeprint", () => {
    folded = [...root.querySelectorAll("details:not([open])")];
    folded.forEach((details) => { details.open = true; });
    $(".view").classList.add("printing");
    open();
  });
  window.addEventListener("afterprint", () => {
    folded.forEach((details) => { details.open = false; });
    $(".view").classList.remove("printing");
    close();
  });
}
