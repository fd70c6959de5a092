// States: what a row's state is called, and its glyph. Each state has a shape of its own, beside its colour.

import { setAttribute, svg } from "./dom.js";

const SHAPES = {
  running: "M8 3a5 5 0 1 0 0 10A5 5 0 0 0 8 3Z",
  unready: "M8 3a5 5 0 1 0 0 10A5 5 0 0 0 8 3Zm0 1.6a3.4 3.4 0 0 1 0 6.8Z",
  starting: "M8 3a5 5 0 1 0 0 10A5 5 0 0 0 8 3Zm0 1.6a3.4 3.4 0 0 1 0 6.8Z",
  waiting: "M8 3a5 5 0 1 0 0 10A5 5 0 0 0 8 3Zm0 1.6a3.4 3.4 0 1 1 0 6.8 3.4 3.4 0 0 1 0-6.8Z",
  crashed: "M4.6 3.4 8 6.8l3.4-3.4 1.2 1.2L9.2 8l3.4 3.4-1.2 1.2L8 9.2l-3.4 3.4-1.2-1.2L6.8 8 3.4 4.6Z",
  failed: "M4.6 3.4 8 6.8l3.4-3.4 1.2 1.2L9.2 8l3.4 3.4-1.2 1.2L8 9.2l-3.4 3.4-1.2-1.2L6.8 8 3.4 4.6Z",
  done: "M6.7 12.2 2.9 8.4l1.2-1.2 2.6 2.5 5.2-5.2 1.2 1.2Z",
  leaving: "M8 2.6 13.6 13H2.4Z",
  none: "",
};

export const LABELS = {
  running: "running",
  unready: "not routable",
  starting: "starting",
  waiting: "waiting",
  crashed: "crashed",
  failed: "failed",
  done: "done",
  leaving: "evacuating",
  none: "",
};

/** The state of an instance's row. */
export function ofInstance(row) {
  switch (row.state) {
    case "RUNNING": return row.presence === "evacuating" ? "leaving" : row.routable ? "running" : "unready";
    case "CLAIMED": return "starting";
    case "CRASHED": return "crashed";
    case "STOPPED": return "done";
    default: return "waiting";
  }
}

/** The state of a Task's row. */
export function ofTask(row) {
  switch (row.state) {
    case "PENDING": return "waiting";
    case "RUNNING": return "running";
    default: return row.failed ? "failed" : "done";
  }
}

/** The state of a cell's row. */
export function ofCell(row) {
  return { ok: "running", starting: "starting", evacuating: "leaving" }[row.state] ?? "crashed";
}

/** The state of a step. */
export function ofStep(row) {
  return { waiting: "waiting", running: "starting", succeeded: "done", failed: "failed", cancelled: "none" }[row.state];
}

/** The glyph of a state; its text stands beside it. */
export function glyph(state) {
  const shape = svg("path", { d: SHAPES[state] });
  const element = svg("svg", { class: "glyph", viewBox: "0 0 16 16", "aria-hidden": "true" }, shape);
  setAttribute(element, "data-state", state);
  return element;
}

/** Change a glyph's state. */
export function setGlyph(element, state) {
  if (element.getAttribute("data-state") === state) return;
  element.setAttribute("data-state", state);
  element.firstChild.setAttribute("d", SHAPES[state]);
}
