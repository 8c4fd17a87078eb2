// One customer's page: the timeline, the panel that explains what is chosen, and everything once more as tables.

const ROWS = 25;

/** Signals grouped by episode, in order of time. */
function episodesOf(signals) {
  const found = new Map();
  for (const signal of signals) {
    const key = `${signal.type} ${signal.episode}`;
    let episode = found.get(key);
    if (!episode) found.set(key, episode = { key, type: signal.type, family: signal.type.split(".")[0], signals: [] });
    episode.signals.push(signal);
  }
  for (const episode of found.values()) {
    const open = episode.signals.find((signal) => signal.state === "OPEN") ?? episode.signals[0];
    const end = episode.signals.findLast((signal) => signal.state === "CLOSE" || signal.state === "RETRACT");
    Object.assign(episode, { open, severity: open.severity, opened: Date.parse(open.event_time), closed: end ? Date.parse(end.event_time) : null, retracted: end?.state === "RETRACT" });
  }
  return [...found.values()].sort((a, b) => a.opened - b.opened || (a.key < b.key ? -1 : 1));
}

class StoryPage {
  constructor(story, groups, hash) {
    story.index = new Map(story.transactions.id.map((id, i) => [id, i]));
    this.story = story;
    this.groups = groups;
    this.hash = hash;
    this.episodes = episodesOf(story.signals);
    this.timeline = new Timeline(story, groups, this.episodes, { episode: (key) => this.open(key), transaction: (i) => this.openTransaction(i) });
    this.panel = el("aside", { class: "card", "aria-label": "Explanation", tabindex: "0" }, el("p", { class: "soft", text: this.episodes.length ? "Choose a flag to read why it was raised, or a point to see a transaction." : "Nothing was said about this customer." }));
    this.element = this.build();
  }

  build() {
    const { story, episodes } = this;
    const of = story.transactions.time;
    return el("div", {},
      el("h1", { text: `Customer ${story.key}` }),
      ...story.notes.map((text) => el("p", { class: "note", text })),
      el("dl", { class: "figures" }, [["transactions", count(of.length)], ["signals", count(episodes.length)], ["retracted", count(episodes.filter((each) => each.retracted).length)], ["from", of.length ? day(of[0]) : "–"], ["to", of.length ? day(of.at(-1)) : "–"]].map(([term, value]) => el("div", {}, el("dt", { text: term }), el("dd", { text: value })))),
      el("div", { class: "story" },
        el("section", { class: "card", "aria-label": "Timeline" }, this.tools(), this.timeline.box, this.legend()),
        this.panel),
      folded(`All ${count(episodes.length)} signals as a table`, () => this.signalTable()),
      story.outlook.streams.length ? folded(`All ${count(story.outlook.streams.length)} recurring payments as a table`, () => this.streamTable()) : null,
      folded(`All ${count(of.length)} transactions as a table`, () => this.transactionTable()));
  }

  tools() {
    const line = this.timeline, redraw = () => line.draw();
    const button = (text, label, onclick) => el("button", { text, "aria-label": label, title: label, onclick });
    const bands = this.story.usual;
    const band = el("select", { onchange: () => { line.band = bands[band.value]; line.currency = line.band.currency; redraw(); } }, bands.map((each, i) => el("option", { value: i, text: bands.some((other) => other !== each && other.group === each.group) ? `${readable(each.group)}, ${each.currency}` : readable(each.group) })));
    this.bandChoice = band;
    const currency = el("select", { onchange: () => { line.currency = currency.value; redraw(); } }, line.currencies.map((each) => el("option", { value: each, text: each })));
    return el("div", { class: "tools", role: "group", "aria-label": "View" },
      button("−", "Zoom out", () => line.zoom(1 / .6)), button("+", "Zoom in", () => line.zoom(.6)),
      button("30 d", "The last 30 days", () => line.last(30)), button("90 d", "The last 90 days", () => line.last(90)), button("all", "The whole period", () => line.all()),
      bands.length ? el("label", {}, "usual band of", band) : null,
      line.currencies.length > 1 ? el("label", {}, "currency", currency) : null);
  }

  legend() {
    const line = this.timeline;
    const counts = new Map();
    line.group.forEach((group) => counts.set(group, (counts.get(group) ?? 0) + 1));
    const items = [...counts].sort((a, b) => b[1] - a[1]).map(([group, number]) => {
      const kind = this.groups.indexOf(group);
      const path = { at: "", moveTo(x, y) { this.at += `M${x} ${y}`; }, lineTo(x, y) { this.at += `L${x} ${y}`; }, arc(x, y, r) { this.at += `M${x - r} ${y}a${r} ${r} 0 1 0 ${2 * r} 0a${r} ${r} 0 1 0 ${-2 * r} 0`; } };
      shape(path, kind % SHAPES, 6, 6, 4.2);
      const button = el("button", { "aria-pressed": "true", title: `Show or hide ${readable(group)}`, onclick: () => {
        const shown = line.hidden.delete(group);
        if (!shown) line.hidden.add(group);
        button.setAttribute("aria-pressed", String(shown));
        line.draw();
      } }, svg("svg", { viewBox: "0 0 12 12", "aria-hidden": "true" }, svg("path", { d: path.at, style: { fill: hue(kind) } })), `${readable(group)} ${count(number)}`);
      return el("li", {}, button);
    });
    return el("div", {}, el("ul", { class: "legend", "aria-label": "Categories" }, items),
      el("p", { class: "soft", text: `Filled: money out; hollow: money in or reversed. ${this.story.usual.length ? "The ribbon holds the middle two thirds of what is usual for this customer in the chosen category, as the detectors saw it. " : ""}${line.streams.length ? "Diamonds: a recurring payment, hollow where it is expected. " : ""}${line.fan() ? "The fan is the forecast of the balance." : ""}` }));
  }

  /** Opens an episode by its key or a signal's id; false if there is none such. */
  open(key, revision = null) {
    const episode = this.episodes.find((each) => each.key === key || each.signals.some((signal) => signal.id === key));
    if (!episode) return false;
    const at = revision ?? Math.max(0, episode.signals.findIndex((signal) => signal.id === key));
    const signal = episode.signals[at];
    const marked = (signal.evidence.transaction_ids ?? []).map((id) => this.story.index.get(id)).filter((i) => i !== undefined);
    this.timeline.select(episode, marked);
    if (this.timeline.band) this.bandChoice.value = this.story.usual.indexOf(this.timeline.band);
    this.panel.replaceChildren(explanation(episode, at, this.story, { revision: (i) => this.open(key, i), transaction: (i) => this.openTransaction(i) }));
    this.panel.scrollTop = 0;
    document.getElementById("spoken").textContent = `${signal.type}: ${because(signal)}`;
    this.hash(signal.id);
    return true;
  }

  openTransaction(i) {
    const columns = this.story.transactions, text = (name) => columns.texts[columns[name][i]];
    const id = columns.id[i];
    const named = this.episodes.filter((episode) => episode.signals.some((signal) => signal.evidence.transaction_ids?.includes(id)));
    this.timeline.select(null, [i]);
    this.panel.replaceChildren(el("div", {}, el("h2", { text: `${columns.credit[i] ? "+" : "−"}${columns.amount[i]} ${text("currency")}` }),
      facts([["time", when(columns.time[i])], ["to or from", text("place")], ["what", text("note")], ["category", readable(text("group"))], ["channel", readable(text("channel"))], ["country", text("country")], ["status", text("status")], ["score", columns.score[i] === null ? null : String(columns.score[i])], ["id", id]]),
      named.length ? el("h3", { text: "Evidence of" }) : null,
      el("ul", { class: "reasons" }, named.map((episode) => el("li", {}, el("button", { text: `${episode.type}, ${when(episode.opened)}`, onclick: () => this.open(episode.key) }))))));
  }

  signalTable() {
    return table("Signals, oldest first", [
      ["time", (each) => when(each.opened)], ["signal", (each) => el("button", { text: each.type, onclick: () => { this.open(each.key); this.panel.focus(); } })],
      ["score", (each) => String(each.open.score)], ["severity", (each) => each.severity], ["ended", (each) => (each.retracted ? "retracted" : each.closed ? day(each.closed) : "open")], ["why", (each) => because(each.open)]], this.episodes);
  }

  streamTable() {
    const at = (stream, came) => stream.next.filter(([, , seen]) => seen === came).at(came ? -1 : 0);
    const cell = (point) => (point ? `${day(point[0])}${point[1] === null ? "" : `: ${point[1]}`}` : "–");
    return table("Recurring payments", [["payment", (each) => each.name], ["how", (each) => each.about], ["status", (each) => (each.status ?? "").toLowerCase()], ["currency", (each) => each.currency], ["last", (each) => cell(at(each, true))], ["next", (each) => cell(at(each, false))]], this.story.outlook.streams);
  }

  transactionTable() {
    const columns = this.story.transactions, total = columns.time.length, box = el("div", {});
    const text = (name, i) => columns.texts[columns[name][i]] ?? "";
    const show = (from) => {
      const rows = Array.from({ length: Math.min(ROWS, total - from) }, (_, i) => total - 1 - from - i);
      const turn = (label, to) => el("button", { text: label, disabled: to < 0 || to >= total, onclick: () => show(to) });
      box.replaceChildren(
        el("p", { class: "tools" }, turn("newer", from - ROWS), turn("older", from + ROWS), `${count(from + 1)} to ${count(from + rows.length)} of ${count(total)}, newest first`),
        table("Transactions", [["time", (i) => when(columns.time[i])], ["amount", (i) => `${columns.credit[i] ? "+" : "-"}${columns.amount[i]}`], ["currency", (i) => text("currency", i)], ["category", (i) => readable(text("group", i))], ["to or from", (i) => text("place", i)], ["what", (i) => text("note", i)], ["channel", (i) => readable(text("channel", i))], ["status", (i) => text("status", i)], ["score", (i) => (columns.score[i] === null ? "–" : short(columns.score[i]))]], rows, (i) => this.timeline.marked.has(i)));
    };
    if (total) show(0);
    return box;
  }

  leave() { this.timeline.watch.disconnect(); }
}
