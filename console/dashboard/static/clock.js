/** The server's clock, as the last message told it: a reader's own may be wrong. */

let ahead = 0;
let stopped = null;

export function setNow(at) {
  ahead = at - Date.now();
}

/** Milliseconds since 1970. */
export function now() {
  return stopped ?? Date.now() + ahead;
}

/** While the page is paused, nothing is known of what came since: ages stand still. */
export function stopClock() {
  stopped = now();
}

export function startClock() {
  stopped = null;
}
