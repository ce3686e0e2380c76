// Figures and times for people. A figure comes as the API writes it: null is unknown (or none), "Infinity" is endless.

const SPACE = "\u202f"; // narrow, and never broken

const PLACES_MAX = 8;

const two = new Intl.NumberFormat("en", { minimumFractionDigits: 2, maximumFractionDigits: 2 });
const digits = new Intl.NumberFormat("en", { maximumSignificantDigits: 7 });

/** A number, null where it is unknown. */
export function number(figure) {
  if (figure === null || figure === undefined) return null;
  const value = Number(figure);
  return Number.isNaN(value) ? null : value;
}

export function percent(figure, unknown = "unknown") {
  const value = number(figure);
  if (value === null) return unknown;
  if (value === Infinity) return "no margin left";
  const share = value * 100;
  return share.toFixed(places(Math.abs(share))) + SPACE + "%";
}

/** What is next to nothing, as a distance may be, has two digits that say something and does not look like nothing. */
function places(share) {
  if (share > 0 && share < 1) return Math.min(1 - Math.floor(Math.log10(share)), PLACES_MAX);
  return share >= 1000 ? 0 : share < 10 ? 2 : 1;
}

export function price(figure) {
  const value = number(figure);
  return value === null ? null : digits.format(value);
}

export function amount(figure) {
  const value = number(figure);
  if (value === null) return "unknown";
  const size = Math.abs(value);
  return (value < 0 ? "\u2212" : "") + (size >= 1 || size === 0 ? two.format(size) : digits.format(size));
}

export function signed(figure) {
  const value = number(figure);
  if (value === null) return "unknown";
  return (value > 0 ? "+" : "") + amount(value);
}

export function duration(seconds) {
  const whole = Math.max(0, Math.floor(seconds));
  if (whole < 60) return whole + SPACE + "s";
  const minutes = Math.floor(whole / 60);
  if (minutes < 60) return minutes + SPACE + "min";
  const hours = Math.floor(minutes / 60);
  if (hours < 48) return hours + SPACE + "h" + (minutes % 60 ? " " + (minutes % 60) + SPACE + "min" : "");
  return Math.floor(hours / 24) + " days";
}

/** The same in words that are read aloud well. */
export function inWords(seconds) {
  const whole = Math.max(0, Math.floor(seconds));
  const count = (n, word) => n + " " + word + (n === 1 ? "" : "s");
  if (whole < 120) return count(whole, "second");
  if (whole < 7200) return count(Math.floor(whole / 60), "minute");
  return count(Math.floor(whole / 3600), "hour");
}

const clock = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit", second: "2-digit" });
const short = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit" });
const dated = new Intl.DateTimeFormat("en-GB", { day: "numeric", month: "short", hour: "2-digit", minute: "2-digit" });

/** A moment as the reader's own clock shows it. */
export function time(moment) {
  return clock.format(new Date(moment));
}

/** A moment to the minute, with its day when that is not today's (as of `now`, in milliseconds). */
export function moment(at, now) {
  const far = Math.abs(new Date(at).getTime() - now) > 12 * 3600 * 1000;
  return (far ? dated : short).format(new Date(at));
}

/** Write a text where it differs: an equal one is left alone, so that nothing is laid out or read aloud again. */
export function write(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

export function set(element, name, value) {
  if (value === null) {
    if (element.hasAttribute(name)) element.removeAttribute(name);
  } else if (element.getAttribute(name) !== value) {
    element.setAttribute(name, value);
  }
}

export function hide(element, hidden) {
  if (element.hidden !== hidden) element.hidden = hidden;
}

export function named(id) {
  return document.getElementById(id);
}

export function copyOf(template) {
  return named(template).content.firstElementChild.cloneNode(true);
}
