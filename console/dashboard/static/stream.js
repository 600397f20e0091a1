/** Follows one view of the server. What it shows is whole with every message, so nothing needs to be caught up with. */

const RETRY_S = [1, 2, 5, 10];
/** The server says something every quarter of a minute: silence for so long is a connection that died unnoticed. */
const STALE_AFTER_MS = 60_000;

export class Stream {
  /** `onView(message)`, `onState("live" | "waiting" | "broken" | "paused")`. */
  constructor({ onView, onState }) {
    this.onView = onView;
    this.onState = onState;
    this.view = { name: "months", of: "" };
    this.paused = false;
    this.attempts = 0;
    document.addEventListener("visibilitychange", () => this.onVisibility());
  }

  follow(view) {
    this.view = view;
    this.attempts = 0;
    this.open();
  }

  pause(paused) {
    this.paused = paused;
    if (paused) this.close();
    this.onState(paused ? "paused" : "waiting");
    if (!paused) this.open();
  }

  /** Nobody looks: nothing is followed. Until the next message nothing is known of what came meanwhile. */
  onVisibility() {
    if (document.hidden) this.close();
    else if (!this.paused) {
      this.onState("waiting");
      this.open();
    }
  }

  /** While paused, the first message of a view is taken, because there is nothing else to show of it. */
  open() {
    this.close();
    if (document.hidden) return;
    const { name, of } = this.view;
    const source = new EventSource(`/stream?${new URLSearchParams({ view: name, of })}`);
    this.source = source;
    source.addEventListener("view", (event) => {
      this.attempts = 0;
      if (this.paused) this.close();
      else this.watch();
      this.onState(this.paused ? "paused" : "live");
      this.onView(JSON.parse(event.data));
    });
    source.onerror = () => this.retry();
  }

  close() {
    clearTimeout(this.timer);
    this.source?.close();
    this.source = undefined;
  }

  watch() {
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.retry(), STALE_AFTER_MS);
  }

  /** An event source does not say why it failed, and does not try again after a refusal: both are done here. */
  async retry() {
    this.close();
    const pause = RETRY_S[Math.min(this.attempts, RETRY_S.length - 1)];
    this.attempts += 1;
    this.onState("broken");
    const view = this.view;
    if (await isRefused(view)) location.assign("/login");
    else if (view === this.view && !document.hidden && !this.paused && this.source === undefined) {
      clearTimeout(this.timer);
      this.timer = setTimeout(() => this.open(), pause * 1000);
    }
  }
}

async function isRefused({ name, of }) {
  try {
    const answer = await fetch(`/api/${encodeURIComponent(name)}?${new URLSearchParams({ of })}`, { cache: "no-store" });
    await answer.body?.cancel();
    return answer.status === 401;
  } catch {
    return false;
  }
}
