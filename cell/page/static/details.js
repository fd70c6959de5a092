// The right side: what happened lately, or the details of what is open.

import { h, setAttribute, setText } from "./dom.js";
import { age, clock, count, duration, megabytes, moment, share } from "./format.js";
import { ContainerView } from "./container.js";
import { meter, trouble } from "./rows.js";
import { LABELS, glyph, ofCell, ofTask, setGlyph } from "./states.js";

const ACTIVITY_MOST = 60;
const ACTIVITY_MS = 1000; // shortest time between two looks at what happened
const SQUARES_MOST = 2000;

/** Shows one route at a time in `element`. A view has `update()` and, if it holds something, `close()`. */
export class Details {
  constructor(element, store, { onLeave }) {
    Object.assign(this, { element, store, onLeave });
    this.route = null;
  }

  /** Show a route: `[kind, ...ids]`; null shows what happened lately. */
  show(route) {
    const same = JSON.stringify(route) === JSON.stringify(this.route) && this.view;
    if (same) return;
    this.view?.close?.();
    this.route = route;
    this.element.replaceChildren();
    this.element.scrollTop = 0;
    const make = VIEWS[route?.[0] ?? "activity"] ?? VIEWS.activity;
    this.view = make(this, ...(route ?? []).slice(1));
    this.update();
  }

  update() {
    this.view?.update();
  }

  /** The head of a view: state, title and the way back. */
  head(kind) {
    const mark = glyph("none");
    const title = h("h2", { tabindex: "-1" });
    const sub = h("p", { class: "sub" });
    const leave = h("button", { class: "leave", type: "button", "aria-label": "Leave details", title: "Leave details (Esc)", click: () => this.onLeave() }, "✕");
    this.element.append(h("header", { class: "detail-head" }, h("p", { class: "kind" }, kind), h("div", { class: "title" }, mark, title, leave), sub));
    return (state, text, below) => {
      setGlyph(mark, state);
      setText(title, text);
      setText(sub, below);
    };
  }
}

/** A list of facts, of which empty ones are left out. */
export function factList(parent) {
  const list = h("dl", { class: "facts" });
  parent.append(list);
  const rows = new Map();
  return (facts) => {
    for (const [name, value] of facts) {
      let row = rows.get(name);
      if (!row) {
        row = [h("dt", {}, name), h("dd", { class: MONO.has(name) ? "mono" : null })];
        rows.set(name, row);
        list.append(...row);
      }
      const hidden = value === "" || value === null || value === undefined;
      for (const element of row) element.hidden = hidden;
      if (!hidden) setText(row[1], String(value));
    }
  };
}

const MONO = new Set(["Guid", "Image", "Ports", "Inside", "Process guid", "Address"]);

/** A note about trouble; empty texts hide it. */
function noteIn(parent) {
  const note = h("p", { class: "trouble" });
  parent.append(note);
  return (text, tone) => {
    note.hidden = !text;
    setText(note, text);
    setAttribute(note, "data-tone", tone);
  };
}

const VIEWS = {
  activity: (details) => {
    details.element.append(h("header", { class: "detail-head" }, h("p", { class: "kind" }, "Lately"), h("div", { class: "title" }, h("h2", { tabindex: "-1" }, "What happened"))));
    const list = h("ol", { class: "activity" });
    const empty = h("p", { class: "empty" }, "Nothing has started or ended yet. Starts, ends and crashes appear here.");
    details.element.append(list, empty);
    const made = new Map();
    let shownAt = 0;
    return {
      update() {
        if (made.size && Date.now() - shownAt < ACTIVITY_MS) return;
        shownAt = Date.now();
        const rows = [...details.store.activity.values()].sort((one, other) => other.at - one.at || (one.id < other.id ? 1 : -1)).slice(0, ACTIVITY_MOST);
        empty.hidden = rows.length > 0;
        for (const id of [...made.keys()]) {
          if (details.store.activity.has(id) && rows.some((row) => row.id === id)) continue;
          made.get(id).remove();
          made.delete(id);
        }
        rows.forEach((row, index) => {
          if (!made.has(row.id)) made.set(row.id, happened(row));
          const element = made.get(row.id);
          if (list.childNodes[index] !== element) list.insertBefore(element, list.childNodes[index] ?? null);
        });
      },
    };
  },

  app: (details, id) => {
    const { store, element } = details;
    const tell = details.head("App");
    const note = noteIn(element);
    const facts = factList(element);
    const title = h("h3", {}, "Instances");
    const grid = h("div", { class: "squares" });
    element.append(title, grid);
    const squares = new Map();
    return {
      update() {
        const row = store.apps.get(id);
        const { rows, counts } = store.instancesOf(id);
        if (!row && !rows.size) return tell("done", id, "This app is gone.");
        tell(counts.crashed ? "crashed" : counts.waiting ? "waiting" : counts.running ? "running" : "starting", row?.name ?? id, row?.domain ?? "");
        const instances = [...rows.values()].sort((one, other) => one.index - other.index);
        const bad = instances.find((each) => each.shown === "crashed" || each.error) ?? instances.find((each) => each.crashes);
        note(bad ? `#${bad.index}: ${trouble(bad)}` : "", bad?.shown === "crashed" ? "bad" : "warn");
        facts([
          ["Instances", `${summary(counts) || "none"}${row?.desired === null || !row ? "" : `, ${row.desired} desired`}`],
          ["Routes", row?.routes.join(", ")],
          ["Ports", row?.ports.join(", ")],
          ["Each has", row ? `${row.mem ? megabytes(row.mem) : "unlimited"} memory, ${row.disk ? megabytes(row.disk) : "unlimited"} disk` : ""],
          ["Placement tags", row?.tags.join(", ")],
          ["Image", row?.image],
          ["Process guid", id],
        ]);
        setText(title, count(instances.length, "instance"));
        grid.hidden = !instances.length;
        showSquares(grid, squares, instances.slice(0, SQUARES_MOST));
      },
    };
  },

  instance: (details, id) => {
    const { store, element } = details;
    const tell = details.head("Instance");
    const note = noteIn(element);
    const view = new ContainerView(element, store);
    let guid = "";
    return {
      update() {
        const row = store.instances.get(id);
        const lost = `${id.slice(0, id.lastIndexOf("/"))}`;
        if (!row) {
          tell("done", lost, store.complete ? "This instance is gone. Its last container is below, as long as its cell remembers it." : "");
        } else {
          tell(row.shown, `${store.nameOf(row.app)} #${row.index}`, sentence(row, store));
          note(trouble(row), row.shown === "crashed" ? "bad" : "warn");
        }
        const now = row?.guid || lastGuid(store, row);
        if (now && now !== guid) view.open((guid = now));
        if (!guid) view.none(row ? "It is on no cell, so it has no container: no steps and no log." : "");
        view.update(row);
      },
      close: () => view.close(),
    };
  },

  container: (details, guid) => {
    const { store, element } = details;
    const tell = details.head("Container");
    const view = new ContainerView(element, store);
    view.open(guid);
    return {
      update() {
        const about = view.about;
        const name = about ? (about.task ? about.name : `${about.name} #${about.index}`) : guid;
        tell(about ? (about.removed ? "done" : stateOf(about)) : "none", name, about?.removed ? "This container is gone." : guid);
        view.update(about);
      },
      close: () => view.close(),
    };
  },

  task: (details, id) => {
    const { store, element } = details;
    const tell = details.head("Task");
    const note = noteIn(element);
    const facts = factList(element);
    const result = h("pre", { class: "result" });
    const resultTitle = h("h3", {}, "Result");
    element.append(resultTitle, result);
    const view = new ContainerView(element, store);
    view.open(id);
    return {
      update() {
        const row = store.tasks.get(id);
        if (!row) tell("done", id, store.complete ? "This Task is gone. Its container is below, as long as its cell remembers it." : "");
        else {
          tell(ofTask(row), row.name, `${LABELS[ofTask(row)]}${row.cell ? ` on ${row.cell}` : ""}`);
          note(row.reason || row.error, row.reason ? "bad" : "warn");
          facts([
            ["Created", row.created ? `${clock(row.created)}, ${age(store.now() - row.created)} ago` : ""],
            ["Rejections", row.rejections || ""],
            ["Memory", row.mem ? megabytes(row.mem) : ""],
            ["Guid", row.id],
          ]);
        }
        resultTitle.hidden = result.hidden = !row?.result;
        setText(result, row?.result ?? "");
        view.update(row && { ...row, ports: [] });
      },
      close: () => view.close(),
    };
  },

  cell: (details, id) => {
    const { store, element } = details;
    const tell = details.head("Cell");
    const note = noteIn(element);
    const bars = h("div", { class: "capacity" });
    element.append(bars);
    const meters = new Map();
    const facts = factList(element);
    return {
      update() {
        const row = store.cells.get(id);
        if (!row) return tell("crashed", id, store.complete ? "This cell is not registered any more." : "");
        tell(ofCell(row), id, row.state === "ok" ? "healthy" : row.state);
        note(row.note || "", "bad");
        for (const [name, [used, total], text] of [
          ["Memory", row.mem, share(...row.mem)], ["Disk", row.disk, share(...row.disk)],
          ["Containers", row.containers, `${row.containers[0]} of ${row.containers[1]}`],
        ]) {
          if (!meters.has(name)) {
            const made = [h("span", { class: "meter" }), h("span", { class: "text" })];
            meters.set(name, made);
            bars.append(h("div", {}, h("span", { class: "label" }, name), ...made));
          }
          const [bar, shown] = meters.get(name);
          meter(bar, total ? used / total : 0);
          setText(shown, text);
        }
        const ledger = store.ledgers.get(id);
        facts([
          ["Zone", row.zone],
          ["Instances", row.instances], ["Tasks", row.tasks], ["Starting", row.starting || ""],
          ["Without a record", row.orphans ? count(row.orphans, "container") : ""],
          ["Reports", ledger ? (ledger.waiting ? `${ledger.waiting} wait for the control plane` : "all answered") : ""],
          ["Control plane", ledger ? (ledger.bbs_available ? "answers" : "does not answer") : ""],
          ["Journal", ledger ? ledger.journal_trouble || "writable" : ""],
          ["Address", row.url],
        ]);
      },
    };
  },

  report: (details, id) => {
    const { store, element } = details;
    const tell = details.head("Report");
    const note = noteIn(element);
    const facts = factList(element);
    element.append(h("p", { class: "hint" }, "The cell repeats a report about an ended container until the control plane has answered it. It is kept across restarts of the cell."));
    return {
      update() {
        const row = store.reports.get(id);
        if (!row) return tell("done", id, "The control plane has answered this report.");
        tell(row.attempts ? "waiting" : "starting", row.report, `on ${row.cell}`);
        note(row.answer, "warn");
        facts([
          ["Recorded", `${clock(row.recorded)}, ${age(store.now() - row.recorded)} ago`],
          ["Attempts", row.attempts],
          ["Next attempt", row.next > store.now() ? `in ${duration(row.next - store.now())}` : "now"],
          ["Stored", row.stored ? "in the journal" : "in memory only"],
          ["Guid", row.guid],
        ]);
      },
    };
  },
};

function happened(row) {
  const state = row.what === "running" ? "running" : row.what === "not ready" ? "unready" : row.failed && !row.stopped ? "crashed" : "done";
  const words = { running: "runs", unready: "is not routable", crashed: row.task ? "failed" : "crashed", done: row.stopped ? "was stopped" : "ended" }[state];
  return h("li", {},
    h("a", { href: `#container/${encodeURIComponent(row.guid)}` },
      h("time", { title: moment(row.at) }, clock(row.at)), glyph(state),
      h("span", { class: "name" }, row.task ? row.name : `${row.name} #${row.index}`), h("span", { class: "verb" }, words),
      state === "crashed" || (state === "done" && row.text && !row.stopped) ? h("span", { class: "why" }, row.text) : null));
}

function summary(counts) {
  return Object.keys(LABELS).filter((state) => counts[state]).map((state) => `${counts[state]} ${LABELS[state]}`).join(", ");
}

function showSquares(grid, squares, instances) {
  const wanted = new Set(instances.map((row) => row.id));
  for (const [id, square] of squares) {
    if (wanted.has(id)) continue;
    square.remove();
    squares.delete(id);
  }
  instances.forEach((row, index) => {
    let square = squares.get(row.id);
    if (!square) {
      square = h("a", { href: `#instance/${encodeURIComponent(row.id)}`, tabindex: index ? "-1" : "0" });
      squares.set(row.id, square);
    }
    if (grid.childNodes[index] !== square) grid.insertBefore(square, grid.childNodes[index] ?? null);
    setAttribute(square, "data-state", row.shown);
    setAttribute(square, "aria-label", `#${row.index} ${LABELS[row.shown]}`);
    setAttribute(square, "title", `#${row.index} ${LABELS[row.shown]}`);
  });
}

/** The guid of the last container of an index that is on no cell, as far as it is known. */
function lastGuid(store, row) {
  if (!row) return "";
  let found = null;
  for (const each of store.activity.values()) {
    if (!each.task && each.app === row.app && each.index === row.index && (!found || each.at > found.at)) found = each;
  }
  return found?.guid ?? "";
}

function stateOf(about) {
  if (about.phase === "running") return about.task || about.routable ? "running" : "unready";
  if (about.phase !== "completed") return "starting";
  return about.failed || about.state === "CRASHED" ? "crashed" : "done";
}

function sentence(row, store) {
  const since = row.since ? `, for ${age(store.now() - row.since)}` : "";
  const where = row.cell ? ` on ${row.cell}` : "";
  return `${LABELS[row.shown]}${where}${since}${row.presence === "ordinary" ? "" : `, ${row.presence}`}`;
}

