/**
 * Numbers, money, instants and ages as the reader writes them. Amounts come as whole minor units and stay whole: they
 * are handed to Intl as decimal text, never as a fraction of binary digits.
 */

const LANGUAGES = ["es", "en"];
const REGIONS = { es: "es-MX", en: "en-US" };
const NO_VALUE = "—";
/** Of a currency that is none, so much is shown. */
const CODE_MAX = 8;

let locale = "en-US";

/** Of the language, in the reader's own region where the browser names one. */
export function chooseLocale(language) {
  locale = navigator.languages.find((each) => each.toLowerCase().startsWith(`${language}-`)) ?? REGIONS[language];
  made.clear();
}

/** The first of the reader's languages that the page has; the programme's own where it has none. */
export function preferredLanguage() {
  const wanted = navigator.languages.map((each) => each.slice(0, 2).toLowerCase());
  return wanted.find((each) => LANGUAGES.includes(each)) ?? "es";
}

/** Making an Intl object is slow, and a month has thousands of cells. */
const made = new Map();

function maker(kind, options) {
  const name = `${kind.name} ${JSON.stringify(options)}`;
  if (!made.has(name)) made.set(name, new kind(locale, options));
  return made.get(name);
}

/** Whole and exact. What is no number is not shown: numbers stand in narrow cells, and text would burst them. */
export function number(value) {
  return isWhole(value) ? maker(Intl.NumberFormat, {}).format(value) : NO_VALUE;
}

export function percent(part, whole) {
  const share = whole > 0 ? Math.min(part / whole, 1) : 0;
  // All but one family of a million is not "100 %".
  const shown = share < 1 ? Math.floor(share * 1000) / 1000 : 1;
  return maker(Intl.NumberFormat, { style: "percent", maximumFractionDigits: 1 }).format(shown);
}

/** Minor units, such as centavos, as an amount of the currency. */
export function money(minor, currency) {
  if (!isWhole(minor)) return NO_VALUE;
  const format = currencyFormat(currency);
  if (format === null) return `${number(minor)} ${currency.slice(0, CODE_MAX)}`;
  return format.format(decimal(BigInt(minor), format.resolvedOptions().maximumFractionDigits));
}

/** null for text that is no currency's code. */
function currencyFormat(currency) {
  try {
    return maker(Intl.NumberFormat, { style: "currency", currency });
  } catch {
    return null;
  }
}

function decimal(minor, digits) {
  const text = String(minor < 0n ? -minor : minor).padStart(digits + 1, "0");
  const whole = digits > 0 ? `${text.slice(0, -digits)}.${text.slice(-digits)}` : text;
  return minor < 0n ? `-${whole}` : whole;
}

function isWhole(value) {
  return typeof value === "bigint" || Number.isSafeInteger(value);
}

/** Milliseconds since 1970, or null for text that is no instant. */
export function parseInstant(text) {
  const at = Date.parse(text);
  return Number.isNaN(at) ? null : at;
}

/** In the zone, with its short name: at the end of daylight saving an hour happens twice. */
export function local(at, zone, { seconds = false } = {}) {
  const format = (timeZone) =>
    maker(Intl.DateTimeFormat, {
      year: "numeric", month: "short", day: "numeric", hour: "numeric", minute: "2-digit",
      ...(seconds ? { second: "2-digit" } : {}), timeZoneName: "short", ...(timeZone ? { timeZone } : {}),
    }).format(at);
  try {
    return format(zone);
  } catch {
    return format("UTC"); // the zone comes from the log, and may be none
  }
}

/** Time of day in the zone, for axes. */
export function timeOfDay(at, zone, { seconds = false } = {}) {
  const options = { hour: "numeric", minute: "2-digit", ...(seconds ? { second: "2-digit" } : {}) };
  try {
    return maker(Intl.DateTimeFormat, { ...options, timeZone: zone || undefined }).format(at);
  } catch {
    return maker(Intl.DateTimeFormat, { ...options, timeZone: "UTC" }).format(at);
  }
}

/** As the log has it, to the second. */
export function utc(at) {
  return `${new Date(at).toISOString().slice(0, 19).replace("T", " ")} UTC`;
}

/** A benefit month, `2026-12`. */
export function cycleName(cycle) {
  const [, year, month] = /^(\d{4})-(\d{2})$/.exec(cycle) ?? [];
  if (!year) return cycle;
  const options = { year: "numeric", month: "long", timeZone: "UTC" };
  return maker(Intl.DateTimeFormat, options).format(Date.UTC(Number(year), Number(month) - 1, 15));
}

const UNITS = [["day", 86_400], ["hour", 3_600], ["minute", 60], ["second", 1]];

/** Two units at most: "2 h 5 min". */
export function duration(seconds) {
  if (seconds === null || seconds === undefined) return NO_VALUE;
  let left = Math.max(0, Math.round(seconds));
  const first = Math.max(0, UNITS.findIndex(([, length]) => left >= length));
  const parts = [];
  for (const [unit, length] of (left === 0 ? UNITS.slice(-1) : UNITS.slice(first, first + 2))) {
    const count = Math.floor(left / length);
    left -= count * length;
    if (count > 0 || parts.length === 0) parts.push(maker(Intl.NumberFormat, unitOf(unit)).format(count));
  }
  return parts.join(" ");
}

function unitOf(unit) {
  return { style: "unit", unit, unitDisplay: "short" };
}

export function milliseconds(value) {
  if (value === null || value === undefined) return NO_VALUE;
  if (value < 1000) return maker(Intl.NumberFormat, unitOf("millisecond")).format(value);
  return maker(Intl.NumberFormat, { ...unitOf("second"), maximumFractionDigits: 1 }).format(value / 1000);
}

/** "3 minutes ago", "in 2 hours"; of the largest unit that fits. */
export function ago(at, now) {
  const seconds = Math.round((at - now) / 1000);
  const [unit, length] = UNITS.find(([, each]) => Math.abs(seconds) >= each) ?? UNITS[3];
  return maker(Intl.RelativeTimeFormat, { numeric: "always" }).format(Math.trunc(seconds / length), unit);
}

export function bytes(value) {
  const [unit, size] = [["megabyte", 1_000_000], ["kilobyte", 1_000], ["byte", 1]].find(([, each]) => value >= each) ?? ["byte", 1];
  return maker(Intl.NumberFormat, { ...unitOf(unit), maximumFractionDigits: 1 }).format(value / size);
}

export { NO_VALUE };
