// A log that follows its end, until its reader scrolls up. Only the last lines are kept.

import { h, setAttribute } from "./dom.js";
import { bytes, clock, moment } from "./format.js";

const LINES_MOST = 1000;
const NEAR_END_PX = 24;
// Control sequences of terminals, and other control characters but the tab.
const CONTROLS = /\x1b(?:\[[0-9;:?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|[@-Z\\-_])|[\x00-\x08\x0a-\x1f\x7f]/g;

export class Log {
  constructor(parent) {
    this.follow = true;
    this.waiting = [];
    this.button = h("button", { type: "button", class: "follow", "aria-pressed": "true", "aria-keyshortcuts": "f", title: "Follow the end of the log (f)", click: () => this.toggle() }, "Follow");
    this.lines = h("ol", { class: "log", tabindex: "0", role: "log", "aria-label": "Log", "aria-live": "off" });
    this.empty = h("p", { class: "empty" }, "No lines yet.");
    this.section = h("section", { class: "log-section" }, h("h3", {}, "Log", this.button), this.empty, this.lines);
    parent.append(this.section);
    this.lines.hidden = true;
    this.lines.addEventListener("scroll", () => this.#scrolled(), { passive: true });
    this.top = 0;
    this.resized = new ResizeObserver(() => this.follow && this.#toEnd());
    this.resized.observe(this.lines);
    this.onToggle = () => this.toggle();
    document.addEventListener("toggle-follow", this.onToggle);
  }

  close() {
    this.resized.disconnect();
    document.removeEventListener("toggle-follow", this.onToggle);
  }

  toggle() {
    this.#set(!this.follow);
    if (this.follow) this.#toEnd();
  }

  /** Add lines: `[ms, is stderr, source, text, missing bytes]`. */
  add(lines) {
    for (const line of lines) this.waiting.push(line);
    this.#soon();
  }

  /** Add a remark between the lines. */
  mark(text) {
    this.waiting.push(text);
    this.#soon();
  }

  #soon() {
    if (this.waiting.length > LINES_MOST) this.waiting.splice(0, this.waiting.length - LINES_MOST);
    if (this.scheduled) return;
    this.scheduled = true;
    const show = () => this.#show();
    if (document.hidden) setTimeout(show, 250);
    else requestAnimationFrame(show);
  }

  #show() {
    this.scheduled = false;
    if (this.lines.hidden && typeof this.waiting.at(-1) === "string") return; // a remark about no lines
    this.empty.hidden = true;
    this.lines.hidden = false;
    this.lines.append(...this.waiting.map(element));
    this.waiting = [];
    const surplus = this.lines.childElementCount - LINES_MOST;
    for (let index = 0; index < surplus; index += 1) this.lines.firstChild.remove();
    if (this.follow) this.#toEnd();
  }

  #toEnd() {
    this.lines.scrollTop = this.lines.scrollHeight;
    this.top = this.lines.scrollTop;
  }

  /** Only its reader scrolls up; a change of its size does not mean that. */
  #scrolled() {
    const { scrollTop, scrollHeight, clientHeight } = this.lines;
    if (scrollHeight - scrollTop - clientHeight < NEAR_END_PX) this.#set(true);
    else if (scrollTop < this.top) this.#set(false);
    this.top = scrollTop;
  }

  #set(follow) {
    this.follow = follow;
    setAttribute(this.button, "aria-pressed", String(follow));
  }
}

function element(line) {
  if (typeof line === "string") return h("li", { class: "remark" }, line);
  const [ms, error, source, text, cut] = line;
  return h("li", { class: error ? "err" : null },
    h("time", { title: moment(ms) }, clock(ms)), h("span", { class: "source" }, source),
    h("span", { class: "text" }, text.replace(CONTROLS, ""), cut ? h("span", { class: "cut" }, ` … ${bytes(cut)} more`) : null));
}
