// What people order: acknowledge, silence, end a silence. The token is kept where its owner chose, never in an address.

import { named, write } from "./words.js";

const TOKEN = "marginwatch.token";
const BY = "marginwatch.by";
const ANSWER_MS = 10000;

/** Storage may be forbidden by the browser; then the page forgets when it is closed. */
class Kept {
  constructor() {
    this.here = new Map();
  }

  get(name) {
    try {
      return sessionStorage.getItem(name) ?? localStorage.getItem(name) ?? this.here.get(name) ?? "";
    } catch {
      return this.here.get(name) ?? "";
    }
  }

  set(name, value, storage) {
    this.forget(name);
    this.here.set(name, value);
    try {
      (storage === "browser" ? localStorage : sessionStorage).setItem(name, value);
    } catch {
      // Kept in this page only.
    }
  }

  forget(name) {
    this.here.delete(name);
    try {
      sessionStorage.removeItem(name);
      localStorage.removeItem(name);
    } catch {
      // There was nothing.
    }
  }
}

export class Orders {
  constructor() {
    this.kept = new Kept();
    this.tokenDialog = named("token-dialog");
    this.silenceDialog = named("silence-dialog");
    named("token-button").addEventListener("click", () => this.askToken());
    named("token-form").addEventListener("submit", (event) => this.takeToken(event));
    named("token-forget").addEventListener("click", () => this.forgetToken());
    named("silence-form").addEventListener("submit", (event) => this.sendSilence(event));
    for (const button of document.querySelectorAll("dialog [data-cancel]")) {
      button.addEventListener("click", () => button.closest("dialog").close());
    }
    this.tokenDialog.addEventListener("close", () => {
      if (this.tokenDialog.open) return; // it was opened again meanwhile
      named("token").value = "";
      this.settle(false);
    });
    this.showToken();
  }

  acknowledge(key) {
    return this.attempt(() => this.ask("POST", "/api/v1/acknowledgements", { key, by: this.by }), "Acknowledged.");
  }

  end(id) {
    const path = () => `/api/v1/silences/${encodeURIComponent(id)}?by=${encodeURIComponent(this.by)}`;
    return this.attempt(() => this.ask("DELETE", path()), "The silence is over.");
  }

  silence(subject) {
    named("silence-subject").value = subject;
    named("silence-reason").value = "";
    named("silence-emergency").checked = false;
    write(named("silence-refusal"), "");
    this.silenceDialog.showModal();
    named(subject ? "silence-for" : "silence-subject").focus();
  }

  async sendSilence(event) {
    event.preventDefault();
    const order = () => ({
      subject: named("silence-subject").value,
      for_s: Number(named("silence-for").value),
      reason: named("silence-reason").value,
      by: this.by,
      emergency: named("silence-emergency").checked,
    });
    write(named("silence-refusal"), "");
    try {
      if ((await this.allowed(() => this.ask("POST", "/api/v1/silences", order()))) === null) return;
      this.silenceDialog.close();
      this.toast("Silenced.");
    } catch (error) {
      write(named("silence-refusal"), error.message);
    }
  }

  get by() {
    return this.kept.get(BY) || "board";
  }

  /** Carry an order out and say how that went. */
  async attempt(order, done) {
    try {
      if ((await this.allowed(order)) !== null) this.toast(done);
    } catch (error) {
      this.toast(error.message, true);
    }
  }

  /** The answer to an order, after asking for the token as often as needed; null when its owner gave up. */
  async allowed(order) {
    let refusal = "";
    for (;;) {
      if ((refusal || !this.kept.get(TOKEN)) && !(await this.askToken(refusal))) return null;
      const answer = await order();
      if (answer.status !== 401) return this.judged(answer);
      refusal = "The daemon refused this token.";
    }
  }

  async judged(answer) {
    if (answer.ok) return answer.body;
    throw new Error(answer.body?.error ?? `The daemon answered ${answer.status}.`);
  }

  async ask(method, path, body) {
    const headers = { Authorization: "Bearer " + this.kept.get(TOKEN) };
    if (body !== undefined) headers["Content-Type"] = "application/json";
    let answer;
    try {
      answer = await fetch(path, {
        method,
        headers,
        body: body === undefined ? undefined : JSON.stringify(body),
        signal: AbortSignal.timeout(ANSWER_MS),
      });
    } catch {
      throw new Error("The daemon does not answer; nothing was done, as far as can be told.");
    }
    const found = await answer.json().catch(() => null);
    return { ok: answer.ok, status: answer.status, body: found };
  }

  /** Whether the owner gave a token. */
  askToken(refusal = "") {
    this.settle(false);
    named("token").value = refusal ? "" : this.kept.get(TOKEN);
    named("token-by").value = this.kept.get(BY);
    write(named("token-refusal"), refusal);
    if (!this.tokenDialog.open) this.tokenDialog.showModal();
    named("token").focus();
    return new Promise((settled) => (this.settled = settled));
  }

  settle(given) {
    this.settled?.(given);
    this.settled = undefined;
  }

  takeToken(event) {
    event.preventDefault();
    const token = named("token").value.trim();
    if (!/^[\x21-\x7e]+$/.test(token)) {
      write(named("token-refusal"), "A token has only letters, digits and signs, and no spaces.");
      return;
    }
    const keep = new FormData(named("token-form")).get("keep");
    this.kept.set(TOKEN, token, keep);
    this.kept.set(BY, named("token-by").value.trim(), "browser");
    named("token").value = "";
    this.settle(true);
    this.tokenDialog.close();
    this.showToken();
  }

  forgetToken() {
    this.kept.forget(TOKEN);
    this.tokenDialog.close();
    this.showToken();
    this.toast("The token is forgotten.");
  }

  showToken() {
    write(named("token-button"), this.kept.get(TOKEN) ? "Token ✓" : "Token…");
    named("token-button").setAttribute("aria-label", this.kept.get(TOKEN) ? "Token, given" : "Token, not given");
  }

  toast(words, bad = false) {
    const toast = named("toast");
    write(toast, words);
    toast.classList.toggle("bad", bad);
    toast.classList.add("shown");
    clearTimeout(this.fading);
    this.fading = setTimeout(() => {
      toast.classList.remove("shown");
      write(toast, "");
    }, bad ? 10000 : 4000);
  }
}
