// How bad a figure is, by the rungs that are configured.

import { number } from "./words.js";

export const SEVERITIES = ["emergency", "critical", "warning", "notice"];

const CAUSES = { margin_ratio: "ratio", distance: "distance", alert: "alert" };

/**
 * The more dangerous pool first: by severity, then by ratio, then by name. An unknown ratio stands behind the pools that
 * are known to be past liquidation and ahead of all others.
 */
export function byDanger(a, b) {
  return rank(a) - rank(b) || compare(ratioOf(b), ratioOf(a)) || compare(a.pool, b.pool);
}

function rank(pool) {
  if (number(pool.margin_ratio) === null) return 0;
  return pool.severity === null ? SEVERITIES.length : SEVERITIES.indexOf(pool.severity);
}

function ratioOf(pool) {
  return number(pool.margin_ratio) ?? 1;
}

function compare(a, b) {
  return a < b ? -1 : a > b ? 1 : 0;
}

/** "calm", a severity or "unknown". */
export function levelOf(pool) {
  return number(pool.margin_ratio) === null ? "unknown" : (pool.severity ?? "calm");
}

/** What a pool's severity comes from, for example "by distance"; nothing for one without. */
export function causeOf(pool) {
  return pool.severity === null ? "" : "by " + pool.severity_by.map((cause) => CAUSES[cause]).join(" and ");
}

/** "calm" or a severity, for a distance to liquidation: falling is worse. At 0 it is an emergency without any rung. */
export function nearness(distance, rungs = {}) {
  const value = number(distance);
  if (value === null) return "calm";
  if (value <= 0) return "emergency";
  return SEVERITIES.find((severity) => value <= (rungs[severity] ?? -Infinity)) ?? "calm";
}

/**
 * Which of the things in `present` may stay where they are so that the others, moved, bring them into the order
 * `wanted`: the longest run that is in order already (patience sorting).
 */
export function staying(present, wanted) {
  const place = new Map(wanted.map((thing, index) => [thing, index]));
  const tops = []; // of each pile, the index in `present`
  const below = new Array(present.length);
  present.forEach((thing, index) => {
    const rank = place.get(thing);
    if (rank === undefined) return;
    let low = 0;
    let high = tops.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (place.get(present[tops[middle]]) < rank) low = middle + 1;
      else high = middle;
    }
    below[index] = low ? tops[low - 1] : -1;
    tops[low] = index;
  });
  const kept = new Set();
  for (let index = tops.length ? tops[tops.length - 1] : -1; index >= 0; index = below[index]) kept.add(present[index]);
  return kept;
}

/**
 * Put the children of `parent` into the order `wanted`, moving as few as possible, none of which loses the focus. To be
 * called before their attributes are written.
 */
export function arrange(parent, wanted) {
  const kept = staying([...parent.children], wanted);
  const focused = parent.contains(document.activeElement) ? document.activeElement : null;
  let before = null;
  for (let index = wanted.length - 1; index >= 0; index--) {
    const child = wanted[index];
    if (!kept.has(child)) {
      // Only where the focus is: Chromium 156 leaves what it moves so in old colours if they had changed just before.
      if (focused !== null && child.contains(focused) && parent.moveBefore) parent.moveBefore(child, before);
      else parent.insertBefore(child, before);
    }
    before = child;
  }
  if (focused !== null && document.activeElement !== focused && focused.isConnected) {
    focused.focus({ preventScroll: true });
  }
}
