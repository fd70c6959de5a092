// A tree grid of any length: only the rows in sight exist. All rows have one height, which the style sheet sets.

import { h, setAttribute, setVariable } from "./dom.js";

const BEYOND = 8; // rows above and below the visible ones

export class List {
  /**
   * draw: makes the element of a row; update(element, item, list): shows an item in it. Items have `key`, `level`,
   * `expanded` (undefined if they have no children) and `inert` for rows that cannot be chosen.
   */
  constructor(element, { draw, update, onOpen, onToggle }) {
    Object.assign(this, { element, draw, update, onOpen, onToggle });
    this.items = [];
    this.cursor = null;
    this.open = null;
    this.rows = new Map();
    this.spare = [];
    this.space = h("div", { class: "space", role: "presentation" });
    this.ruler = h("div", { class: "ruler", role: "presentation" }); // as high as a row
    element.append(this.ruler, this.space);
    element.addEventListener("scroll", () => this.#soon(), { passive: true });
    element.addEventListener("keydown", (event) => this.#key(event));
    element.addEventListener("click", (event) => this.#click(event));
    element.addEventListener("focus", () => this.#focused());
    new ResizeObserver(() => this.#measure()).observe(element);
    this.#measure();
  }

  /** Show other items. */
  show(items) {
    this.items = items;
    setAttribute(this.element, "aria-rowcount", String(items.length));
    this.render();
  }

  /** Mark the item whose details are shown. */
  mark(key) {
    this.open = key;
    if (key !== null) this.cursor = key;
    this.render();
  }

  /** Draw the rows in sight. */
  render() {
    const { items, height } = this;
    setVariable(this.space, "--rows", String(items.length));
    const first = Math.max(Math.floor(this.element.scrollTop / height) - BEYOND, 0);
    const last = Math.min(first + Math.ceil(this.viewport / height) + 2 * BEYOND, items.length);
    const wanted = new Map();
    for (let index = first; index < last; index += 1) wanted.set(items[index].key, index);
    for (const [key, row] of this.rows) {
      if (wanted.has(key)) continue;
      this.rows.delete(key);
      row.hidden = true;
      this.spare.push(row);
    }
    for (const [key, index] of wanted) this.#place(key, index);
    const active = this.rows.get(this.cursor);
    setAttribute(this.element, "aria-activedescendant", active ? active.id : null);
  }

  /** Move the cursor by some rows that can be chosen. */
  move(by) {
    const step = Math.sign(by) || 1;
    let at = this.#index();
    if (at < 0) at = step > 0 ? -1 : this.items.length;
    let target = at;
    for (let left = Math.abs(by); left > 0; left -= 1) {
      let next = target + step;
      while (this.items[next]?.inert) next += step;
      if (!this.items[next]) break;
      target = next;
    }
    this.#choose(target);
  }

  #place(key, index) {
    const item = this.items[index];
    let row = this.rows.get(key);
    if (!row) {
      row = this.spare.pop() ?? this.#made();
      row.hidden = false;
      this.rows.set(key, row);
    }
    setVariable(row, "--row", String(index));
    setAttribute(row, "aria-rowindex", String(index + 1));
    setAttribute(row, "aria-level", String((item.level ?? 0) + 1));
    setAttribute(row, "aria-expanded", item.expanded === undefined ? null : String(item.expanded));
    setAttribute(row, "aria-selected", item.inert ? null : String(key === this.open));
    row.classList.toggle("cursor", key === this.cursor);
    row.key = key;
    this.update(row, item);
  }

  #made() {
    const row = this.draw();
    row.id = `row-${(this.made = (this.made ?? 0) + 1)}`;
    row.setAttribute("role", "row");
    this.space.append(row);
    return row;
  }

  #measure() {
    this.height = this.ruler.getBoundingClientRect().height || 28;
    this.viewport = this.element.clientHeight;
    this.render();
  }

  #soon() {
    if (this.scheduled) return;
    this.scheduled = requestAnimationFrame(() => {
      this.scheduled = 0;
      this.render();
    });
  }

  #index() {
    return this.items.findIndex((item) => item.key === this.cursor);
  }

  #focused() {
    if (this.#index() < 0) this.move(1);
  }

  #choose(index) {
    const item = this.items[index];
    if (!item) return;
    this.cursor = item.key;
    const top = index * this.height;
    const { element } = this;
    if (top < element.scrollTop) element.scrollTop = index === 1 ? 0 : top;
    else if (top + this.height > element.scrollTop + this.viewport) element.scrollTop = top + this.height - this.viewport;
    this.render();
  }

  #click(event) {
    const row = event.target.closest("[role=row]");
    const item = row && this.items.find((each) => each.key === row.key);
    if (!item || item.inert) return;
    this.cursor = item.key;
    if (event.target.closest(".twist")) this.onToggle(item);
    else this.onOpen(item);
    this.render();
  }

  #key(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const page = Math.max(Math.floor(this.viewport / this.height) - 1, 1);
    const at = this.#index();
    const item = this.items[at];
    switch (event.key) {
      case "ArrowDown": case "j": this.move(1); break;
      case "ArrowUp": case "k": this.move(-1); break;
      case "PageDown": this.move(page); break;
      case "PageUp": this.move(-page); break;
      case "Home": this.cursor = null; this.element.scrollTop = 0; this.move(1); break;
      case "End": this.cursor = null; this.move(-1); break;
      case "ArrowRight": if (item?.expanded === false) this.onToggle(item); else if (item?.expanded) this.move(1); break;
      case "ArrowLeft": this.#leave(item, at); break;
      case " ": if (item?.expanded !== undefined) this.onToggle(item); break;
      case "Enter": if (item && !item.inert) this.onOpen(item, true); break;
      default: return;
    }
    event.preventDefault();
  }

  #leave(item, at) {
    if (item?.expanded) return this.onToggle(item);
    for (let above = at - 1; above >= 0 && item?.level; above -= 1) {
      if ((this.items[above].level ?? 0) < item.level) return this.#choose(above);
    }
  }
}
