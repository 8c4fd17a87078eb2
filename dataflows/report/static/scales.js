// Scales: from times, amounts and counts to pixels, and the ticks that people count in.

const HOUR_MS = 3_600_000;
const DAY_MS = 86_400_000;

/** A linear scale; invert is its reverse. */
function linear(from, to, low, high) {
  const span = to - from || 1;
  const scale = (value) => low + ((value - from) / span) * (high - low);
  scale.invert = (pixel) => from + ((pixel - low) / (high - low || 1)) * span;
  return scale;
}

/** Ticks of a logarithmic axis in [low, high], both positive: powers of ten, with their twos and fives where those are few. */
function decades(low, high) {
  const ticks = [], steps = high / low < 1000 ? [1, 2, 5] : [1];
  for (let power = Math.floor(Math.log10(low)); power <= Math.ceil(Math.log10(high)); power++) {
    ticks.push(...steps.map((step) => +(step * 10 ** power).toPrecision(1)));
  }
  return ticks.filter((tick) => tick >= low && tick <= high);
}

/** About `wanted` round numbers in [low, high]. */
function round(low, high, wanted) {
  const raw = (high - low || 1) / wanted;
  const power = 10 ** Math.floor(Math.log10(raw));
  const step = [1, 2, 5, 10].map((factor) => factor * power).find((each) => each >= raw);
  const ticks = [];
  for (let tick = Math.ceil(low / step) * step; tick <= high + step * 1e-9; tick += step) ticks.push(+tick.toPrecision(12));
  return ticks;
}

/** Ticks of a time axis: [ms, label], at most `most`; hours, days, or the first of months. */
function times(from, to, most) {
  const span = to - from;
  for (const hours of [1, 3, 6, 12, 24, 48, 168, 336]) {
    const step = hours * HOUR_MS;
    if (span / step <= most) return steps(from, to, step, hours < 24);
  }
  const months = [1, 2, 3, 6, 12, 24, 60].find((each) => span / (each * 30 * DAY_MS) <= most) ?? 120;
  const ticks = [];
  const start = new Date(from);
  for (let month = Math.floor(start.getUTCMonth() / months) * months, year = start.getUTCFullYear(); ; month += months) {
    const tick = Date.UTC(year, month, 1);
    if (tick > to) return ticks;
    if (tick >= from) ticks.push([tick, new Date(tick).toLocaleString("en-GB", { month: "short", year: "2-digit", timeZone: "UTC" })]);
  }
}

function steps(from, to, step, clock) {
  const ticks = [];
  for (let tick = Math.ceil(from / step) * step; tick <= to; tick += step) {
    const options = clock ? { day: "numeric", month: "short", hour: "2-digit", minute: "2-digit" } : { day: "numeric", month: "short" };
    ticks.push([tick, new Date(tick).toLocaleString("en-GB", { ...options, timeZone: "UTC" })]);
  }
  return ticks;
}

/** The first index of a sorted array whose value is at least `value`. */
function firstFrom(sorted, value) {
  let low = 0, high = sorted.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (sorted[middle] < value) low = middle + 1; else high = middle;
  }
  return low;
}
