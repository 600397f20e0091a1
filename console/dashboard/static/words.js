/** Every text of the page, in the reader's language. The two lists are JSON, and a test compares their keys. */

import { EN } from "./words_en.js";
import { ES } from "./words_es.js";
import { chooseLocale, number } from "./format.js";

const LISTS = { es: ES, en: EN };
export const LANGUAGES = Object.keys(LISTS);

let words = EN;
let plural = new Intl.PluralRules("en");

export function chooseLanguage(language) {
  words = LISTS[language];
  plural = new Intl.PluralRules(language);
  chooseLocale(language);
}

/** The text of a key, with numbers and texts in the places of their {names}; `n` chooses singular or plural. */
export function t(key, values = {}) {
  return sentence(key, values).join("");
}

/** As `t`, where values may be elements: a list of children. */
export function sentence(key, values = {}) {
  const parts = template(key, values).split(/\{(\w+)\}/);
  return parts.map((part, index) => (index % 2 === 0 ? part : shown(values[part])));
}

function template(key, values) {
  const found = words[key];
  if (found === undefined) throw new Error(`no words for ${key}`);
  return typeof found === "string" ? found : (found[plural.select(Number(values.n))] ?? found.other);
}

function shown(value) {
  return typeof value === "number" ? number(value) : value;
}

/** The word for a code that the server names; a code that this page does not know yet is shown as it is. */
export function word(domain, code) {
  const key = `${domain}.${code}`;
  return Object.hasOwn(words, key) ? words[key] : String(code);
}

/** A sentence about a code; empty where there is none. */
export function explain(domain, code) {
  const key = `${domain}.${code}.told`;
  return Object.hasOwn(words, key) ? words[key] : "";
}

/** A block's reason begins with a code, and may go on in free text. */
export function blockedWord(reason) {
  const [, code, rest] = /^(\w+)(.*)$/s.exec(reason) ?? [null, reason, ""];
  return `${word("blocked", code)}${rest}`;
}
