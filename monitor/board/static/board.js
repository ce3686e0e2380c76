// The board: takes rounds from the daemon, keeps what they say, and has it shown.

import { Banner } from "./banner.js";
import { Link } from "./link.js";
import { Orders } from "./orders.js";
import { Alerts, Feeds, Silences } from "./panels.js";
import { Pools } from "./pools.js";
import { byDanger, causeOf, levelOf } from "./danger.js";
import { hide, inWords, named, percent, time, write } from "./words.js";

const HISTORY_MS_MIN = 5000;

const state = {
  at: null,
  total: 0,
  ready: { ready: true, reasons: [], unread: [] },
  rungs: {},
  feeds: [],
  alerts: [],
  alerts_total: 0,
  silences: [],
  pools: new Map(),
};
const SECTIONS = ["ready", "rungs", "feeds", "alerts", "alerts_total", "silences"];

const orders = new Orders();
const pools = new Pools(orders);
const alerts = new Alerts(orders);
const silences = new Silences(orders);
const feeds = new Feeds();
const banner = new Banner();

function take(round) {
  const changed = new Set(SECTIONS.filter((name) => name in round));
  for (const name of changed) state[name] = round[name];
  state.at = Date.parse(round.at);
  state.total = round.total;
  if (round.since === null) state.pools = new Map(round.pools.map((pool) => [pool.pool, pool]));
  else {
    for (const name of round.gone ?? []) state.pools.delete(name);
    for (const pool of round.pools) state.pools.set(pool.pool, pool);
  }
  for (const pool of round.pools) pools.dirty(pool.pool);
  banner.show(state);
  alerts.show(state, changed.has("alerts") || changed.has("alerts_total"));
  titled();
  if (!document.hidden) show(changed);
}

function show(changed) {
  if (changed.has("rungs")) pools.ladder(state.rungs);
  pools.show(state);
  silences.show(state);
  feeds.show(state.feeds);
  summarize();
}

function worst() {
  let found = null;
  for (const pool of state.pools.values()) if (found === null || byDanger(pool, found) < 0) found = pool;
  return found;
}

/** How bad, where the ratio does not say so itself. */
function beyondRatio(pool) {
  return pool.severity === null || pool.severity_by.includes("margin_ratio") ? "" : pool.severity + " " + causeOf(pool);
}

/** Seen in a tab behind others too. */
function titled() {
  let title = "marginwatch";
  const pool = worst();
  if (pool !== null) {
    title = [beyondRatio(pool), percent(pool.margin_ratio), pool.scope].filter(Boolean).join(" ") + " · " + title;
  }
  if (state.alerts_total) title = "(" + state.alerts_total + ") " + title;
  if (!state.ready.ready) title = "BLIND · " + title;
  if (link.state === "gone") title = "NO DATA · marginwatch";
  if (document.title !== title) document.title = title;
}

function summarize() {
  const pool = worst();
  const parts = [];
  if (pool !== null) parts.push("worst " + [percent(pool.margin_ratio), beyondRatio(pool)].filter(Boolean).join(", "));
  parts.push(state.total === 1 ? "1 pool" : state.total.toLocaleString("en") + " pools");
  const unread = state.ready.unread.length;
  if (unread) parts.push(unread === 1 ? "1 account not read yet" : unread + " accounts not read yet");
  parts.push(state.alerts_total === 1 ? "1 alert" : state.alerts_total + " alerts");
  write(named("summary"), parts.join(" · "));
  document.documentElement.dataset.worst = pool !== null ? levelOf(pool) : state.ready.ready ? "calm" : "unknown";
}

function linked(now) {
  document.documentElement.dataset.link = now;
  titled();
  const gone = now === "gone";
  hide(named("gone"), !gone);
  if (gone) {
    const never = link.lastAt === null;
    const words = never ? whyNothing() + " Nothing is known." : whyOld() + " What is shown is old and may be wrong.";
    write(named("gone-words"), words);
    const age = never ? "" : inWords(link.ageMs / 1000) + " old";
    write(named("gone-age"), never ? "Trying again." : "The figures are " + age + ". Trying again.");
    write(named("link-words"), never ? (link.refusal ? "refused" : "no answer") : age);
  } else {
    // Emptied, so that it is read aloud again the next time.
    write(named("gone-words"), "");
    write(named("link-words"), now === "live" ? "live, " + time(link.lastAt) : "connecting");
  }
  const main = document.querySelector("main");
  if (gone) main.setAttribute("aria-label", "Old figures");
  else main.removeAttribute("aria-label");
}

function whyNothing() {
  return link.refusal ? `The daemon refuses this page: ${link.refusal}.` : "The daemon does not answer.";
}

function whyOld() {
  const since = time(link.lastAt);
  return link.refusal ? `Nothing new since ${since}: ${link.refusal}.` : `No answer from the daemon since ${since}.`;
}

async function remember() {
  let pause = HISTORY_MS_MIN;
  if (!document.hidden && link.state === "live") {
    try {
      const answer = await fetch("/api/v1/history", { signal: AbortSignal.timeout(10000) });
      if (answer.ok) {
        const history = await answer.json();
        pools.remember(history);
        // With many pools it is a long answer.
        pause = Math.max(history.step_s * 1000, HISTORY_MS_MIN + state.pools.size * 50);
      }
    } catch {
      // The link says whether the daemon is there.
    }
  } else pause = 500;
  setTimeout(remember, pause);
}

const link = new Link(
  "/api/v1/events",
  (round) => {
    take(round);
    linked(link.state);
  },
  (now) => linked(now),
);
document.addEventListener("visibilitychange", () => {
  if (!document.hidden && state.at !== null) show(new Set(SECTIONS));
});
remember();
