// Alerts, silences, streams and the banner: lists whose entries are kept and changed in place.

import { SEVERITIES, arrange } from "./danger.js";
import { copyOf, duration, hide, moment, named, set, write } from "./words.js";

/** The entries of a list by key; `make` builds one, `show` writes into it. */
class Entries {
  constructor(list, none, template, words) {
    this.list = named(list);
    this.words = words; // for an empty list, true only once something is known
    this.none = named(none);
    this.template = template;
    this.entries = new Map();
  }

  show(items, keyOf, make, show) {
    const left = new Set(this.entries.keys());
    const order = [];
    for (const item of items) {
      const key = keyOf(item);
      left.delete(key);
      let entry = this.entries.get(key);
      if (entry === undefined) {
        entry = copyOf(this.template);
        this.entries.set(key, entry);
        make(entry, item);
      }
      order.push(entry);
    }
    for (const key of left) {
      const entry = this.entries.get(key);
      // Who stood on it stands on its list then, not at the top of the page.
      if (entry.contains(document.activeElement)) this.list.parentElement.querySelector("h2").focus();
      entry.remove();
      this.entries.delete(key);
    }
    arrange(this.list, order);
    items.forEach((item, index) => show(order[index], item));
    write(this.none, this.words);
    hide(this.none, order.length > 0);
  }
}

export class Alerts {
  constructor(orders) {
    this.orders = orders;
    this.entries = new Entries("alerts-list", "alerts-none", "alert-template", "No alert fires.");
    this.said = null;
    this.total = 0;
    this.cut = false; // whether more fired than were listed
  }

  show(state, changed) {
    const now = state.at;
    this.entries.show(
      state.alerts,
      (alert) => alert.key,
      (entry, alert) => {
        entry.querySelector(".acknowledge").addEventListener("click", () => this.acknowledge(entry, alert.key));
        entry.querySelector(".silence").addEventListener("click", () => this.orders.silence(alert.pool ?? alert.key));
      },
      (entry, alert) => this.entry(entry, alert, now),
    );
    const title = "Alerts" + (state.alerts_total ? ` (${state.alerts_total})` : "");
    write(named("alerts-title"), title);
    const more = state.alerts_total - state.alerts.length;
    hide(named("alerts-more"), more <= 0);
    if (more > 0) write(named("alerts-more"), `${more} more alerts fire.`);
    if (changed) this.announce(state);
  }

  entry(entry, alert, now) {
    const find = (selector) => entry.querySelector(selector);
    set(entry, "data-level", alert.severity);
    set(entry, "data-quiet", alert.acknowledged || alert.silenced ? "true" : null);
    write(find(".level"), alert.severity);
    const since = duration((now - Date.parse(alert.raised_at)) / 1000);
    write(find(".since"), `since ${moment(alert.raised_at, now)}, ${since}`);
    write(find(".then"), `said ${moment(alert.said_at ?? alert.raised_at, now)}:`);
    // The number comes first in a message; the rest says of what.
    const cut = alert.text.indexOf(" · ");
    write(find(".first"), cut < 0 ? alert.text : alert.text.slice(0, cut));
    write(find(".rest"), cut < 0 ? "" : alert.text.slice(cut));
    write(find(".advice"), alert.advice ?? "");
    const handled = [];
    // In the order in which it happened: once somebody has acknowledged it, it is not passed on any more.
    if (alert.escalation) handled.push(`passed on, as nobody ${alert.acknowledged ? "had" : "has"} acknowledged it`);
    if (alert.acknowledged) handled.push(`acknowledged by ${alert.acknowledged.by} at ${moment(alert.acknowledged.at, now)}`);
    if (alert.silenced) handled.push(`silent until ${moment(alert.silenced.until, now)}: ${alert.silenced.reason}`);
    write(find(".handled"), handled.join(" · "));
    const button = find(".acknowledge");
    if (alert.acknowledged && document.activeElement === button) find(".text").focus();
    hide(button, Boolean(alert.acknowledged));
    set(button, "aria-label", "Acknowledge: " + alert.text);
    set(find(".silence"), "aria-label", "Silence " + (alert.pool ?? alert.key));
  }

  async acknowledge(entry, key) {
    const button = entry.querySelector(".acknowledge");
    button.disabled = true;
    try {
      await this.orders.acknowledge(key);
    } finally {
      button.disabled = false;
    }
  }

  /** Say aloud what is new or worse, and what is over; never all of it again. */
  announce(state) {
    const ranks = new Map(state.alerts.map((alert) => [alert.key, SEVERITIES.indexOf(alert.severity)]));
    const cut = state.alerts.length < state.alerts_total;
    const news = [];
    if (this.said === null) {
      if (state.alerts_total) news.push(state.alerts_total === 1 ? "1 alert fires" : `${state.alerts_total} alerts fire`);
    } else {
      const worse = state.alerts.filter((alert) => ranks.get(alert.key) < (this.said.get(alert.key) ?? 9));
      for (const alert of worse.slice(0, 3)) news.push(`${alert.severity}: ${alert.text}`);
      if (worse.length > 3) news.push(`and ${worse.length - 3} more alerts`);
      let over = 0;
      for (const key of this.said.keys()) over += !ranks.has(key);
      if (cut || this.cut) {
        // What is not listed any more may still fire; only the number of all is known.
        if (state.alerts_total < this.total) news.push(`now ${state.alerts_total} alerts fire`);
      } else if (over) news.push(over === 1 ? "1 alert is over" : `${over} alerts are over`);
    }
    this.said = ranks;
    this.total = state.alerts_total;
    this.cut = cut;
    if (news.length) write(named("announcements"), news.join(". "));
  }
}

export class Silences {
  constructor(orders) {
    this.orders = orders;
    this.entries = new Entries("silences-list", "silences-none", "silence-template", "No silence is in force.");
    named("silence-button").addEventListener("click", () => orders.silence(""));
  }

  show(state) {
    this.entries.show(
      state.silences,
      (silence) => silence.id,
      (entry, silence) => {
        const end = entry.querySelector(".end");
        set(end, "aria-label", "End the silence of " + silence.subject);
        end.addEventListener("click", () => this.orders.end(silence.id));
        write(entry.querySelector(".subject"), silence.subject);
      },
      (entry, silence) => {
        const left = duration((Date.parse(silence.until) - state.at) / 1000);
        const even = silence.emergency ? " · even emergencies" : "";
        const words = `until ${moment(silence.until, state.at)}, ${left} left · ${silence.by}: ${silence.reason}${even}`;
        write(entry.querySelector(".sub"), words);
      },
    );
  }
}

export class Feeds {
  constructor() {
    this.entries = new Entries("feeds-list", "feeds-none", "feed-template", "No stream is open.");
  }

  show(feeds) {
    const seen = new Map();
    const keyOf = (feed) => {
      const name = [feed.venue, feed.account, feed.stream].join("/");
      return name + "#" + (seen.get(feed) ?? 0);
    };
    const counts = new Map();
    for (const feed of feeds) {
      const name = [feed.venue, feed.account, feed.stream].join("/");
      seen.set(feed, counts.get(name) ?? 0);
      counts.set(name, (counts.get(name) ?? 0) + 1);
    }
    this.entries.show(
      feeds,
      keyOf,
      (entry, feed) => {
        write(entry.querySelector(".stream"), [feed.venue, feed.account, feed.stream].filter(Boolean).join(" "));
      },
      (entry, feed) => {
        set(entry, "data-state", feed.state);
        write(entry.querySelector(".state"), feed.state);
        const age = feed.age_s === null ? "no data yet" : feed.age_s < 10 ? feed.age_s.toFixed(1) + "\u202fs" : duration(feed.age_s);
        write(entry.querySelector(".age"), age);
        write(entry.querySelector(".note"), feed.detail);
      },
    );
  }
}
