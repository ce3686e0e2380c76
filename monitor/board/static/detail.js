// What unfolds below a pool: its figures, its legs, what would help, and the way to silence it.

import { amount, hide, moment, percent, price, signed, time, write } from "./words.js";

const COLUMNS = [
  ["Position", (leg) => `${leg.instrument} ${leg.side}`],
  ["Size", (leg) => price(leg.size) ?? "unknown"],
  ["Mark", (leg) => price(leg.mark_price) ?? "unknown"],
  ["Liquidation", (leg, pool) => price(leg.liquidation_price) ?? (pool.unknown.length ? "unknown" : "none")],
  ["Distance", (leg, pool) => percent(leg.distance, pool.unknown.length ? "unknown" : "none")],
  ["PnL", (leg) => signed(leg.unrealized_pnl)],
  ["Notional", (leg) => amount(leg.notional)],
  ["Next funding", (leg) => funding(leg)],
  ["ADL rank", (leg) => (leg.adl_rank === null ? "not told" : `${leg.adl_rank} of 5`)],
];

export class Detail {
  constructor(element, orders) {
    this.element = element;
    this.orders = orders;
  }

  open(open, pool) {
    hide(this.element, !open);
    if (open) this.show(pool);
  }

  show(pool) {
    if (this.element.hidden) return;
    this.facts ??= this.build(pool);
    write(this.facts, facts(pool).join(" · "));
    const legs = pool.legs ?? [];
    hide(this.scroller, !legs.length);
    while (this.body.rows.length > legs.length) this.body.deleteRow(-1);
    legs.forEach((leg, index) => {
      const row = this.body.rows[index] ?? this.body.insertRow();
      COLUMNS.forEach(([, words], column) => write(row.cells[column] ?? row.insertCell(), words(leg, pool)));
    });
  }

  build(pool) {
    const facts = document.createElement("p");
    const table = document.createElement("table");
    this.body = table.createTBody();
    const heads = table.createTHead().insertRow();
    for (const [name] of COLUMNS) {
      const head = document.createElement("th");
      head.scope = "col";
      head.textContent = name;
      heads.append(head);
    }
    this.scroller = document.createElement("div");
    this.scroller.className = "scroller";
    this.scroller.tabIndex = 0;
    this.scroller.role = "region";
    this.scroller.ariaLabel = "Positions of " + pool.pool;
    this.scroller.append(table);
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = "Silence this pool…";
    button.addEventListener("click", () => this.orders.silence(pool.pool));
    this.element.append(facts, this.scroller, button);
    return facts;
  }
}

function funding(leg) {
  if (leg.next_funding === null) return "not told";
  const when = leg.next_funding_at === null ? "" : " at " + time(leg.next_funding_at);
  return signed(leg.next_funding) + when;
}

function facts(pool) {
  const unit = pool.unit ? " " + pool.unit : "";
  const found = [
    pool.pool,
    "margin balance " + amount(pool.margin_balance) + unit,
    "maintenance margin " + amount(pool.maintenance_margin) + unit,
  ];
  if (pool.basis === "computed") found.push("computed from the venue's rules");
  if (pool.basis === "reported") found.push("maintenance margin as the venue last reported it");
  if (pool.venue_margin_ratio !== null) found.push("on the venue's own scale " + percent(pool.venue_margin_ratio));
  if (pool.model_error !== null) found.push("model error " + percent(pool.model_error));
  if (pool.mark_at !== null) found.push("marks of " + time(pool.mark_at));
  if (pool.silenced) {
    const { until, by, reason } = pool.silenced;
    found.push(`silent until ${moment(until, Date.now())}, by ${by}: ${reason}`);
  }
  if (pool.remedy) found.push(`to be back at ${percent(pool.remedy.target_ratio)} ${ways(pool.remedy, unit)}`);
  if (pool.distance_remedy) {
    const target = percent(pool.distance_remedy.target_distance);
    found.push(`for liquidation to be ${target} away ${ways(pool.distance_remedy, unit)}`);
  }
  return found;
}

function ways(remedy, unit) {
  const close = remedy.cut_fraction === null ? "" : ", or close " + percent(remedy.cut_fraction) + " of it";
  return "add " + amount(remedy.add_collateral) + unit + close;
}
