"use strict";
// The form, the requests, and the address that holds their state.

const form = document.getElementById("ask");
const field = (name) => form.elements[name];
const status = document.getElementById("status");
const bar = document.getElementById("bar");
const stopButton = document.getElementById("stop");
const results = document.getElementById("results");
const DEFAULTS = { kind: "pair", a: "", b: "", query: "", documents: "", model: "", layer: "-2", reference: "", units: "words",
  similarity: "", pairs: "", top_k: "10", beside: "", model2: "", layer2: "-2", reference2: "" };
const HOW = ["model", "layer", "reference", "units", "similarity", "kind", "pairs", "top_k"];
const LONGEST_ADDRESS = 60000; // characters, beyond which browsers and programs cut addresses
let about = null;
let run = null; // the running requests: {ids, stopped}
let last = null; // the last finished request: {id, state}

// ---- state

function readForm() {
  return Object.fromEntries(Object.keys(DEFAULTS).map((name) => {
    const one = field(name);
    return [name, one.type === "checkbox" ? (one.checked ? "1" : "") : one.value];
  }));
}

function writeForm(state) {
  Object.entries(DEFAULTS).forEach(([name, value]) => {
    const one = field(name);
    const wanted = name in state ? state[name] : value;
    if (one.type === "checkbox") one.checked = wanted === "1";
    else if (one.tagName !== "SELECT" || [...one.options].some((option) => option.value === wanted)) one.value = wanted;
    else one.selectedIndex = 0;
  });
  showKind();
}

function showKind() {
  const kind = field("kind").value;
  document.querySelectorAll(".fields").forEach((node) => { node.hidden = node.dataset.kind !== kind; });
  document.getElementById("second").hidden = !field("beside").checked;
  const model = about.models.find((one) => one.name === field("model").value);
  document.getElementById("layers").textContent = model && model.n_layers
    ? `0 to ${model.n_layers}, or from the end: \u22122 is ${model.n_layers - 2}` : "0 is the first, \u22121 the last but one";
}

function addressOf(state) {
  const told = Object.entries(state).filter(([name, value]) => value !== DEFAULTS[name] && isAsked(name, state));
  return "#" + new URLSearchParams(told);
}

// What the other kind of request asks is no part of the state.
function isAsked(name, state) {
  if (["a", "b"].includes(name)) return state.kind === "pair";
  if (["query", "documents", "pairs", "top_k"].includes(name)) return state.kind === "ranking";
  return !name.endsWith("2") || state.beside;
}

function taskOf(state, second) {
  const own = (name) => state[second ? name + "2" : name];
  const task = { kind: state.kind, model: own("model"), layer: Number(own("layer")), reference: own("reference") || null,
    units: state.units, similarity: state.similarity || null };
  if (state.kind === "pair") return { ...task, a: state.a, b: state.b };
  return { ...task, query: state.query, documents: state.documents, pairs: state.pairs === "1", top_k: Number(state.top_k) };
}

// ---- requests

async function ask(address, options) {
  let response;
  try {
    response = await fetch(address, options);
  } catch {
    throw new Error("The app does not answer. Is it still running in its terminal?");
  }
  const content = await response.json();
  if (!response.ok) throw new Error(typeof content.error === "string" ? content.error : `The app answered ${response.status}.`);
  return content;
}

function tell(text, wrong) {
  status.textContent = text;
  status.classList.toggle("wrong", Boolean(wrong));
}

function tooLarge(body) {
  const size = new Blob([body]).size;
  return size > about.limits.bytes
    ? `This is ${Math.round(size / 1000)} kB, more than the app takes at once, ${about.limits.bytes / 1000} kB. `
      + "xsbert rank and xsbert corpus read files of any size."
    : null;
}

async function explain(push = true) {
  if (run) await stop();
  const state = readForm();
  const bodies = [false, ...(state.beside ? [true] : [])].map((second) => JSON.stringify(taskOf(state, second)));
  const refusal = bodies.map(tooLarge).find(Boolean);
  if (refusal) return tell(refusal, true);
  const address = addressOf(state);
  if (push && address !== location.hash) {
    if (address.length <= LONGEST_ADDRESS) history.pushState(null, "", address);
    else history.pushState(null, "", "#");
  }
  const mine = run = { ids: [], stopped: false };
  begin();
  try {
    const found = [];
    for (const body of bodies) {
      const job = await ask("jobs", { method: "POST", body, headers: { "Content-Type": "application/json" } });
      mine.ids.push(job.id);
      found.push(job);
    }
    for (let at = 0; at < found.length; at++) found[at] = await finished(mine, found[at]);
    if (run === mine) await show(state, found);
  } catch (error) {
    if (run === mine) tell(error.message, true);
  }
  if (run === mine) end();
  return undefined;
}

async function finished(mine, job) {
  let state = job;
  while (["waiting", "running"].includes(state.state)) {
    if (run === mine) progress(state);
    state = await ask(`jobs/${job.id}?wait=${state.work ? 0.5 : 0.3}`);
  }
  if (state.state === "failed") throw new Error(state.error);
  if (state.state === "stopped") throw new Error("Stopped.");
  return state;
}

function progress(state) {
  bar.hidden = false;
  if (state.state === "waiting") {
    bar.removeAttribute("value");
    return tell(state.before > 1 ? `Waiting for ${state.before - 1} other requests` : "Waiting");
  }
  if (!state.fraction) bar.removeAttribute("value");
  else bar.value = state.fraction;
  const left = state.seconds_left === null ? "" : `, about ${state.seconds_left < 10 ? state.seconds_left.toFixed(1) : Math.round(state.seconds_left)} s left`;
  const work = state.work === "model" && !state.model.n_layers ? `loading ${state.model.label}` : state.work;
  return tell(`Explaining: ${work}${state.fraction ? ` ${Math.round(100 * state.fraction)} %` : ""}${left}`);
}

async function stop() {
  const ending = run;
  if (!ending) return;
  await Promise.all(ending.ids.map((id) => ask(`jobs/${id}`, { method: "DELETE" }).catch(() => null)));
}

function begin() {
  stopButton.disabled = false;
  document.getElementById("notes").replaceChildren();
  showComparison(null);
  tell("Explaining");
}

function end() {
  run = null;
  stopButton.disabled = true;
  bar.hidden = true;
}

// ---- results

// The parts of two names that differ, for the heads of a table.
function whatDiffers(names) {
  const [one, other] = names.map((name) => name.split(", "));
  const kept = [one, other].map((parts) => parts.filter((_, at) => one[at] !== other[at]).join(", "));
  return kept[0] && kept[1] ? kept : ["first", "second"];
}

async function show(state, jobs) {
  const names = jobs.map((job) => job.how);
  results.classList.toggle("two", jobs.length > 1);
  results.replaceChildren(...jobs.map((job, at) => resultOf(job, names[at])));
  const notes = jobs.flatMap((job) => job.notes.map((text) => element("li", "", text)));
  document.getElementById("notes").replaceChildren(...notes);
  tell(jobs.map((job) => `Explained in ${job.seconds.toFixed(2)} s`).join(" and in ").replace(" and in Explained in", " and in"));
  jobs.forEach((job) => {
    const known = about.models.find((one) => one.name === job.model.name);
    if (known) known.n_layers = job.model.n_layers;
  });
  showKind();
  document.title = `${state.kind === "pair" ? state.a.slice(0, 40) : state.query.slice(0, 40)} \u2013 xsbert`;
  if (jobs.length > 1) {
    showComparison(await ask(`jobs/${jobs[0].id}/beside?other=${jobs[1].id}`), whatDiffers(names));
    last = null;
    return;
  }
  const before = last;
  last = { id: jobs[0].id, state };
  if (before && isEdit(before.state, state)) {
    try {
      showComparison(await ask(`jobs/${jobs[0].id}/moved?before=${before.id}`));
    } catch {
      showComparison(null); // the earlier result is kept no longer, or its words differ
    }
  }
}

function isEdit(before, after) {
  if (HOW.some((name) => before[name] !== after[name])) return false;
  if (after.kind === "ranking") return before.query !== after.query || before.documents !== after.documents;
  return (before.a === after.a) !== (before.b === after.b);
}

function resultOf(job, name) {
  const link = (text, address, saved) => {
    const node = Object.assign(element("a", "button", text), { href: address });
    if (saved) node.download = saved;
    else node.target = "_blank";
    return node;
  };
  const kinds = element("select", "", ...(job.kind === "pair" ? about.pictures : ["query words"]).map((kind) => element("option", "", kind)));
  kinds.setAttribute("aria-label", "Picture");
  const pictures = ["png", "pdf"].map((form) => link(form.toUpperCase(), "", `xsbert.${form}`));
  const choose = () => pictures.forEach((node, at) => {
    node.href = `jobs/${job.id}/picture.${["png", "pdf"][at]}${job.kind === "pair" ? `?kind=${kinds.value}` : ""}`;
  });
  kinds.addEventListener("change", choose);
  choose();
  const frame = Object.assign(element("iframe"), { src: `jobs/${job.id}/page`, title: `Explanation by ${name}` });
  frame.addEventListener("load", () => fit(frame));
  return element("article", "result", element("p", "exports", element("h2", "", name),
    link("Open", `jobs/${job.id}/page`), link("Save page", `jobs/${job.id}/page?download=true`, "xsbert.html"),
    kinds, ...pictures, link("JSON", `jobs/${job.id}/json`, "xsbert.json")), frame);
}

// The page is as high as it needs, and scrolls with this one.
function fit(frame) {
  const inner = frame.contentDocument.body;
  const resize = () => { frame.style.height = `${inner.scrollHeight + 48}px`; };
  new ResizeObserver(resize).observe(inner);
  resize();
}

// ---- files

async function read(file) {
  if (file.size > about.limits.bytes) {
    return tell(`${file.name} has ${Math.round(file.size / 1000)} kB, more than the app takes, ${about.limits.bytes / 1000} kB. xsbert rank reads files of any size.`, true);
  }
  try {
    const found = await ask(`documents?name=${encodeURIComponent(file.name)}`, { method: "POST", body: file });
    field("kind").value = "ranking";
    field("documents").value = found.text;
    showKind();
    return tell(`${found.n} documents of ${file.name}`);
  } catch (error) {
    return tell(error.message, true);
  }
}

// ---- start

function reopen() {
  const state = Object.fromEntries(new URLSearchParams(location.hash.slice(1)));
  writeForm(state);
  const ready = field("kind").value === "pair" ? field("a").value && field("b").value : field("query").value && field("documents").value;
  if (ready) explain(false);
}

async function start() {
  try {
    about = await ask("about");
  } catch (error) {
    return tell(error.message, true);
  }
  ["model", "model2"].forEach((name) => field(name).replaceChildren(...about.models.map((one) =>
    Object.assign(element("option", "", one.label), { value: one.name }))));
  DEFAULTS.model = DEFAULTS.model2 = about.models[0].name;
  reopen();
  document.body.dataset.ready = "true";
  return undefined;
}

form.addEventListener("submit", (event) => { event.preventDefault(); explain(); });
form.addEventListener("change", () => about && showKind());
stopButton.addEventListener("click", stop);
document.addEventListener("keydown", (event) => {
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) explain();
  else if (event.key === "Escape" && run) stop();
});
document.getElementById("file").addEventListener("change", (event) => {
  if (event.target.files.length) read(event.target.files[0]);
  event.target.value = "";
});
["dragover", "drop", "dragleave"].forEach((name) => document.addEventListener(name, (event) => {
  if (!event.dataTransfer.types.includes("Files")) return;
  event.preventDefault();
  form.classList.toggle("dropping", name === "dragover");
  if (name === "drop" && event.dataTransfer.files.length) read(event.dataTransfer.files[0]);
}));
window.addEventListener("popstate", reopen);
start();
