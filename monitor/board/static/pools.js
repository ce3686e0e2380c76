// The pools: a row each, the most dangerous first. Only what changed is written.

import { SEVERITIES, arrange, byDanger, causeOf, levelOf, nearness } from "./danger.js";
import { Detail } from "./detail.js";
import { copyOf, duration, hide, named, number, percent, price, set, signed, amount, write } from "./words.js";

const POINTS = 180;
const BREAK = " · ";
const NAMED = 5; // accounts named in one sentence

export class Pools {
  constructor(orders) {
    this.orders = orders;
    this.rows = new Map();
    this.changed = new Set();
    this.rungs = {};
    this.history = { step_s: 0, pools: {} };
    this.wanted = "";
    named("filter").addEventListener("input", (event) => {
      this.wanted = event.target.value.trim().toLowerCase();
      this.show(this.state);
    });
  }

  dirty(pool) {
    this.changed.add(pool);
  }

  /** New rungs: ticks in every bar, through one property. */
  ladder(rungs) {
    this.rungs = rungs;
    const ladder = rungs.margin_ratio ?? {};
    const ticks = Object.values(ladder)
      .filter((rung) => rung > 0 && rung < 1)
      .map((rung) => {
        const at = (rung * 100).toFixed(2) + "%";
        return `linear-gradient(to right, transparent calc(${at} - 1px), var(--tick) 0, var(--tick) ${at}, transparent 0)`;
      });
    document.documentElement.style.setProperty("--rungs", ticks.join(", ") || "none");
    const words = [...SEVERITIES].reverse().filter((severity) => severity in ladder);
    const text = words.map((severity) => severity + " " + percent(ladder[severity]).replace(".0", ""));
    write(named("ladder"), words.length ? "rungs: " + text.join(", ") : "no rungs on the margin ratio");
    for (const name of this.rows.keys()) this.changed.add(name);
  }

  remember(history) {
    this.history = history;
    let longest = 0;
    for (const points of Object.values(history.pools)) longest = Math.max(longest, points.length);
    this.points = Math.max(longest, 2);
    const covered = (this.points - 1) * history.step_s;
    write(named("spark-head"), longest < 2 ? "Last hour" : covered > 3400 ? "Last hour" : "Last " + duration(covered));
    for (const [name, row] of this.rows) row.trace(history.pools[name] ?? [], this.points);
  }

  show(state) {
    this.state = state;
    if (!state) return;
    for (const [name, row] of this.rows) {
      if (!state.pools.has(name)) {
        row.element.remove();
        this.rows.delete(name);
      }
    }
    const changed = [];
    for (const name of this.changed) {
      const pool = state.pools.get(name);
      if (pool === undefined) continue;
      let row = this.rows.get(name);
      if (row === undefined) {
        row = new Row(pool, this.orders);
        row.trace(this.history.pools[name] ?? [], this.points ?? 2);
        this.rows.set(name, row);
      }
      row.pool = pool;
      changed.push(row);
    }
    this.changed.clear();
    const order = [...this.rows.values()].sort((a, b) => byDanger(a.pool, b.pool));
    let seen = 0;
    for (const row of order) {
      const fits = !this.wanted || row.name.toLowerCase().includes(this.wanted);
      hide(row.element, !fits);
      seen += fits;
    }
    arrange(
      named("rows"),
      order.map((row) => row.element),
    );
    for (const row of changed) row.show(this.rungs);
    this.count(state, seen);
  }

  count(state, seen) {
    const none = named("pools-none");
    hide(none, seen > 0);
    if (!seen) write(none, this.rows.size ? "No pool's name holds that." : withoutPools(state.ready));
    const hidden = state.total - this.rows.size;
    hide(named("pools-more"), hidden <= 0);
    if (hidden > 0) write(named("pools-more"), `${hidden.toLocaleString("en")} pools with less risk are not shown.`);
    set(named("table"), "aria-rowcount", String(state.total + 1));
  }
}

class Row {
  constructor(pool, orders) {
    this.name = pool.pool;
    const element = (this.element = copyOf("row-template"));
    const find = (selector) => element.querySelector(selector);
    this.parts = {
      percent: find(".percent"),
      level: find(".level"),
      by: find(".by"),
      bar: find(".bar i"),
      mark: find(".mark"),
      arrow: find(".arrow"),
      liquidation: find(".liquidation"),
      leg: find(".leg"),
      distance: find(".distance"),
      pnl: find(".pnl .sum"),
      balance: find(".balance"),
      basis: find(".basis"),
      old: find(".old"),
      why: find(".why"),
      svg: find("svg"),
      area: find(".area"),
      trace: find(".trace"),
    };
    const [, scope, side] = /^(.*?)(?::(long|short|net|both))?$/.exec(pool.scope);
    write(find(".scope"), scope);
    write(find(".side"), side ?? "cross");
    set(find(".side"), "data-side", side ?? "cross");
    write(find(".where"), pool.venue + BREAK + pool.account);
    this.button = find(".open");
    this.detail = new Detail(find(".detail"), orders);
    this.button.addEventListener("click", () => this.toggle());
  }

  toggle() {
    const open = this.button.getAttribute("aria-expanded") !== "true";
    this.button.setAttribute("aria-expanded", String(open));
    this.detail.open(open, this.pool);
  }

  show(rungs) {
    const { parts, pool } = this;
    set(this.element, "data-level", levelOf(pool));
    set(this.element, "data-stale", pool.stale ? "true" : null);
    write(parts.percent, percent(pool.margin_ratio));
    write(parts.level, pool.severity ?? "");
    write(parts.by, causeOf(pool));
    const ratio = number(pool.margin_ratio);
    const filled = ratio === null ? 0 : Math.min(Math.max(ratio, 0), 1);
    const width = (filled * 100).toFixed(1) + "%";
    if (this.width !== width) parts.bar.style.width = this.width = width;
    write(parts.basis, (pool.basis === null ? "" : BREAK + pool.basis) + (pool.silenced ? BREAK + "silent" : ""));
    write(parts.old, pool.stale ? "the figures are old" : "");
    const why = pool.unknown.join("; ");
    hide(parts.why, !why);
    write(parts.why, why);
    this.prices(pool, rungs);
    this.amounts(pool);
    this.detail.show(pool);
  }

  /** The leg that is nearest to its liquidation. */
  prices(pool, rungs) {
    const parts = this.parts;
    const legs = pool.legs ?? [];
    const leg = legs.reduce((near, each) => (far(each) < far(near) ? each : near), legs[0]);
    const none = leg === undefined || leg.liquidation_price === null;
    write(parts.mark, leg === undefined ? "" : (price(leg.mark_price) ?? "unknown"));
    hide(parts.arrow, none);
    write(parts.liquidation, none ? "" : price(leg.liquidation_price));
    const several = legs.length > 1;
    write(parts.leg, several ? `${leg.instrument} ${leg.side}, ${legs.length} legs` : "");
    const distance = number(leg?.distance);
    let words = pool.unknown.length ? "liquidation price unknown" : "no liquidation price";
    if (pool.legs === null) words = "";
    else if (distance !== null) words = distance < 0 ? "past it by " + percent(-distance) : percent(distance) + " away";
    write(parts.distance, words);
    set(parts.distance, "data-level", nearness(distance, rungs.distance));
  }

  amounts(pool) {
    const legs = pool.legs;
    let sum = null;
    if (legs !== null && legs.every((leg) => number(leg.unrealized_pnl) !== null)) {
      sum = legs.reduce((total, leg) => total + number(leg.unrealized_pnl), 0);
    }
    write(this.parts.pnl, legs === null ? "" : signed(sum));
    set(this.parts.pnl, "data-sign", sum === null || sum === 0 ? "none" : sum > 0 ? "gain" : "loss");
    const known = pool.margin_balance !== null;
    write(this.parts.balance, "balance " + amount(pool.margin_balance) + (known && pool.unit ? " " + pool.unit : ""));
  }

  /** Draw the points so that all rows share one time axis, of which `width` points are known. */
  trace(points, width) {
    const key = points.length + ":" + points[0] + ":" + points.at(-1) + ":" + width;
    if (this.traced === key && points.length < POINTS) return;
    this.traced = key;
    const step = 180 / (width - 1);
    const first = width - points.length;
    let line = "";
    let area = "";
    let begun = null;
    let last = 0;
    points.forEach((figure, index) => {
      const ratio = number(figure);
      const x = ((first + index) * step).toFixed(1);
      if (ratio === null) {
        if (begun !== null) area += `L${last} 100L${begun} 100Z`;
        begun = null;
        return;
      }
      const y = (97 - Math.min(Math.max(ratio, 0), 1) * 94).toFixed(1);
      line += (begun === null ? "M" : "L") + x + " " + y;
      area += (begun === null ? "M" : "L") + x + " " + y;
      begun ??= x;
      last = x;
    });
    if (begun !== null) area += `L${last} 100L${begun} 100Z`;
    this.parts.trace.setAttribute("d", line);
    this.parts.area.setAttribute("d", area);
    const known = points.map(number).filter((ratio) => ratio !== null);
    const words = known.length
      ? `margin ratio between ${percent(Math.min(...known))} and ${percent(Math.max(...known))}`
      : "no history yet";
    this.parts.svg.setAttribute("aria-label", words);
  }
}

/** That no pool has risk open is known only while everything is seen. */
function withoutPools({ ready, unread }) {
  if (unread.length) {
    const more = unread.length > NAMED ? ` and ${unread.length - NAMED} more` : "";
    return `Not read yet: ${unread.slice(0, NAMED).join(", ")}${more}. What risk is open there is not known.`;
  }
  return ready ? "No pool has risk open." : "What risk is open is not known: not everything is seen.";
}

function far(leg) {
  return number(leg?.distance) ?? Infinity;
}
