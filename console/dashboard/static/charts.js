/** Numbers over time: a uPlot chart, its summary in words, and the same numbers as a table. */

import { h } from "./dom.js";
import * as format from "./format.js";
import { table } from "./parts.js";
import { t } from "./words.js";

const HEIGHT = 220;
/** A time of day with its seconds, in any language, with room between two of them. */
const TIME_SPACE_PX = 110;
/** Which charts the reader has opened as tables. */
const asTable = new Set();

/**
 * `series`: {label, values, color (a custom property), line, right}; all have the same start and step. A series with
 * `right` has the axis on the right, and every one without `line` is drawn as bars.
 */
export function chart({ key, title, summary, series, startS, stepS, zone, refresh }) {
  const drawn = { series, startS, stepS, zone };
  return h("figure", { key, class: "chart" },
    h("figcaption", null, h("strong", null, title), " ", summary),
    h("div", { key: "plot", class: "plot", role: "img", "aria-label": `${title} ${summary}`, widget: (node) => draw(node, drawn) }),
    h("button", { key: "toggle", type: "button", "aria-expanded": String(asTable.has(key)), onclick: () => {
      if (!asTable.delete(key)) asTable.add(key);
      refresh();
    } }, t(asTable.has(key) ? "chart.hide_table" : "chart.show_table")),
    asTable.has(key) && seriesTable(title, drawn));
}

function seriesTable(title, { series, startS, stepS, zone }) {
  const columns = [
    { name: "at", label: t("column.at"), head: true },
    ...series.map((each, index) => ({ name: `series-${index}`, label: each.label, numeric: true })),
  ];
  const rows = series[0].values.map((_, place) => ({
    key: String(startS + place * stepS),
    cells: {
      at: format.local((startS + place * stepS) * 1000, zone, { seconds: stepS < 60 }),
      ...Object.fromEntries(series.map((each, index) => [`series-${index}`, format.number(each.values[place])])),
    },
  }));
  return table({ key: "table", caption: title, captionHidden: true, columns, rows });
}

function draw(node, drawn) {
  const colors = drawn.series.map((each) => resolved(node, each.color));
  const ink = resolved(node, "--quiet");
  const grid = resolved(node, "--line");
  // What a chart looks like is fixed when it is made; new numbers alone are handed to the old one.
  const looks = JSON.stringify([colors, ink, grid, drawn.zone, drawn.stepS, document.documentElement.lang, drawn.series.map((each) => each.label)]);
  const data = [drawn.series[0].values.map((_, place) => drawn.startS + place * drawn.stepS), ...drawn.series.map((each) => each.values)];
  const numbers = JSON.stringify(data);
  if (node.despensaLooks !== looks) make(node, drawn, { colors, ink, grid, data });
  else if (node.despensaNumbers !== numbers) node.despensaPlot.setData(data);
  node.despensaLooks = looks;
  node.despensaNumbers = numbers;
}

function make(node, drawn, { colors, ink, grid, data }) {
  node.despensaPlot?.destroy();
  node.despensaSizes?.disconnect();
  const plot = new window.uPlot(options(node, drawn, { colors, ink, grid }), data, node);
  node.despensaPlot = plot;
  node.despensaSizes = new ResizeObserver(() => {
    if (!node.isConnected) node.despensaSizes.disconnect();
    else if (node.clientWidth !== plot.width) plot.setSize({ width: node.clientWidth, height: HEIGHT });
  });
  node.despensaSizes.observe(node);
}

function options(node, { series, stepS, zone }, { colors, ink, grid }) {
  const seconds = stepS < 60;
  const axis = { stroke: ink, grid: { stroke: grid, width: 1 }, ticks: { stroke: grid, width: 1 }, font: "12px system-ui, sans-serif" };
  const wholeNumbers = { values: (_plot, splits) => splits.map((each) => (Number.isInteger(each) ? format.number(each) : "")), size: 64 };
  const hasRight = series.some((each) => each.right);
  return {
    width: Math.max(node.clientWidth, 200),
    height: HEIGHT,
    tzDate: (at) => new Date(at * 1000),
    padding: [12, hasRight ? 0 : 28, 0, 0],
    scales: { x: { time: true, range: (plot, low, high) => around(plot.data[0], low, high, stepS) }, y: { range: fromZero }, right: { range: fromZero } },
    legend: { live: true },
    series: [
      { label: t("column.at"), value: (_plot, at) => (at === null ? format.NO_VALUE : format.timeOfDay(at * 1000, zone, { seconds })) },
      ...series.map((each, index) => ({
        label: each.label, stroke: colors[index], width: each.line ? 2 : 1, scale: each.right ? "right" : "y",
        fill: each.line ? undefined : colors[index], points: { show: false },
        paths: each.line ? undefined : window.uPlot.paths.bars({ size: [0.8, 24] }),
        value: (_plot, value) => format.number(value),
      })),
    ],
    axes: [
      { ...axis, space: TIME_SPACE_PX, values: (_plot, splits) => splits.map((at) => format.timeOfDay(at * 1000, zone, { seconds: seconds && at % 60 !== 0 })) },
      { ...axis, ...wholeNumbers },
      ...(hasRight ? [{ ...axis, ...wholeNumbers, scale: "right", side: 1, grid: { show: false }, size: 76 }] : []),
    ],
  };
}

/** A step more on both sides. Of a single instant uPlot would show years. */
function around(instants, low, high, stepS) {
  return instants.length === 1 ? [instants[0] - stepS, instants[0] + stepS] : [low - stepS, high + stepS];
}

function fromZero(_plot, _low, high) {
  return [0, Math.max(1, high * 1.05)];
}

/** A custom property as a colour that a canvas knows. */
function resolved(node, property) {
  node.style.color = `var(${property})`;
  const color = getComputedStyle(node).color;
  node.style.removeProperty("color");
  return color;
}
