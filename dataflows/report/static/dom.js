// Elements and texts. Data reaches the page through textContent and attributes only: whatever a merchant is called stays text.

const SVG = "http://www.w3.org/2000/svg";

/** An element; `attributes` may hold listeners (onclick), `text`, and `style` as an object. Children that are null are left out. */
function el(name, attributes = {}, ...children) {
  return dress(document.createElement(name), attributes, children);
}

function svg(name, attributes = {}, ...children) {
  return dress(document.createElementNS(SVG, name), attributes, children);
}

function dress(element, attributes, children) {
  for (const [key, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (key === "text") element.textContent = value;
    else if (key === "style") for (const [name, each] of Object.entries(value)) element.style.setProperty(name, each);
    else if (key.startsWith("on")) element.addEventListener(key.slice(2), value);
    else element.setAttribute(key, value === true ? "" : value);
  }
  element.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined));
  return element;
}

const WHEN = new Intl.DateTimeFormat("en-GB", { dateStyle: "medium", timeStyle: "short", timeZone: "UTC" });
const DAY = new Intl.DateTimeFormat("en-GB", { dateStyle: "medium", timeZone: "UTC" });
const COUNT = new Intl.NumberFormat("en-US");

const when = (ms) => `${WHEN.format(ms)} UTC`;
const day = (ms) => DAY.format(ms);
const count = (number) => COUNT.format(number);
const readable = (code) => code.replaceAll("_", " ");

/** A number as short as a glance needs; where exactness matters, numbers are shown as they are. */
function short(number) {
  if (!Number.isFinite(number)) return "–";
  const size = Math.abs(number);
  return size >= 1e5 ? number.toExponential(1) : size >= 100 ? number.toFixed(0) : size >= 1 ? number.toFixed(2) : String(+number.toPrecision(2));
}

/** Any JSON value as text, unrounded. */
function exactly(value) {
  if (value === null || value === undefined) return "none";
  return typeof value === "string" ? value : JSON.stringify(value);
}

/** Terms and descriptions out of [term, text or element] pairs; what is null is left out. */
function facts(pairs) {
  const rows = pairs.filter(([, value]) => value !== null && value !== undefined && value !== "");
  return el("dl", { class: "facts" }, rows.map(([term, value]) => [el("dt", { text: term }), value instanceof Node ? el("dd", {}, value) : el("dd", { text: value })]));
}

/** A table with its caption; cells that are numbers stand to the right. `columns` are [heading, row => text or node]. */
function table(caption, columns, rows, mark = () => false) {
  const isNumber = (value) => typeof value === "number" || (typeof value === "string" && /^[-+]?[\d.,]+( ?%| µs)?$/.test(value));
  const cells = rows.map((row) => columns.map(([, of]) => of(row)));
  const numeric = columns.map((_, i) => cells.length > 0 && cells.every((row) => row[i] === "–" || row[i] === "" || isNumber(row[i])));
  return el("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": caption },
    el("table", {},
      el("caption", { text: caption }),
      el("thead", {}, el("tr", {}, columns.map(([heading], i) => el("th", { scope: "col", class: numeric[i] ? "number" : null, text: heading })))),
      el("tbody", {}, cells.map((row, at) => el("tr", { class: mark(rows[at]) ? "marked" : null }, row.map((cell, i) =>
        cell instanceof Node ? el("td", {}, cell) : el("td", { class: numeric[i] ? "number" : null, text: cell })))))));
}

/** Something long that is built when it is asked for. */
function folded(summary, build) {
  const details = el("details", {}, el("summary", { text: summary }));
  details.addEventListener("toggle", () => { if (details.open && details.childElementCount === 1) details.append(build()); });
  return details;
}

/** A colour of the theme in force. */
const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
