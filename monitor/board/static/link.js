// The stream of events, and whether what it brought is still true.
//
// A connection proves nothing: what counts is how long ago the last round came, and how late it was. The server sends one
// a second, also when nothing has changed.

const GONE_MS = 4000; // without a round, what is shown counts as old
const SILENT_MS = 8000; // then the connection counts as dead, and another is tried
const RETRY_MS = 1500;
const DRIFT = 0.001; // by which share two clocks may run apart

export class Link {
  /** `onRound` gets each round; `onState` whether the rounds come, at every change. */
  constructor(url, onRound, onState) {
    this.url = url;
    this.onRound = onRound;
    this.onState = onState;
    this.state = "connecting";
    this.lastAt = null; // what the last round says of its time
    this.refusal = ""; // why the daemon, although it is there, sends no rounds
    this.open();
    setInterval(() => this.look(), 500);
    for (const name of ["visibilitychange", "pageshow", "focus", "online"]) addEventListener(name, () => this.look());
  }

  /** Milliseconds since the last round left the server, as far as that can be told from here. */
  get ageMs() {
    // The wall clock goes on while the machine sleeps, the other one cannot be set back: the greater age is believed.
    const waited = Math.max(performance.now() - this.receivedTick, Date.now() - this.receivedWall);
    return waited + this.delayMs;
  }

  open() {
    clearTimeout(this.retry);
    this.source?.close();
    this.openedTick = performance.now();
    this.leastLag = Infinity;
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

  take(round) {
    if (round.since !== null && round.since !== this.round) {
      this.open(); // something is missing; a new reader begins with everything
      return;
    }
    this.round = round.round;
    this.refusal = "";
    this.lastAt = Date.parse(round.at);
    this.receivedTick = performance.now();
    this.receivedWall = Date.now();
    // Both clocks may be wrong, but alike: a round that took longer than the quickest one was kept on its way.
    const lag = this.receivedWall - this.lastAt;
    this.leastLag = Math.min(this.leastLag + DRIFT * this.sinceLast(), lag);
    this.delayMs = lag - this.leastLag;
    this.onRound(round);
    this.look();
  }

  /** Milliseconds from the round before to this one. */
  sinceLast() {
    const before = this.lastTick ?? this.receivedTick;
    this.lastTick = this.receivedTick;
    return this.receivedTick - before;
  }

  look() {
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
