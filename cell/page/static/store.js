// What the page knows: rows by table and id, and totals per app. Changes are applied at once and shown a few
// times a second, however many come.

import * as states from "./states.js";

const ROUND_MS = 120; // shortest time between two drawings
const HIDDEN_MS = 250;
const TABLES = ["cells", "apps", "instances", "tasks", "containers", "reports", "ledgers", "activity"];

export class Store {
  constructor() {
    this.listeners = new Set();
    this.skewMs = 0;
    this.reset({ scope: "", name: "" });
  }

  /** Forget all rows. about: what the page is about. */
  reset(about) {
    this.about = about;
    this.complete = false;
    this.full = [];
    for (const table of TABLES) this[table] = new Map();
    this.byApp = new Map();
    this.changed();
  }

  /** Server time, in ms since the epoch. */
  now() {
    return Date.now() + this.skewMs;
  }

  /** Take the server's time. */
  sync(nowMs) {
    this.skewMs = nowMs - Date.now();
  }

  /** Apply a batch of rows. */
  apply({ set, gone }) {
    for (const [table, rows] of Object.entries(set)) for (const row of rows) this.#put(table, row);
    for (const [table, ids] of Object.entries(gone)) for (const id of ids) this.#drop(table, id);
    this.changed();
  }

  /** Call `listener` after changes, in a frame. */
  subscribe(listener) {
    this.listeners.add(listener);
    return () => this.listeners.delete(listener);
  }

  changed() {
    if (this.scheduled) return;
    this.scheduled = true;
    const show = () => {
      this.scheduled = false;
      this.shownAt = performance.now();
      for (const listener of this.listeners) listener();
    };
    // The batches of one round come a few ms apart. A hidden page gets no frames.
    const waitMs = (this.shownAt ?? -ROUND_MS) + ROUND_MS - performance.now();
    if (document.hidden) setTimeout(show, HIDDEN_MS);
    else if (waitMs > 0) setTimeout(() => requestAnimationFrame(show), waitMs);
    else requestAnimationFrame(show);
  }

  /** The instances of an app, by id; and the numbers of them by state. */
  instancesOf(app) {
    return this.byApp.get(app) ?? EMPTY;
  }

  /** The rows of an app's index. */
  rowsOf(app, index) {
    return [...this.instancesOf(app).rows.values()].filter((row) => row.index === index);
  }

  /** The name of an app. */
  nameOf(app) {
    return this.apps.get(app)?.name ?? app;
  }

  #put(table, row) {
    const rows = this[table];
    if (!(rows instanceof Map)) return;
    if (table === "instances") {
      row.shown = states.ofInstance(row);
      this.#count(rows.get(row.id), -1);
      this.#count(row, 1);
    }
    rows.set(row.id, row);
  }

  #drop(table, id) {
    const rows = this[table];
    if (!(rows instanceof Map)) return;
    if (table === "instances") this.#count(rows.get(id), -1);
    rows.delete(id);
  }

  #count(row, by) {
    if (row === undefined) return;
    let group = this.byApp.get(row.app);
    if (group === undefined) this.byApp.set(row.app, (group = { rows: new Map(), counts: {} }));
    group.counts[row.shown] = (group.counts[row.shown] ?? 0) + by;
    if (by > 0) group.rows.set(row.id, row);
    else if (group.rows.get(row.id) === row) group.rows.delete(row.id);
    if (!group.rows.size) this.byApp.delete(row.app);
  }
}

const EMPTY = { rows: new Map(), counts: {} };
