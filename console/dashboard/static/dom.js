/**
 * From descriptions of elements to the page. A view is described whole at every message; only what differs is
 * touched, so that focus, scroll position and selected text stay where they are.
 *
 * Every text and attribute goes through `visible`, and nothing is ever parsed as HTML: a log line is hostile input.
 */

/** Controls, and characters that reorder or hide text: they must not make a line look like another one. */
const INVISIBLE =
  /[\u0000-\u001f\u007f-\u009f\u00ad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\u{e0000}-\u{e007f}]/gu;

/** Longer ones are cut: a line may be of any length, and a reader finds the whole of it in the log. */
const TEXT_MAX = 20_000;

/** The text with what cannot be seen written out, such as \u202e. */
export function visible(text) {
  const whole = String(text);
  const cut = whole.length > TEXT_MAX ? `${whole.slice(0, TEXT_MAX)}…` : whole;
  return cut.replace(INVISIBLE, (found) => `\\u${found.codePointAt(0).toString(16).padStart(4, "0")}`);
}

/**
 * Describes an element. Attributes: `key` tells it from its siblings; `once` are set when it is made and then left to
 * the reader (open, value); `on…` are handlers; `style` is an object of custom properties; `widget` takes charge of
 * what is inside. null, undefined and false are left out, as attributes and as children.
 */
export function h(tag, attributes, ...children) {
  const { key, once, widget, ...rest } = attributes ?? {};
  return { tag, key, once, widget, attributes: rest, children: children.flat(Infinity).filter(isShown) };
}

function isShown(child) {
  return child !== null && child !== undefined && child !== false && child !== "";
}

/** Makes the children of `parent` what is described. */
export function patch(parent, described) {
  const wanted = [described].flat(Infinity).filter(isShown);
  const keyed = keepOnly(parent, new Set(wanted.map((child) => child.key)));
  let place = parent.firstChild;
  for (const child of wanted) {
    const node = nodeFor(child, place, keyed);
    if (node === place) place = place.nextSibling;
    else move(parent, node, place);
    if (child.tag) update(node, child);
  }
  while (place) {
    const next = place.nextSibling;
    place.remove();
    place = next;
  }
}

/** Removes children whose key is gone, before others would be moved past them: a node that moves loses its focus. */
function keepOnly(parent, keys) {
  const keyed = new Map();
  for (const node of [...parent.childNodes]) {
    if (node.despensaKey === undefined) continue;
    if (keys.has(node.despensaKey)) keyed.set(node.despensaKey, node);
    else node.remove();
  }
  return keyed;
}

/** Newer browsers can move a node without resetting what is inside of it. */
function move(parent, node, place) {
  if (node.parentNode === parent && parent.moveBefore) parent.moveBefore(node, place);
  else parent.insertBefore(node, place);
}

/** The node at this place if it fits, the one with the same key wherever it is, or a new one. */
function nodeFor(child, place, keyed) {
  if (!child.tag) {
    const text = visible(child);
    if (place?.nodeType !== Node.TEXT_NODE) return document.createTextNode(text);
    if (place.nodeValue !== text) place.nodeValue = text;
    return place;
  }
  const old = child.key === undefined ? place : keyed.get(child.key);
  const fits = old?.nodeType === Node.ELEMENT_NODE && old.localName === child.tag && old.despensaKey === child.key;
  if (fits) return old;
  const node = document.createElement(child.tag);
  node.despensaKey = child.key;
  setAttributes(node, child.once ?? {});
  return node;
}

function update(node, child) {
  const before = node.despensaAttributes ?? {};
  const gone = Object.keys(before).filter((name) => !(name in child.attributes));
  setAttributes(node, Object.fromEntries(gone.map((name) => [name, null])));
  setAttributes(node, child.attributes, before);
  node.despensaAttributes = child.attributes;
  if (child.widget) child.widget(node);
  else patch(node, child.children);
}

function setAttributes(node, attributes, before = {}) {
  for (const [name, value] of Object.entries(attributes)) {
    if (name === "style") setProperties(node, value ?? {});
    else if (name.startsWith("on")) node[name] = value;
    else if (value === before[name]) continue;
    else if (value === null || value === undefined || value === false) node.removeAttribute(name);
    else node.setAttribute(name, value === true ? "" : visible(value));
  }
}

function setProperties(node, properties) {
  for (const [name, value] of Object.entries(properties)) {
    if (node.style.getPropertyValue(name) !== String(value)) node.style.setProperty(name, value);
  }
}
