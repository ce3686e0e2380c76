// The stream of events, and whether what it brought is still true.
//
// A connection proves nothing: what counts is how long ago the last round came, and how late it was. The server sends one
// a second, also when nothing has changed.
//
// How long ago, a clock says that nobody sets. How late, the daemon's times say beside it: a round that took longer than
// the quickest one was kept on its way. Whether the reader's own clock is right is of no account.

const GONE_MS = 4000; // without a round, what is shown counts as old
const SILENT_MS = 8000; // then the connection counts as dead, and another is tried
const RETRY_MS = 1500;
const LATE_MS = 1000; // then the daemon is asked for its time, if rounds come at the pace of time
const COMPARE_MS = 5000; // how often, at most
const SLEPT_MS = 2000; // by which the wall clock runs ahead of the steady one only where it was set, or the device slept
const DRIFT = 0.001; // by which share two clocks may run apart

export class Link {
  /** `onRound` gets each round; `onState` whether the rounds come, at every change. */
  constructor(url, onRound, onState) {
    this.url = url;
    this.onRound = onRound;
    this.onState = onState;
    this.state = "connecting";
    this.lastAt = null; // what the last round says of its time
    this.leastLag = null; // from the daemon's time to the steady clock's, by the quickest round
    this.aheadMs = Date.now() - performance.now();
    this.sleptMs = 0; // since the last round, as far as the steady clock does not know of it
    this.refusal = ""; // why the daemon, although it is there, sends no rounds
    this.open();
    setInterval(() => this.look(), 500);
    for (const name of ["visibilitychange", "pageshow", "focus", "online"]) addEventListener(name, () => this.look());
  }

  /** Milliseconds since the last round left the server, as far as that can be told from here. */
  get ageMs() {
    return performance.now() - this.receivedTick + this.sleptMs + this.delayMs;
  }

  open() {
    clearTimeout(this.retry);
    this.source?.close();
    this.openedTick = performance.now();
    const source = (this.source = new EventSource(this.url));
    source.addEventListener("round", (event) => {
      if (source === this.source) this.take(JSON.parse(event.data));
    });
    source.addEventListener("error", () => {
      // The browser tries again by itself, but not after a refusal.
      if (source === this.source && source.readyState === EventSource.CLOSED) this.refused(source);
    });
  }

  /** Ask why, which the browser keeps to itself, and try again later. */
  async refused(source) {
    const asking = new AbortController();
    const slow = setTimeout(() => asking.abort(), RETRY_MS);
    let refusal = "";
    try {
      const answer = await fetch(this.url, { signal: asking.signal });
      if (!answer.ok) refusal = (await answer.json()).error ?? "";
    } catch {
      // There is no answer at all.
    }
    clearTimeout(slow);
    asking.abort(); // where there is room again, that was a stream without end
    if (source !== this.source) return;
    this.refusal = refusal;
    this.openLater();
  }

  openLater() {
    clearTimeout(this.retry);
    this.retry = setTimeout(() => this.open(), RETRY_MS);
  }

  /**
   * Whether the device may have slept since this was last asked, for which the steady clock may have stood still. Then
   * what waits on the connection may be of before, and only a new one brings what is of now.
   */
  woke() {
    const ahead = Date.now() - performance.now();
    const jumped = ahead - this.aheadMs;
    this.aheadMs = ahead;
    if (jumped < SLEPT_MS) return false;
    this.sleptMs += jumped; // if the clock was set instead, the next round is only a moment away
    this.leastLag = null; // the steady clock may be behind the daemon's by more now
    this.open();
    return true;
  }

  take(round) {
    if (this.woke()) {
      this.look();
      return;
    }
    if (round.since !== null && round.since !== this.round) {
      this.open(); // something is missing; a new reader begins with everything
      return;
    }
    this.round = round.round;
    this.refusal = "";
    this.lastAt = Date.parse(round.at);
    const now = performance.now();
    const since = now - (this.receivedTick ?? this.openedTick);
    const lag = now - this.lastAt;
    const slower = lag - (this.lag ?? lag);
    this.receivedTick = now;
    this.sleptMs = 0;
    this.lag = lag;
    // The first of all may have been kept on its way as well, but not for longer than since it was asked for.
    this.leastLag = this.leastLag === null ? this.openedTick - this.lastAt : this.leastLag + DRIFT * since;
    this.judge();
    if (this.delayMs > LATE_MS && slower < since / 2) this.compare();
    this.onRound(round);
    this.look();
  }

  judge() {
    this.leastLag = Math.min(this.leastLag, this.lag);
    this.delayMs = this.lag - this.leastLag;
  }

  /**
   * Rounds come, and seem late: they are kept on their way, or else the daemon's clock was set back. What it answers to a
   * question it did not say before it was asked, and so tells which. (A clock that stands still needs no question.)
   */
  async compare() {
    const asked = performance.now();
    if (asked - (this.comparedTick ?? -Infinity) < COMPARE_MS) return;
    this.comparedTick = asked;
    try {
      const answer = await fetch("/api/v1/pools?limit=1", { signal: AbortSignal.timeout(COMPARE_MS), cache: "no-store" });
      const { at } = await answer.json();
      if (at === undefined) return;
      this.leastLag = asked - Date.parse(at);
      this.judge();
      this.look();
    } catch {
      // No answer: what comes goes on counting as late.
    }
  }

  look() {
    this.woke();
    const silentSince = Math.max(this.openedTick, this.receivedTick ?? 0);
    if (performance.now() - silentSince > SILENT_MS && this.source.readyState !== EventSource.CLOSED) this.open();
    const never = this.lastAt === null;
    const waiting = never && performance.now() - (this.begun ??= performance.now()) < GONE_MS;
    const state = waiting ? "connecting" : never || this.ageMs > GONE_MS ? "gone" : "live";
    if (state !== this.state || state === "gone") {
      this.state = state;
      this.onState(state);
    }
  }
}
