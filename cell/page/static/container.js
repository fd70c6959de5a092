// One container: facts, steps, story and log, each as it goes on.

import { h, setText } from "./dom.js";
import { bytes, share } from "./format.js";
import { factList } from "./details.js";
import { Feed } from "./feed.js";
import { Log } from "./log.js";
import { meter, ports } from "./rows.js";
import { StepsView, StoryView } from "./steps.js";

const MIB = 1024 * 1024;

export class ContainerView {
  constructor(parent, store) {
    this.store = store;
    this.guid = "";
    this.about = null;
    this.use = h("div", { class: "capacity" });
    parent.append(this.use);
    this.meters = new Map();
    this.facts = factList(parent);
    this.message = h("p", { class: "empty", role: "status" });
    this.body = h("div", { class: "container" });
    parent.append(this.message, this.body);
    this.steps = new StepsView(this.body, store);
    this.story = new StoryView(this.body);
    this.log = new Log(this.body);
    this.none("Connecting to its cell.");
  }

  /** Follow a container. Another one of the same instance continues the log. */
  open(guid) {
    const again = this.guid !== "";
    this.guid = guid;
    this.feed?.close();
    this.about = null;
    let first = true;
    this.feed = new Feed(`containers/${encodeURIComponent(guid)}/feed`, {
      onOpen: () => {
        this.steps.reset();
        this.story.reset();
        if (!first) this.log.mark("The connection was lost; the last lines are repeated.");
        else if (again) this.log.mark("Another container of this instance.");
        first = false;
      },
      onLink: (state, text) => this.body.classList.toggle("stale", state !== "live") || (text && this.none(text)),
      handlers: {
        news: (news) => this.#take(news),
        remark: ({ text }) => this.#remark(text),
        beat: () => {},
        unknown: () => this.#unknown(),
      },
    });
  }

  close() {
    this.feed?.close();
    this.log.close();
    this.steps.close();
  }

  /** Show a message instead of a container. */
  none(text) {
    setText(this.message, text);
    this.message.hidden = !text;
    this.body.hidden = Boolean(text);
  }

  /** row: facts of the control plane, which may know more than the cell. */
  update(row) {
    const about = this.about;
    const reading = this.store.containers.get(this.guid) ?? about;
    this.#meter("Memory", reading?.mem, reading?.mem_most);
    this.#meter("Disk", reading?.disk, reading?.disk_most);
    this.#meter("CPU", reading?.cpu === undefined ? undefined : reading.cpu, 100, (value) => `${value} % of a core`);
    const seen = row ?? about;
    this.facts([
      ["Ports", seen?.ports?.length ? ports(seen) : ""],
      ["Address", seen?.address || about?.address],
      ["Inside", seen?.inner || about?.inner],
      ["Limits", about ? limits(about) : ""],
      ["Image", about?.image],
      ["Guid", this.guid],
    ]);
    this.steps.update();
  }

  #take(news) {
    if (news.about) this.none("");
    if (news.about) {
      this.about = news.about;
      this.steps.end(news.about.removed || news.about.phase === "completed", news.about.unrecorded);
      this.store.changed();
    }
    if (news.moments) {
      this.story.show(news.moments);
      this.steps.moments(news.moments);
    }
    if (news.steps) this.steps.show(news.steps);
    if (news.missing) this.log.mark(`${news.missing} lines are not shown: only the last ones are kept for this page.`);
    if (news.lines) this.log.add(news.lines);
  }

  /** Show what is missing beside the rest. */
  #remark(text) {
    this.none("");
    setText(this.message, text);
    this.message.hidden = false;
  }

  #unknown() {
    this.feed.close();
    if (this.about) return;
    this.none("This process does not know the container. It ran too long ago, or on a cell of another process: its steps and its log are on the page of that cell.");
  }

  #meter(name, used, most, text = (value) => (most ? share(value / MIB, most / MIB) : bytes(value))) {
    let row = this.meters.get(name);
    if (used === undefined && !row) return;
    if (!row) {
      const made = [h("span", { class: "meter" }), h("span", { class: "text" })];
      row = [h("div", {}, h("span", { class: "label" }, name), ...made), ...made];
      this.meters.set(name, row);
      this.use.append(row[0]);
    }
    row[0].hidden = used === undefined;
    if (used === undefined) return;
    meter(row[1], most ? used / most : null);
    setText(row[2], text(used));
  }
}

function limits(about) {
  const parts = [about.memory_mb ? `${about.memory_mb} MB memory` : "", about.disk_mb ? `${about.disk_mb} MB disk` : "", about.pids ? `${about.pids} processes` : ""];
  return parts.filter(Boolean).join(", ") || "none";
}
