"use strict";
// The page of all answers. Texts of models and prompts enter the page as text (textContent) and in no other way.
const PAGE = 50;
const $ = (id) => document.getElementById(id);
const make = (name, text, into) => {
  const element = document.createElement(name);
  if (text !== undefined) element.textContent = text;
  if (into) into.append(element);
  return element;
};

let data = null;
let found = [];
let first = 0;
const loaded = new Map(); // file of texts or prompts -> a promise of what is in it
const waiting = new Map();
const HIDDEN = "Hidden. Tick “Show the texts” above to read it.";

// An answer as the filters see it, from a row of the index.
const unpack = ([file, prompt, verdicts, refusal, formats, end, tokens], place) => {
  const { run, axes, prompts, judges, first } = data.files[file];
  const [id, source] = data.names[prompts][prompt];
  const scores = verdicts.map(([score]) => score);
  const known = scores.filter((score) => score !== null && score !== undefined);
  const differ = new Set(known).size > 1 || (known.length > 0 && known.length < judges.length);
  return { file, prompt, id, source, run, axes, prompts, judges, scores, states: verdicts.map(([, state]) => state),
    refusal, formats, end, tokens, differ, place: place - first };
};

// Each filter: its label, the values of an answer, and which of them it has.
const FILTERS = {
  prompts: ["Prompt set", (row) => [row.prompts]],
  run: ["Run", (row) => [row.run]],
  format: ["Trained on", (row) => [row.axes.format ?? "none"]],
  source: ["Source", (row) => [row.source || "none"]],
  score: ["Score (any judge)", (row) => row.scores.map((score) => String(score ?? "no score"))],
  state: ["Parse state", (row) => row.states],
  reads: ["Reads as", (row) => (row.formats.length ? row.formats : ["none"])],
  end: ["End of the answer", (row) => [row.end ?? "unknown"]],
};

const formsafe = {
  index(index) {
    data = index;
    data.names = Object.fromEntries(
      Object.entries(data.prompts).map(([kind, known]) => [kind, Object.entries(known).map(([id, [, source]]) => [id, source])]),
    );
    data.rows.forEach(([file], place) => (data.files[file].first ??= place));
    data.rows = data.rows.map(unpack);
    showFilters();
    filter();
  },
  texts(file, texts) { waiting.get(`texts-${file}`)(texts); },
  prompts(kind, texts) { waiting.get(`prompts-${kind}`)(texts); },
};

// A page opened from disk may fetch nothing, but it may add a script from beside it.
const load = (name) => {
  if (!loaded.has(name)) {
    loaded.set(name, new Promise((resolve, reject) => {
      waiting.set(name, resolve);
      const script = make("script");
      script.src = `answers/${name}.js`;
      script.onerror = () => reject(new Error(`answers/${name}.js is missing: run make browse again.`));
      document.head.append(script);
    }));
  }
  return loaded.get(name);
};

const showFilters = () => {
  for (const [name, [label, values]] of Object.entries(FILTERS)) {
    const box = make("label", label, $("filters"));
    const select = make("select", undefined, box);
    select.id = `filter-${name}`;
    make("option", "all", select).value = "";
    const known = [...new Set(data.rows.flatMap(values))];
    known.sort((a, b) => a.localeCompare(b, "en", { numeric: true }));
    for (const value of known) make("option", value, select).value = value;
    select.addEventListener("change", filter);
  }
  const box = make("label", undefined, $("filters"));
  box.className = "tick";
  const tick = make("input", undefined, box);
  tick.type = "checkbox";
  tick.id = "filter-differ";
  box.append(" judges disagree");
  tick.addEventListener("change", filter);
};

const filter = () => {
  const wanted = Object.entries(FILTERS).map(([name, [, values]]) => [values, $(`filter-${name}`).value]).filter(([, value]) => value);
  const differ = $("filter-differ").checked;
  found = data.rows.filter((row) => (!differ || row.differ) && wanted.every(([values, value]) => values(row).includes(value)));
  first = 0;
  showRows();
};

const showRows = () => {
  const last = Math.min(first + PAGE, found.length);
  $("count").textContent = found.length
    ? `${first + 1} to ${last} of ${found.length.toLocaleString("en")} answers`
    : "No answer passes these filters.";
  $("previous").disabled = first === 0;
  $("next").disabled = last === found.length;
  $("rows").replaceChildren(...found.slice(first, last).map((row) => {
    const line = make("tr");
    const open = make("button", row.id, make("td", undefined, line));
    open.type = "button";
    open.addEventListener("click", () => {
      for (const other of document.querySelectorAll("tr.open")) other.classList.remove("open");
      line.classList.add("open");
      showDetail(row);
    });
    const scores = row.judges.map((judge, place) => `${judge}: ${row.scores[place] ?? row.states[place]}`);
    const refusal = row.refusal === true ? "yes" : row.refusal === false ? "no" : "";
    for (const text of [row.run, row.prompts, row.source, scores.join(", "), row.formats.join(", "), refusal, row.tokens ?? ""]) make("td", text, line);
    return line;
  }));
};

const showDetail = async (row, against = "") => {
  const detail = $("detail");
  detail.hidden = false;
  detail.replaceChildren(make("h2", row.id));
  const others = data.rows.filter((other) => other.id === row.id && other.prompts === row.prompts && other !== row);
  const box = make("label", "Compare with ", detail);
  const select = make("select", undefined, box);
  select.id = "against";
  make("option", "no other run", select).value = "";
  for (const other of others) make("option", other.run, select).value = other.run;
  select.value = against;
  select.addEventListener("change", () => showDetail(row, select.value));
  make("h3", "Prompt", detail);
  const prompt = hidden(detail);
  const pair = make("div", undefined, detail);
  pair.className = "pair";
  const shown = [row, ...others.filter((other) => other.run === against)];
  const columns = shown.map((each) => [each, make("div", undefined, pair)]);
  detail.focus();
  try {
    reveal(prompt, (await load(`prompts-${row.prompts}`))[row.prompt]);
    for (const [each, column] of columns) await showAnswer(each, column);
  } catch (error) {
    make("p", error.message, detail);
  }
};

const showAnswer = async (row, column) => {
  make("h3", `${row.run}: answer (${row.end ?? "unknown end"})`, column);
  const [answer, replies, records] = (await load(`texts-${row.file}`))[row.place];
  reveal(hidden(column), answer);
  row.judges.forEach((judge, place) => {
    make("h3", `Judge ${judge}: ${row.scores[place] ?? "no score"} (${row.states[place]})`, column);
    reveal(hidden(column), replies[place]);
  });
  for (const [name, record] of Object.entries(records)) {
    make("h3", name, column);
    reveal(hidden(column), JSON.stringify(record, null, 1));
  }
};

// A box whose text is shown only while the reader asks for texts.
const hidden = (into) => {
  const box = make("pre", HIDDEN, into);
  box.tabIndex = 0;
  return box;
};
const contents = new WeakMap();
const reveal = (box, text) => {
  contents.set(box, text);
  box.textContent = $("show").checked ? text : HIDDEN;
};

$("show").addEventListener("change", () => {
  for (const box of document.querySelectorAll("pre")) reveal(box, contents.get(box) ?? "");
});
$("previous").addEventListener("click", () => { first -= PAGE; showRows(); });
$("next").addEventListener("click", () => { first += PAGE; showRows(); });
