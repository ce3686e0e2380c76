// The banners: they stay in sight wherever the page is scrolled to, and hide nothing that has the focus.

import { hide, named, write } from "./words.js";

export class Banner {
  constructor() {
    this.place = named("banners");
    new ResizeObserver(() => this.makeRoom()).observe(this.place);
  }

  show(state) {
    const reasons = state.ready.reasons.length ? state.ready.reasons : ["The daemon is not ready."];
    const words = state.ready.ready ? "" : reasons.join("\n");
    if (words === this.words) return;
    this.words = words;
    const entries = reasons.map((reason) => {
      const entry = document.createElement("li");
      entry.textContent = reason;
      return entry;
    });
    // Of very many only the first are in sight; how many there are stands above them.
    write(named("blind-title"), "Not everything is seen" + (reasons.length > 1 ? ` (${reasons.length})` : ""));
    named("blind-reasons").replaceChildren(...(words ? entries : []));
    hide(named("blind"), !words);
  }

  /** Tell the browser how much of the window is covered, and bring what has the focus out from under it. */
  makeRoom() {
    const { height, bottom } = this.place.getBoundingClientRect();
    document.documentElement.style.setProperty("--banners", Math.ceil(height) + 8 + "px");
    const focused = document.activeElement;
    if (height === 0 || focused === document.body || focused.closest("#banners, dialog, header")) return;
    if (focused.getBoundingClientRect().top < bottom) focused.scrollIntoView({ block: "nearest" });
  }
}
