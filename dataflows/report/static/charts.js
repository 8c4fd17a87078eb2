// The fleet's charts: bars as SVG, each with a sentence for those who don't see them and a table beside.

const HUES = 8;
const TINTS = [100, 55, 30];
/** After the last hue they come again, paler: types beyond eight must not look like the first ones. */
const hue = (i) => `color-mix(in srgb, var(--hue-${i % HUES}) ${TINTS[Math.floor(i / HUES) % TINTS.length]}%, var(--raised))`;

/** Stacked bars over time. `series` are {name, days: [[day, count]]}; days become weeks or months where they are many. */
function stackedBars(series, label) {
  const all = series.flatMap((each) => each.days.map(([at]) => at));
  if (!all.length) return el("p", { class: "soft", text: "No signals." });
  const first = Math.min(...all), last = Math.max(...all);
  const width = last - first < 100 ? 1 : last - first < 700 ? 7 : 30;
  const bins = Math.floor((last - first) / width) + 1;
  const stacks = Array.from({ length: bins }, () => new Array(series.length).fill(0));
  series.forEach((each, i) => each.days.forEach(([at, number]) => { stacks[Math.floor((at - first) / width)][i] += number; }));
  const most = Math.max(...stacks.map((stack) => stack.reduce((sum, each) => sum + each, 0)));
  const W = 900, H = 220, left = 40, bottom = 22;
  const x = linear(0, bins, left, W), y = linear(0, most, H - bottom, 8);
  const chart = svg("svg", { viewBox: `0 0 ${W} ${H}`, role: "img", "aria-label": label });
  for (const tick of round(0, most, 4)) {
    chart.append(svg("line", { class: "grid", x1: left, x2: W, y1: y(tick), y2: y(tick) }), svg("text", { x: left - 6, y: y(tick) + 4, "text-anchor": "end", text: short(tick).replace(/\.00$/, "") }));
  }
  for (const [tick, text] of times(first * DAY_MS, (last + 1) * DAY_MS, 9)) {
    chart.append(svg("text", { x: x((tick / DAY_MS - first) / width), y: H - 6, text }));
  }
  stacks.forEach((stack, bin) => {
    let sum = 0;
    stack.forEach((number, i) => {
      if (!number) return;
      const title = `${series[i].name}: ${count(number)}, ${width === 1 ? "" : "from "}${day((first + bin * width) * DAY_MS)}`;
      chart.append(svg("rect", { x: x(bin) + .5, width: Math.max(1, x(1) - x(0) - 1), y: y(sum + number), height: y(sum) - y(sum + number), style: { fill: hue(i) } }, svg("title", { text: title })));
      sum += number;
    });
  });
  const unit = { 1: "day", 7: "week", 30: "30 days" }[width];
  const keys = el("ul", { class: "keys" }, series.map((each, i) => el("li", {}, el("span", { class: "swatch", style: { background: hue(i) } }), each.name)));
  return el("div", {}, chart, keys, el("p", { class: "soft", text: `One bar is a ${unit}.`.replace("a 30 days", "30 days") }));
}

/** A histogram of scores in [0, 1]; heights grow with the logarithm where `log`, since most scores are small. */
function histogram(bins, label, log = false) {
  const W = 220, H = 90, height = (number) => (log ? Math.log1p(number) : number);
  const most = Math.max(1, ...bins.map(height));
  const chart = svg("svg", { viewBox: `0 0 ${W} ${H + 16}`, role: "img", "aria-label": `${label}: ${sayBins(bins)}` });
  bins.forEach((number, i) => {
    const tall = (height(number) / most) * H;
    chart.append(svg("rect", { x: (i * W) / bins.length + .5, width: W / bins.length - 1, y: H - tall, height: tall, style: { fill: "var(--accent)" } },
      svg("title", { text: `${(i / bins.length).toFixed(2)} to ${((i + 1) / bins.length).toFixed(2)}: ${count(number)}` })));
  });
  chart.append(svg("line", { class: "axis", x1: 0, x2: W, y1: H, y2: H }));
  [["0", 0, "start"], ["0.5", W / 2, "middle"], ["1", W, "end"]].forEach(([text, x, anchor]) => chart.append(svg("text", { x, y: H + 13, "text-anchor": anchor, text })));
  return chart;
}

function sayBins(bins) {
  const filled = bins.map((number, i) => [number, i]).filter(([number]) => number);
  return filled.map(([number, i]) => `${count(number)} from ${(i / bins.length).toFixed(2)} to ${((i + 1) / bins.length).toFixed(2)}`).join(", ") || "none";
}
