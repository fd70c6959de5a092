// The page: its feed, its totals, its list and its details, and the keys.

import { h, setAttribute, setText } from "./dom.js";
import { clock, share } from "./format.js";
import { attention } from "./attention.js";
import { Details } from "./details.js";
import { Feed } from "./feed.js";
import { List } from "./list.js";
import { draw, itemsOf, meter, update } from "./rows.js";
import { Store } from "./store.js";

const AGES_MS = 1000;

const $ = (id) => document.getElementById(id);
const store = new Store();
const expanded = new Set();
const filter = $("filter");
const panes = $("panes");

const list = new List($("list"), {
  draw,
  update: (element, item) => update(element, item, store),
  onOpen: (item, byKey) => open(routeOf(item), byKey),
  onToggle: (item) => toggle(item.row.id),
});
const details = new Details($("detail"), store, { onLeave: leave });

// -- what is open ---------------------------------------------------------------------------------------------

/** The route of an item: `[kind, id]`. */
function routeOf(item) {
  if (item.kind !== "problem") return [item.kind, item.row.id];
  const slash = item.target.indexOf("/");
  return [item.target.slice(0, slash), item.target.slice(slash + 1)];
}

function open(route, byKey) {
  location.hash = route.map(encodeURIComponent).join("/");
  if (byKey && narrow.matches) $("detail").focus();
}

function leave() {
  if (!location.hash) return;
  history.pushState(null, "", location.pathname + location.search);
  showRoute();
  $("list").focus({ preventScroll: true });
}

function showRoute() {
  const parts = location.hash.slice(1).split("/").map(decoded);
  const route = parts.length > 1 ? [parts[0], parts.slice(1).join("/")] : null;
  revealing = route?.[0] === "instance" ? route[1] : null;
  reveal();
  panes.classList.toggle("opened", route !== null);
  details.show(route);
  list.mark(route && `${route[0]}/${route[1]}`);
  if (route && narrow.matches) $("detail").focus({ preventScroll: true });
}

let revealing = null;

/** Open the app of the instance that is shown, as soon as it is known; its reader may close it again. */
function reveal() {
  const row = revealing === null ? undefined : store.instances.get(revealing);
  if (!row) return;
  expanded.add(row.app);
  revealing = null;
}

function decoded(text) {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

function toggle(app) {
  if (!expanded.delete(app)) expanded.add(app);
  show();
}

// -- what is shown --------------------------------------------------------------------------------------------

function show() {
  reveal();
  showTotals();
  list.show(itemsOf(store, { expanded, filter: filter.value.trim().toLowerCase() }));
  details.update();
}

const vitals = new Map();

function showTotals() {
  const counts = {};
  for (const { counts: each } of store.byApp.values()) {
    for (const [state, number] of Object.entries(each)) counts[state] = (counts[state] ?? 0) + number;
  }
  const running = (counts.running ?? 0) + (counts.unready ?? 0) + (counts.leaving ?? 0);
  const desired = [...store.apps.values()].reduce((sum, app) => sum + (app.desired ?? 0), 0);
  const control = store.about.scope === "control";
  const memory = [0, 0];
  for (const { mem } of store.cells.values()) {
    memory[0] += mem[0];
    memory[1] += mem[1];
  }
  let tasks = 0;
  let failed = 0;
  for (const task of store.tasks.values()) {
    if (task.failed) failed += 1;
    else if (task.state === "RUNNING" || task.state === "PENDING") tasks += 1;
  }
  vital("running", control ? `${running} of ${desired}` : running, "instances run", control && running < desired ? "warn" : "");
  vital("starting", counts.starting ?? 0, "starting", "");
  vital("waiting", counts.waiting ?? 0, "wait for a cell", "warn").hidden = !control;
  vital("crashed", counts.crashed ?? 0, "crashed", "bad");
  vital("tasks", tasks, tasks === 1 ? "Task runs" : "Tasks run", "");
  vital("failed", failed, failed === 1 ? "Task failed" : "Tasks failed", "bad");
  vital("reports", store.reports.size, store.reports.size === 1 ? "report waits" : "reports wait", "warn");
  vital("cells", store.cells.size, store.cells.size === 1 ? "cell" : "cells", "");
  vital("memory", memory[1] ? share(...memory) : "–", "memory reserved", "", memory[1] ? memory[0] / memory[1] : null);
  const found = attention(store);
  const problems = found.length;
  const tone = found.some(({ shown }) => shown === "crashed" || shown === "failed") ? "bad" : problems ? "warn" : null;
  setAttribute($("brand"), "data-tone", tone);
  document.title = `${problems ? `(${problems}) ` : ""}${store.about.name || "diego-cell"} · diego-cell`;
  setText($("scope"), store.about.name ? (control ? `control plane ${store.about.name}` : store.about.name) : "");
}

function vital(name, figure, label, tone, part = null) {
  if (!vitals.has(name)) {
    const made = h("li", {}, h("b"), h("span"), h("i", { class: "meter", "aria-hidden": "true" }));
    vitals.set(name, made);
    $("vitals").append(made);
  }
  const made = vitals.get(name);
  setText(made.childNodes[0], String(figure));
  setText(made.childNodes[1], label);
  meter(made.childNodes[2], part);
  setAttribute(made, "data-tone", tone && figure !== 0 ? tone : null);
  made.classList.toggle("zero", figure === 0);
  return made;
}

// -- the feed -------------------------------------------------------------------------------------------------

let lostAt = 0;

function link(state, text) {
  setAttribute($("link"), "data-state", state);
  if (state !== "live" && !lostAt) lostAt = Date.now();
  if (state === "live") lostAt = 0;
  const words = { live: "Live", lost: `No connection since ${clock(lostAt || Date.now())}, trying again`, refused: text };
  setText($("link-text"), words[state]);
  document.body.classList.toggle("stale", state !== "live");
}

new Feed("feed", {
  onLink: link,
  handlers: {
    hello: (about) => {
      store.sync(about.now);
      store.reset(about);
    },
    rows: (batch) => store.apply(batch),
    complete: ({ full }) => {
      store.complete = true;
      store.full = full;
      document.body.classList.add("complete");
      setAttribute(document.body, "data-full", full.join(" ") || null);
      store.changed();
    },
    beat: ({ now }) => store.sync(now),
  },
});

// -- keys -----------------------------------------------------------------------------------------------------

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || $("keys").open) return;
  const typing = event.target === filter;
  if (event.key === "Escape") {
    if (typing || filter.value) {
      filter.value = "";
      show();
      $("list").focus({ preventScroll: true });
    } else {
      leave();
    }
  } else if (typing) {
    if (event.key !== "Enter" && event.key !== "ArrowDown") return;
    $("list").focus({ preventScroll: true });
    if (!list.cursor) list.move(1);
  } else if (event.key === "/") {
    filter.focus();
    filter.select();
  } else if (event.key === "?") {
    $("keys").showModal();
  } else if (event.key === "f") {
    document.dispatchEvent(new Event("toggle-follow"));
  } else if (event.target === document.body && ["ArrowDown", "ArrowUp", "j", "k"].includes(event.key)) {
    $("list").focus({ preventScroll: true });
  } else {
    return;
  }
  event.preventDefault();
});

$("help").addEventListener("click", () => $("keys").showModal());

const narrow = matchMedia("(max-width: 60rem)");
filter.addEventListener("input", show);
addEventListener("hashchange", showRoute);
addEventListener("popstate", showRoute);
store.subscribe(show);
setInterval(() => document.hidden || show(), AGES_MS);
showRoute();
