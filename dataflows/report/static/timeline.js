// The timeline: lanes of flags, amounts on a logarithmic axis with the usual band, what is expected, balances. Points are painted
// on one canvas, which stays quick with tens of thousands; flags are buttons above it, for keyboards and screen readers.

const FAMILIES = ["anomaly", "intent", "alert"];
const FLAG = 26, STREAMS_SHOWN = 8, BALANCE = 130, AXIS = 26, GAP = 14;
const LETTER = 7.5; // pixels, generously
const SPAN_MIN_MS = 6 * HOUR_MS;

class Timeline {
  /** `episodes` are {key, family, type, opened, closed, severity, retracted, open}; `on` has episode(key) and transaction(index). */
  constructor(story, groups, episodes, on) {
    Object.assign(this, { story, groups, episodes, on, hidden: new Set(), marked: new Set(), selected: null, band: story.usual[0] ?? null });
    const columns = story.transactions;
    this.time = Float64Array.from(columns.time);
    this.amount = Float64Array.from(columns.amount, Number);
    this.group = columns.group.map((text) => columns.texts[text]);
    this.currencies = [...new Set(columns.currency)].map((text) => columns.texts[text]);
    this.currency = this.currencies[0] ?? story.usual[0]?.currency ?? "";
    this.streams = story.outlook.streams.filter((stream) => stream.next.length).slice(0, STREAMS_SHOWN);
    this.families = FAMILIES.filter((family) => episodes.some((episode) => episode.family === family));
    episodes.forEach(({ family }) => { if (!this.families.includes(family)) this.families.push(family); });
    this.whole = this.extent();
    this.view = [...this.whole];
    this.canvas = el("canvas", { role: "img", "aria-label": this.inWords() });
    this.flags = el("div", { class: "flags", role: "toolbar", "aria-label": "Signals; the arrow keys go from one to the next" });
    this.tip = el("div", { class: "tip", hidden: true, "aria-hidden": "true" });
    this.box = el("div", { class: "timeline", tabindex: "0", role: "group", "aria-label": "Timeline; left and right move it, plus and minus zoom, 0 shows all" }, this.canvas, this.flags, this.tip);
    this.listen();
    this.watch = new ResizeObserver(() => this.draw());
    this.watch.observe(this.box);
  }

  /** From the first to the last of what happened, and as far ahead as anything is expected, a year at most. */
  extent() {
    const past = this.episodes.map((episode) => episode.opened);
    if (this.time.length) past.push(this.time[0], this.time.at(-1));
    if (!past.length) return [0, DAY_MS];
    const [first, now] = past.reduce(([low, high], time) => [Math.min(low, time), Math.max(high, time)], [Infinity, -Infinity]);
    const ahead = [...this.story.outlook.fans.flatMap((fan) => fan.points), ...this.streams.flatMap((stream) => stream.next)].map(([time]) => time);
    const last = ahead.reduce((high, time) => (time < now + 366 * DAY_MS ? Math.max(high, time) : high), now);
    const margin = Math.max((last - first) * .02, DAY_MS / 2);
    return [first - margin, last + margin];
  }

  inWords() {
    const of = this.time.length;
    const period = of ? `${count(of)} transactions from ${day(this.time[0])} to ${day(this.time.at(-1))}` : "no transactions";
    return `Timeline of ${period} with ${this.episodes.length} signals. The buttons and the table below hold the same.`;
  }

  // ---- geometry

  measure() {
    const width = this.box.clientWidth || 600;
    const narrow = width < 560;
    const left = narrow ? 54 : 64;
    let y = 0;
    const lanes = this.families.map((family) => ({ family, top: (y += LANE) - LANE }));
    y += this.families.length ? GAP / 2 : 0;
    const plot = { top: y, bottom: (y += narrow ? 230 : 320) };
    y += AXIS;
    const streams = this.streams.map((stream) => ({ stream, top: (y += STREAM) - STREAM }));
    y += this.streams.length ? GAP : 0;
    const balances = this.balances();
    const balance = balances.length || this.fan() ? { top: y + GAP, bottom: (y += BALANCE) } : null;
    if (balance) y += AXIS;
    this.size = { width, height: y, left, right: width - 8, lanes, plot, streams, balance, narrow };
    this.x = linear(this.view[0], this.view[1], left, this.size.right);
    const low = Math.max(.01, this.amount.length ? this.amount.reduce((least, each) => (each > 0 && each < least ? each : least), Infinity) : 1);
    const high = Math.max(low * 10, this.amount.reduce((most, each) => Math.max(most, each), 0));
    const log = linear(Math.log10(Math.min(low, high)) - .08, Math.log10(high) + .08, plot.bottom, plot.top);
    this.y = (amount) => log(Math.log10(Math.max(amount, low)));
    this.decades = decades(low / 1.2, high * 1.2);
  }

  shown(i) { return !this.hidden.has(this.group[i]) && (this.currencies.length < 2 || this.story.transactions.texts[this.story.transactions.currency[i]] === this.currency); }

  /** The balance to draw: of the account that the forecast is about, else of the busiest in this currency. */
  balances() {
    const account = this.fan()?.account_id;
    const drawn = this.story.balances.filter((each) => each.currency === this.currency && each.points.length > 1);
    return drawn.toSorted((a, b) => (b.account === account) - (a.account === account)).slice(0, 1);
  }

  fan() {
    const fans = this.story.outlook.fans;
    return (this.selected !== null && fans.findLast((fan) => fan.time <= this.selected.opened)) || fans.at(-1) || null;
  }

  // ---- painting

  draw() {
    if (!this.box.isConnected) return;
    this.measure();
    const { width, height } = this.size, ratio = window.devicePixelRatio || 1;
    this.canvas.width = width * ratio;
    this.canvas.height = height * ratio;
    this.canvas.style.height = `${height}px`;
    const paint = this.canvas.getContext("2d");
    paint.scale(ratio, ratio);
    paint.font = `11px ${getComputedStyle(document.body).fontFamily}`;
    this.ink = { soft: colour("soft"), grid: colour("grid"), line: colour("line"), ink: colour("ink"), accent: colour("accent"), band: colour("band"), hues: Array.from({ length: HUES }, (_, i) => colour(`hue-${i}`)) };
    paintAxes(this, paint);
    paint.save();
    paint.beginPath();
    paint.rect(this.size.left, 0, this.size.right - this.size.left + 4, height);
    paint.clip();
    paintEpisodes(this, paint);
    paint.save();
    paint.beginPath();
    paint.rect(0, this.size.plot.top, width, this.size.plot.bottom - this.size.plot.top);
    paint.clip();
    paintBand(this, paint);
    paintPoints(this, paint);
    paint.restore();
    paintMarked(this, paint);
    paintStreams(this, paint);
    if (this.size.balance) paintBalance(this, paint);
    paint.restore();
    this.placeFlags();
  }

  // ---- flags

  placeFlags() {
    const focused = this.flags.contains(document.activeElement) ? document.activeElement.dataset.key : null;
    const buttons = [];
    for (const { family, top } of this.size.lanes) {
      const clusters = this.clusters(family);
      clusters.forEach((cluster, i) => {
        const next = clusters[i + 1] ? this.x(clusters[i + 1][0].opened) - FLAG / 2 : this.size.right;
        buttons.push(this.flag(cluster, top, next - this.x(cluster[0].opened) + FLAG / 2 - 4));
      });
    }
    buttons.sort((a, b) => a.at - b.at);
    this.flags.replaceChildren(...buttons.map((each) => each.button));
    const chosen = buttons.find((each) => each.keys.includes(focused ?? this.selected?.key)) ?? buttons[0];
    if (chosen) chosen.button.tabIndex = 0;
    if (focused && chosen) chosen.button.focus({ preventScroll: true });
  }

  /** The episodes of a lane that are in view; those too close to stand side by side share a flag. */
  clusters(family) {
    const found = [];
    for (const episode of this.episodes) {
      if (episode.family !== family || episode.opened < this.view[0] || episode.opened > this.view[1]) continue;
      const last = found.at(-1);
      if (last && this.x(episode.opened) - this.x(last[0].opened) <= FLAG + 2) last.push(episode); else found.push([episode]);
    }
    return found;
  }

  /** A flag with `room` pixels to the next one: its name in full where there is room. */
  flag(cluster, top, room) {
    const strongest = cluster.toSorted((a, b) => b.open.score - a.open.score)[0];
    const chosen = cluster.some((episode) => episode.key === this.selected?.key);
    const first = chosen ? this.selected : cluster[0];
    const one = cluster.length === 1;
    const said = one ? `${first.type}, ${first.severity}, ${when(first.opened)}${first.retracted ? ", retracted" : ""}` : `${cluster.length} signals from ${when(cluster[0].opened)}: ${[...new Set(cluster.map((each) => each.type))].join(", ")}`;
    const name = first.type.split(".")[1] ?? first.type;
    const label = !one ? String(cluster.length) : room > name.length * LETTER + 14 ? readable(name) : name.slice(0, 2);
    const button = el("button", {
      class: `${strongest.severity} ${one && first.retracted ? "retracted" : ""}`, "aria-label": said, title: said, "aria-pressed": String(chosen), tabindex: "-1", "data-key": first.key,
      text: label,
      style: { left: `${Math.min(Math.max(this.x(cluster[0].opened), this.size.left) - (one ? FLAG / 2 : 0), this.size.right - FLAG)}px`, top: `${top + (LANE - FLAG) / 2}px` },
      onclick: () => this.on.episode(this.after(cluster)),
    });
    return { button, at: cluster[0].opened, keys: cluster.map((each) => each.key) };
  }

  /** Of several signals under one flag, each click opens the next. */
  after(cluster) {
    const at = cluster.findIndex((episode) => episode.key === this.selected?.key);
    return cluster[(at + 1) % cluster.length].key;
  }

  // ---- what others ask for

  /** Marks an episode and its evidence, and moves the view where they can be seen. */
  select(episode, marked) {
    this.selected = episode;
    this.marked = new Set(marked);
    const amounts = this.story.usual.find((band) => marked.length && band.group === this.group[marked[0]]);
    if (amounts) this.band = amounts;
    if (marked.length) this.currency = this.story.transactions.texts[this.story.transactions.currency[marked[0]]];
    const times = [...marked.map((i) => this.time[i]), ...(episode ? [episode.opened] : [])];
    if (times.length && (Math.min(...times) < this.view[0] || Math.max(...times) > this.view[1])) {
      const [low, high] = [Math.min(...times), Math.max(...times)], margin = Math.max((high - low) * .2, 3 * DAY_MS);
      this.view = [Math.max(this.whole[0], low - margin), Math.min(this.whole[1], high + margin)];
    }
    this.draw();
  }

  zoom(factor, at = (this.view[0] + this.view[1]) / 2) {
    const span = Math.min(this.whole[1] - this.whole[0], Math.max(SPAN_MIN_MS, (this.view[1] - this.view[0]) * factor));
    const share = (at - this.view[0]) / (this.view[1] - this.view[0]);
    this.show(at - share * span, span);
  }

  pan(ms) { this.show(this.view[0] + ms, this.view[1] - this.view[0]); }

  show(from, span) {
    const first = Math.min(Math.max(from, this.whole[0]), Math.max(this.whole[0], this.whole[1] - span));
    this.view = [first, Math.min(this.whole[1], first + span)];
    this.draw();
  }

  last(days) { const span = days * DAY_MS; this.show(this.whole[1] - span, Math.min(span, this.whole[1] - this.whole[0])); }

  all() { this.show(this.whole[0], this.whole[1] - this.whole[0]); }

  // ---- hands

  listen() {
    const moves = { ArrowLeft: () => this.pan(-this.step()), ArrowRight: () => this.pan(this.step()), "+": () => this.zoom(.6), "=": () => this.zoom(.6), "-": () => this.zoom(1 / .6), 0: () => this.all() };
    this.box.addEventListener("keydown", (event) => {
      if (event.target === this.box && moves[event.key] && !event.ctrlKey && !event.metaKey) { event.preventDefault(); moves[event.key](); }
    });
    this.flags.addEventListener("keydown", (event) => {
      const buttons = [...this.flags.children], at = buttons.indexOf(event.target);
      const next = { ArrowLeft: at - 1, ArrowRight: at + 1, Home: 0, End: buttons.length - 1 }[event.key];
      if (next === undefined || !buttons[next]) return;
      event.preventDefault();
      buttons[at].tabIndex = -1;
      buttons[next].tabIndex = 0;
      buttons[next].focus();
    });
    this.canvas.addEventListener("wheel", (event) => {
      if (!event.ctrlKey && !event.metaKey) return; // the page scrolls
      event.preventDefault();
      this.zoom(Math.exp(event.deltaY * .002), this.x.invert(event.offsetX));
    }, { passive: false });
    this.drag();
  }

  step() { return (this.view[1] - this.view[0]) / 10; }

  drag() {
    const fingers = new Map();
    let moved = 0;
    this.canvas.addEventListener("pointerdown", (event) => { fingers.set(event.pointerId, event); moved = 0; this.canvas.setPointerCapture(event.pointerId); });
    this.canvas.addEventListener("pointermove", (event) => {
      const before = fingers.get(event.pointerId);
      if (!before) { this.point(event); return; }
      fingers.set(event.pointerId, event);
      const other = [...fingers.values()].find((finger) => finger.pointerId !== event.pointerId);
      const dx = event.offsetX - before.offsetX;
      moved += Math.abs(dx);
      if (other) {
        const was = Math.abs(before.offsetX - other.offsetX), is = Math.abs(event.offsetX - other.offsetX);
        if (was > 10 && is > 10) this.zoom(was / is, this.x.invert((event.offsetX + other.offsetX) / 2));
      } else if (moved > 4) this.pan(this.x.invert(0) - this.x.invert(dx));
    });
    const up = (event) => {
      const pressed = fingers.delete(event.pointerId);
      if (!pressed || moved > 4 || event.type === "pointercancel") return;
      const i = this.near(event.offsetX, event.offsetY);
      if (i !== null) this.on.transaction(i);
    };
    this.canvas.addEventListener("pointerup", up);
    this.canvas.addEventListener("pointercancel", up);
    this.canvas.addEventListener("pointerleave", () => { this.tip.hidden = true; });
  }

  point(event) {
    const i = this.near(event.offsetX, event.offsetY);
    this.tip.hidden = i === null;
    if (i === null) return;
    this.tip.textContent = oneLine(this.story.transactions, i);
    this.tip.style.left = `${Math.max(0, Math.min(event.offsetX + 12, this.size.width - 230))}px`;
    this.tip.style.top = `${event.offsetY + 14}px`;
  }

  /** The shown transaction nearest to a place on the canvas, within a finger's width. */
  near(x, y) {
    const reach = 12;
    let best = null, least = reach * reach;
    const to = firstFrom(this.time, this.x.invert(x + reach));
    for (let i = firstFrom(this.time, this.x.invert(x - reach)); i < to; i++) {
      const distance = (this.x(this.time[i]) - x) ** 2 + (this.y(this.amount[i]) - y) ** 2;
      if (distance < least && this.shown(i)) { least = distance; best = i; }
    }
    return best;
  }
}

/** A transaction in one line. */
function oneLine(columns, i) {
  const text = (name) => columns.texts[columns[name][i]];
  const parts = [`${columns.credit[i] ? "+" : "−"}${columns.amount[i]} ${text("currency")}`, readable(text("group")), text("place"), text("note"), when(columns.time[i])];
  if (text("status") !== "posted") parts.push(text("status"));
  return parts.filter(Boolean).join(" · ");
}
