// The items of the list, and how each kind of row looks. Items are plain values; only those in sight are drawn.

import { h, setAttribute, setText, setVariable } from "./dom.js";
import { age, bytes, count, moment, share } from "./format.js";
import { attention } from "./attention.js";
import { LABELS, glyph, ofCell, ofTask, setGlyph } from "./states.js";

const SQUARES = 7; // instances of an app that are squares of their own; more are one bar
const BAR = ["running", "unready", "starting", "waiting", "leaving", "crashed", "done"];

const collator = new Intl.Collator(undefined, { numeric: true });
const byName = (one, other) => collator.compare(one.name ?? one.id, other.name ?? other.id);
const byId = (one, other) => collator.compare(one.id, other.id);
const byIndex = (one, other) => one.index - other.index || collator.compare(one.id, other.id);

/** All items of the list. expanded: ids of apps. filter: lower case, empty for everything. */
export function itemsOf(store, { expanded, filter }) {
  const fits = (...texts) => !filter || texts.some((text) => String(text).toLowerCase().includes(filter));
  const control = store.about.scope === "control";
  const items = [];
  const section = (title, rows, columns, empty) => {
    if (filter && !rows.length) return;
    items.push({ key: `section ${title}`, kind: "section", inert: true, title, number: rows.total ?? rows.length, columns });
    if (!rows.length) items.push({ key: `empty ${title}`, kind: "empty", inert: true, text: empty });
    items.push(...rows);
  };

  const problems = attention(store).filter(({ name, text }) => fits(name, text));
  if (problems.length) section("Needs attention", problems, {});

  const cells = [...store.cells.values()].sort(byId).filter((row) => fits(row.id, row.zone, row.state));
  section("Cells", cells.map((row) => ({ key: `cell/${row.id}`, kind: "cell", row })),
    { state: "State", where: "Zone", use: "Memory", note: "Contents" },
    control ? "No cell is registered. “cell rep” starts one, or “cell dev --cells 1” with a control plane." : "");

  const apps = appItems(store, expanded, filter, fits);
  section("Apps", apps, { state: "Instances", where: "Routes, ports", use: "Memory", since: "Since", note: "Last trouble" },
    control ? "No apps. “cell push FOLDER” runs one; so does a DesiredLRP that is posted to the REST API."
      : "No instances are on this cell. The control plane places them.");

  const tasks = [...store.tasks.values()].sort(byName).filter((row) => fits(row.name, row.id, row.cell, row.state));
  section("Tasks", tasks.map((row) => ({ key: `task/${row.id}`, kind: "task", row })),
    { state: "State", where: "Cell", use: "Memory", since: "Since", note: "Result" },
    control ? "No Tasks. A Task that is posted to the REST API stays here until it is resolved." : "No Tasks are on this cell.");

  const reports = [...store.reports.values()].sort(byId).filter((row) => fits(row.id, row.report));
  section("Reports", reports.map((row) => ({ key: `report/${row.id}`, kind: "report", row })),
    { state: "Attempts", where: "Cell", since: "Age", note: "Last answer" },
    "The control plane has answered every report about an ended container.");

  if (filter && !items.length) items.push({ key: "nothing", kind: "empty", inert: true, text: `Nothing matches “${filter}”.` });
  return items;
}

function appItems(store, expanded, filter, fits) {
  const items = [];
  let shown = 0;
  for (const row of [...store.apps.values(), ...withoutRecord(store)].sort(byName)) {
    const instances = [...store.instancesOf(row.id).rows.values()];
    const itself = fits(row.name, row.id, row.domain, ...(row.routes ?? []));
    const fitting = itself ? instances : instances.filter((each) => fits(each.guid, each.cell, each.shown, each.reason, each.error));
    if (!itself && !fitting.length) continue;
    const open = expanded.has(row.id) || (filter !== "" && !itself);
    items.push({ key: `app/${row.id}`, kind: "app", row, expanded: instances.length ? open : undefined });
    shown += 1;
    if (!open) continue;
    for (const each of fitting.sort(byIndex)) {
      items.push({ key: `instance/${each.id}`, kind: "instance", row: each, level: 1 });
    }
  }
  items.total = shown;
  return items;
}

/** Apps whose record is gone while instances of them end. */
function* withoutRecord(store) {
  for (const app of store.byApp.keys()) {
    if (!store.apps.has(app)) yield { id: app, name: app, domain: "", desired: 0, routes: [], ports: [], mem: 0 };
  }
}

/** A new element for any row. */
export function draw() {
  const cell = (name, ...children) => h("span", { class: name, role: "gridcell" }, ...children);
  return h("div", { class: "row" },
    h("span", { class: "twist", role: "presentation" }),
    glyph("none"),
    cell("what", h("span", { class: "name" }), h("span", { class: "sub" })),
    cell("state", h("span", { class: "strip", "aria-hidden": "true" }), h("span", { class: "text" })),
    cell("where"), cell("use", h("span", { class: "meter", "aria-hidden": "true" }), h("span", { class: "text" })),
    cell("since"), cell("note"));
}

const EMPTY_ROW = { glyph: "none", name: "", sub: "", state: "", counts: null, where: "", use: "", part: null, since: "", sinceTitle: null, note: "", tone: "" };

/** Show an item in a row's element. */
export function update(element, item, store) {
  const [twist, mark, what, state, where, use, since, note] = element.children;
  const shown = { ...EMPTY_ROW, ...SHOW[item.kind](item, store) };
  setAttribute(element, "class", `row ${item.kind}${element.key && element.classList.contains("cursor") ? " cursor" : ""}`);
  setText(twist, item.expanded === undefined ? "" : item.expanded ? "▾" : "▸");
  setGlyph(mark, shown.glyph);
  setText(what.firstChild, shown.name);
  setText(what.lastChild, shown.sub);
  setAttribute(what, "title", shown.title ?? null);
  strip(state.firstChild, shown.counts);
  setText(state.lastChild, shown.state);
  setText(where, shown.where);
  meter(use.firstChild, shown.part);
  setText(use.lastChild, shown.use);
  setText(since, shown.since);
  setAttribute(since, "title", shown.sinceTitle);
  setText(note, shown.note);
  setAttribute(note, "title", shown.note || null);
  setAttribute(note, "data-tone", shown.tone || null);
}

const SHOW = {
  section: ({ title, number, columns }) => ({
    name: title, sub: String(number), state: columns.state ?? "", where: columns.where ?? "",
    use: columns.use ?? "", since: columns.since ?? "", note: columns.note ?? "",
  }),

  empty: ({ text }) => ({ name: text }),

  problem: ({ shown, name, sub, state, where, since, text }, store) => ({
    glyph: shown, name, sub, state, where, ...sinceOf(since, store), note: text, tone: toneOf(shown),
  }),

  cell: ({ row }) => ({
    glyph: ofCell(row), name: row.id, state: row.state === "ok" ? "healthy" : row.state, where: row.zone,
    use: row.mem[1] ? share(...row.mem) : "", part: row.mem[1] ? row.mem[0] / row.mem[1] : null,
    note: row.note || contents(row), tone: row.note ? "bad" : "",
  }),

  app: ({ row }, store) => {
    const { rows, counts } = store.instancesOf(row.id);
    const troubled = newestTrouble(rows);
    const running = (counts.running ?? 0) + (counts.unready ?? 0) + (counts.leaving ?? 0);
    return {
      glyph: worst(counts, row.desired), name: row.name, sub: row.name === row.id ? "" : row.id, title: `${row.name} · ${row.id}`,
      counts, state: row.desired === null ? String(rows.size) : `${running} of ${row.desired}`,
      where: row.routes.length ? row.routes.join(", ") : row.ports.map((port) => `:${port}`).join(" "),
      use: used(rows, store, row.mem), note: troubled ? trouble(troubled) : "", tone: troubled ? troubleTone(troubled) : "",
    };
  },

  instance: ({ row }, store) => {
    const reading = store.containers.get(row.guid);
    const phase = row.shown === "starting" && reading ? reading.phase : LABELS[row.shown];
    return {
      glyph: row.shown, name: `#${row.index}`, sub: row.guid, title: row.guid || null,
      state: row.presence === "ordinary" ? phase : `${phase}, ${row.presence}`,
      where: [store.cells.size > 1 ? row.cell : "", ports(row)].filter(Boolean).join("  "),
      use: reading?.mem === undefined ? "" : bytes(reading.mem),
      part: reading?.mem_most ? reading.mem / reading.mem_most : null,
      ...sinceOf(row.since, store), note: trouble(row), tone: troubleTone(row),
    };
  },

  task: ({ row }, store) => {
    const shown = ofTask(row);
    const reading = store.containers.get(row.guid);
    return {
      glyph: shown, name: row.name, sub: row.name === row.id ? row.domain : row.id, title: row.id,
      state: shown === "running" && reading && reading.phase !== "running" ? reading.phase : LABELS[shown],
      where: row.cell, use: reading?.mem === undefined ? "" : bytes(reading.mem),
      part: reading?.mem_most ? reading.mem / reading.mem_most : null,
      ...sinceOf(row.since, store),
      note: row.reason || row.error || row.result, tone: row.reason ? "bad" : row.error ? "warn" : "",
    };
  },

  report: ({ row }, store) => ({
    glyph: row.attempts ? "waiting" : "starting", name: row.report, sub: row.guid, state: String(row.attempts),
    where: row.cell, ...sinceOf(row.recorded, store), note: row.answer, tone: row.answer ? "warn" : "",
  }),
};

const toneOf = (shown) => (shown === "crashed" || shown === "failed" ? "bad" : "warn");

function sinceOf(ms, store) {
  return ms ? { since: age(store.now() - ms), sinceTitle: moment(ms) } : {};
}

/** What is on a cell, in words. */
export function contents(row) {
  const parts = [count(row.instances, "instance"), count(row.tasks, "Task")];
  if (row.starting) parts.push(`${row.starting} starting`);
  if (row.orphans) parts.push(`${count(row.orphans, "container")} without a record`);
  return parts.join(", ");
}

/** Host ports with the container's ports. */
export function ports(row) {
  return row.ports.map(([host, inner]) => (host ? `${host}→${inner}` : `:${inner}`)).join(" ");
}

/** The last trouble of an instance, in words; empty if there was none. */
export function trouble(row) {
  if (row.error) return row.error;
  if (row.crashes && row.reason) return `crashed ${row.crashes}×: ${row.reason}`;
  if (row.crashes) return `crashed ${row.crashes}×`;
  return row.reason;
}

const troubleTone = (row) => (row.shown === "crashed" || (row.shown === "waiting" && row.crashes) ? "bad" : trouble(row) ? "warn" : "");

function newestTrouble(rows) {
  let found = null;
  for (const row of rows.values()) {
    if ((row.error || row.crashes || row.reason) && (!found || row.since > found.since)) found = row;
  }
  return found;
}

/** The state that an app's glyph shows: the worst of its instances. */
function worst(counts, desired) {
  for (const state of ["crashed", "waiting", "starting", "unready", "leaving"]) if (counts[state]) return state;
  return counts.running ? "running" : desired ? "waiting" : "done";
}

function used(rows, store, limit) {
  let sum = 0;
  let known = 0;
  for (const row of rows.values()) {
    const reading = store.containers.get(row.guid);
    if (reading?.mem !== undefined) {
      sum += reading.mem;
      known += 1;
    }
  }
  return known ? bytes(sum) : limit ? `≤ ${bytes(limit * 1024 * 1024)}` : "";
}

/** Squares for a few instances, one bar for many. */
function strip(element, counts) {
  const parts = counts ? BAR.filter((state) => counts[state]).map((state) => [state, counts[state]]) : [];
  const total = parts.reduce((sum, [, number]) => sum + number, 0);
  const squares = total <= SQUARES ? parts.flatMap(([state, number]) => Array(number).fill([state, 1])) : parts;
  const wanted = `${total > SQUARES}:${squares.join()}`;
  if (element.shownStrip === wanted) return;
  element.shownStrip = wanted;
  element.classList.toggle("many", total > SQUARES);
  while (element.childNodes.length > squares.length) element.lastChild.remove();
  while (element.childNodes.length < squares.length) element.append(h("i"));
  squares.forEach(([state, number], index) => {
    setAttribute(element.childNodes[index], "data-state", state);
    setVariable(element.childNodes[index], "--part", String(number));
  });
}

/** A thin bar for the used part; none for null. */
export function meter(element, part) {
  element.hidden = part === null;
  if (part === null) return;
  setVariable(element, "--part", String(Math.min(Math.max(part, 0), 1).toFixed(3)));
  setAttribute(element, "data-level", part >= 0.95 ? "high" : part >= 0.8 ? "raised" : null);
}

