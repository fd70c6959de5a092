// What needs an operator: a few lines, the worst first. Instances of one app with one problem are one line.

import { count, duration } from "./format.js";
import { LABELS, ofCell } from "./states.js";

const MOST = 40;
const LONG_WAIT_MS = 10000;
const LONG_START_MS = 60000;

const CELL_TEXTS = {
  unhealthy: "its container engine does not answer, or its journal cannot be written",
  evacuating: "it takes no work, and its instances move to other cells",
};

/** Items of the list for all problems. */
export function attention(store) {
  const items = [...cells(store), ...ledgers(store), ...instances(store), ...tasks(store)];
  if (items.length <= MOST) return items;
  const rest = items.length - MOST;
  return [...items.slice(0, MOST), { key: "problem/more", kind: "problem", inert: true, shown: "none", name: `and ${rest} more`, sub: "", text: "" }];
}

function* cells(store) {
  for (const row of store.cells.values()) {
    const text = row.note || CELL_TEXTS[row.state];
    if (text) yield item(`cell/${row.id}`, ofCell(row), row.id, { state: row.state, text });
    if (row.orphans) yield item(`cell/${row.id}`, "waiting", row.id, { suffix: "orphans", text: `${count(row.orphans, "container")} without a record; “cell orphans” lists them` });
  }
}

function* ledgers(store) {
  for (const row of store.ledgers.values()) {
    if (row.journal_trouble) yield item(`cell/${row.id}`, "crashed", row.id, { suffix: "journal", text: `its journal cannot be written: ${row.journal_trouble}` });
    if (row.waiting && !row.bbs_available) {
      yield item(`cell/${row.id}`, "waiting", row.id, { suffix: "reports", text: `${count(row.waiting, "report")} about ended containers: the control plane does not answer` });
    }
  }
}

function* instances(store) {
  const now = store.now();
  const groups = new Map();
  for (const row of store.instances.values()) {
    const text = problem(row, now);
    if (!text) continue;
    const key = JSON.stringify([row.app, row.shown, text]);
    if (!groups.has(key)) groups.set(key, []);
    groups.get(key).push(row);
  }
  const sorted = [...groups.values()].sort(([one], [other]) => RANK[one.shown] - RANK[other.shown] || other.since - one.since);
  for (const rows of sorted) {
    const [row] = rows;
    const name = store.nameOf(row.app);
    const more = { text: problem(row, now), since: row.since, state: row.shown === "waiting" && row.crashes ? "restarts" : LABELS[row.shown], where: row.cell };
    if (rows.length === 1) yield item(`instance/${row.id}`, row.shown, name, { ...more, sub: `#${row.index}` });
    else yield item(`app/${row.app}`, row.shown, name, { ...more, suffix: `${row.shown} ${more.text}`, sub: count(rows.length, "instance") });
  }
}

const RANK = { crashed: 0, waiting: 1, starting: 2, unready: 3, leaving: 4, running: 5, done: 6 };

function problem(row, now) {
  const took = now - row.since;
  switch (row.shown) {
    case "crashed": return row.reason || "crashed";
    case "waiting": return row.error || (row.crashes ? row.reason : "") || (took > LONG_WAIT_MS ? "no cell has taken it yet" : "");
    case "starting": return took > LONG_START_MS ? `it has not become healthy for ${duration(took).replace(/ \d\ds$/, "")}` : "";
    case "unready": return "its readiness check fails: no requests are routed to it";
    default: return "";
  }
}

function* tasks(store) {
  for (const row of store.tasks.values()) {
    const more = { sub: "Task", since: row.since, where: row.cell };
    if (row.failed) yield item(`task/${row.id}`, "failed", row.name, { ...more, state: "failed", text: row.reason });
    else if (row.state === "PENDING" && row.error) yield item(`task/${row.id}`, "waiting", row.name, { ...more, state: "waiting", text: row.error });
  }
}

function item(target, shown, name, { suffix = "", sub = "", state = "", where = "", since = 0, text }) {
  return { key: `problem/${target}/${suffix}`, kind: "problem", target, shown, name, sub, state, where, since, text };
}
