// The steps of a container as a tree with bars in time, and its story.

import { h, setAttribute, setText, setVariable } from "./dom.js";
import { bytes, clock, duration, moment } from "./format.js";
import { glyph, ofStep, setGlyph } from "./states.js";

const TICK_MS = 250;
const GROUPS = new Set(["serial", "parallel", "codependent", "try", "timeout", "emit-progress"]);
const BEYOND = 1.15; // the axis ends a little after the start; what goes on later runs out of it

/** The tree. Bars have the time of the start as their axis, because a start is short and a life is long. */
export class StepsView {
  constructor(parent, store) {
    this.store = store;
    this.rows = new Map();
    this.axis = h("span", { class: "axis" });
    this.list = h("ol", { class: "steps" });
    this.rest = h("p", { class: "hint" });
    this.section = h("section", {}, h("h3", {}, "Steps", this.axis), this.list, this.rest);
    parent.append(this.section);
    this.reset();
    this.ticking = setInterval(() => this.update(), TICK_MS);
  }

  close() {
    clearInterval(this.ticking);
  }

  reset() {
    this.rows.clear();
    this.list.replaceChildren();
    this.begun = 0;
    this.ready = 0;
    this.ended = 0;
    this.over = false;
    this.rest.hidden = true;
    this.section.hidden = true;
  }

  /** Whether the container has ended; unrecorded: steps that the cell did not keep. */
  end(over, unrecorded) {
    this.over = over;
    this.rest.hidden = !unrecorded;
    setText(this.rest, unrecorded ? `The cell keeps ${this.rows.size || "some"} steps of this large tree; more of them have run.` : "");
  }

  moments(moments) {
    const at = (...whats) => moments.find((each) => whats.includes(each.what))?.at ?? 0;
    this.begun = at("initializing", "reserved", "adopted");
    this.ready = at("running");
    this.ended = at("completed", "removed");
  }

  /** Show new and changed steps. */
  show(steps) {
    this.section.hidden = false;
    for (const step of steps) {
      let row = this.rows.get(step.path);
      if (!row) {
        row = made();
        this.rows.set(step.path, row);
        this.list.append(row.element);
      }
      row.step = step;
      setVariable(row.element, "--depth", String(Math.min(step.depth, 12)));
      setAttribute(row.element, "data-state", step.state);
      setAttribute(row.element, "data-group", GROUPS.has(step.kind) ? "" : null);
      setGlyph(row.mark, ofStep(step));
      setText(row.kind, step.kind);
      setText(row.label, step.label);
      setAttribute(row.label, "title", step.label || null);
      setText(row.fact, fact(step));
      setText(row.why, [step.reason, step.cause].filter(Boolean).join(": "));
      row.why.hidden = !step.reason;
      setAttribute(row.element, "aria-label", `${step.kind} ${step.label}: ${step.state}`);
    }
    this.update();
  }

  update() {
    if (this.section.hidden) return;
    const now = this.store.now();
    const started = [...this.rows.values()].map(({ step }) => step.started).filter(Boolean);
    const from = Math.min(...started, this.begun || Infinity);
    if (!Number.isFinite(from)) return setText(this.axis, "");
    const until = this.#until(from, now, Math.max(...started, 0));
    setText(this.axis, `bars span ${duration(until - from)}`);
    for (const { step, bar, time } of this.rows.values()) {
      if (!step.started) {
        setText(time, "");
        bar.hidden = true;
        continue;
      }
      const running = step.state === "running";
      const end = running ? (this.over ? this.ended || now : now) : step.ended;
      setText(time, duration(step.seconds === undefined || running ? end - step.started : step.seconds * 1000));
      bar.hidden = false;
      const share = (at) => Math.min(Math.max((at - from) / (until - from), 0), 1);
      setVariable(bar, "--from", share(step.started).toFixed(4));
      setVariable(bar, "--to", share(end).toFixed(4));
      bar.classList.toggle("beyond", end > until);
    }
  }

  #until(from, now, last) {
    const ready = this.ready || this.ended || now;
    const whole = (this.ended || now) - from;
    const start = Math.max(ready, last) - from;
    return from + Math.max(whole < start * 4 ? whole : start * BEYOND, 50);
  }
}

function made() {
  const [mark, kind, label, fact_, time, bar, why] = [
    glyph("none"), h("span", { class: "kind" }), h("span", { class: "label mono" }), h("span", { class: "fact" }),
    h("span", { class: "time" }), h("span", { class: "span" }), h("p", { class: "why" }),
  ];
  const element = h("li", {}, h("span", { class: "step" }, mark, kind, label), fact_, time, h("span", { class: "track", "aria-hidden": "true" }, bar), why);
  return { element, mark, kind, label, fact: fact_, time, bar, why };
}

function fact(step) {
  if (step.exit !== undefined) return `exit ${step.exit}`;
  if (step.done === undefined) return "";
  return step.total ? `${bytes(step.done)} of ${bytes(step.total)}` : bytes(step.done);
}

const WORDS = {
  reserved: "Place reserved on the cell",
  adopted: "Taken over from the previous process of the cell",
  initializing: "Creation begins",
  waiting: "",
  created: "Container created, steps begin",
  running: "Healthy: it runs",
  ready: "Routable: its readiness check passes",
  "not ready": "Not routable: its readiness check fails",
  stopping: "A stop is asked for",
  completed: "Ended",
  removed: "Container destroyed",
};

/** The moments of a container, with the time since the first. */
export class StoryView {
  constructor(parent) {
    this.list = h("ol", { class: "story" });
    this.section = h("section", {}, h("h3", {}, "Story"), this.list);
    parent.append(this.section);
    this.reset();
  }

  reset() {
    this.list.replaceChildren();
    this.section.hidden = true;
  }

  show(moments) {
    this.section.hidden = !moments.length;
    const first = moments[0]?.at ?? 0;
    this.list.replaceChildren(...moments.map((each) => {
      const bad = each.what === "completed" && each.text;
      const words = [WORDS[each.what] ?? each.what, each.text].filter(Boolean).join(": ");
      return h("li", { "data-tone": bad ? "bad" : null, "data-what": each.what },
        h("time", { title: moment(each.at) }, clock(each.at)), h("span", { class: "offset" }, `+${duration(each.at - first)}`), h("span", { class: "words" }, words));
    }));
  }
}
