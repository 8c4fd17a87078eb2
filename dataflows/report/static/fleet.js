// The fleet's page: what was said over time, how scores are spread, how right it was, which detectors are slow or loud.

const YEAR_DAYS = 365.25;

/** `told` are the keys of customers whose story can be opened. */
function fleetPage(page, openable, openSignal) {
  const fleet = page.fleet;
  const days = fleet.first === null ? 0 : Math.max(1, (fleet.last - fleet.first) / DAY_MS);
  const years = fleet.scored ? (fleet.customers * days) / YEAR_DAYS : 0; // without scores only those are known of whom something was said
  const opens = fleet.types.reduce((sum, type) => sum + (type.states.OPEN ?? 0), 0);
  return el("div", {},
    el("h1", { text: page.live ? "Live: all customers" : "All customers" }),
    ...page.notes.map((text) => el("p", { class: "note", text })),
    el("dl", { class: "figures" }, [[fleet.scored ? "customers" : "customers with signals", count(fleet.customers)], ...(fleet.scored ? [["transactions scored", count(fleet.scored)]] : []), ["signals opened", count(opens)], ["per customer-year", years ? short(opens / years) : "–"], ["from", fleet.first === null ? "–" : day(fleet.first)], ["to", fleet.last === null ? "–" : day(fleet.last)]].map(([term, value]) => el("div", {}, el("dt", { text: term }), el("dd", { text: value })))),
    el("div", { class: "fleet" },
      page.newest ? card("Newest signals", signalList("Newest signals", page.newest, openable, openSignal), "wide") : null,
      card("Signals opened over time", el("div", {}, stackedBars(fleet.types, `Signals opened over time, by type: ${fleet.types.map((type) => `${type.name} ${type.states.OPEN ?? 0}`).join(", ")}`),
        folded("As a table", () => table("Signals by type and state", [["type", (each) => each.name], ...["OPEN", "UPDATE", "CLOSE", "RETRACT"].map((state) => [state, (each) => each.states[state] ?? 0]), ["customers", (each) => each.customers]], fleet.types))), "wide"),
      card("Scores of signals, by type", el("div", { class: "small" }, fleet.types.map((type) => el("figure", {}, el("figcaption", { text: `${type.name}: ${count(type.states.OPEN ?? 0)}` }), histogram(type.bins, `Scores of ${type.name}`))))),
      fleet.scored ? card("Scores of all transactions", el("figure", { style: { margin: "0", "max-width": "420px" } }, histogram(fleet.scores, "Scores of transactions", true), el("figcaption", { text: "Heights grow with the logarithm of the number." }))) : null,
      card("Detectors, the loudest first", detectors(fleet, years), "wide"),
      page.costs.length ? card("Detectors, the slowest first", costs(page.costs)) : null,
      page.scorecard ? card("Against the truth", scorecard(page.scorecard), "wide") : null,
      card("The strongest signals", signalList("Strongest signals", fleet.strongest, openable, openSignal), "wide")));
}

const card = (heading, content, wide = "") => el("section", { class: `card ${wide}` }, el("h2", { text: heading }), content);

function detectors(fleet, years) {
  return table("What each detector said", [["detector", (each) => each.name], ["opened", (each) => each.states.OPEN ?? 0], ["per customer-year", (each) => (years ? short((each.states.OPEN ?? 0) / years) : "–")], ["customers", (each) => each.customers], ["HIGH", (each) => each.severities.HIGH ?? 0], ["retracted", (each) => each.states.RETRACT ?? 0], ["errors", (each) => each.errors]], fleet.detectors);
}

function costs(rows) {
  return el("div", {}, table("Time in each detector for one transaction", [["detector", (each) => each.detector], ["mean", (each) => `${each.cost_us_mean.toFixed(2)} µs`]], rows),
    el("p", { class: "soft", text: `Measured while this page was made, on ${count(rows[0].transactions)} transactions of the customers told here: an order, no benchmark.` }));
}

function scorecard(card) {
  const [first, ...rest] = card.sections;
  const asTable = (section) => table(section.title, section.columns.map((heading, i) => [heading, (row) => row[i]]), section.rows);
  if (!first) return el("p", { class: "soft", text: "The truth holds nothing that could be compared." });
  return el("div", {}, el("p", { class: "soft", text: `${count(card.customers)} customers, from ${card.counted_from.slice(0, 10)} to ${card.period_end.slice(0, 10)}: only the second half of the period counts. P precision, R recall, FP/cy false alarms per customer-year.` }),
    asTable(first), rest.map((section) => folded(section.title, () => asTable(section))));
}

function signalList(heading, signals, openable, openSignal) {
  if (!signals.length) return el("p", { class: "soft", text: "None." });
  const link = (signal) => (openable(signal.customer) ? el("button", { text: signal.customer, "aria-label": `Story of ${signal.customer} at ${signal.type}`, onclick: () => openSignal(signal) }) : signal.customer);
  const rows = (title, from, to) => table(title, [["time", (each) => when(each.time)], ["signal", (each) => each.type], ["state", (each) => each.state], ["customer", link], ["score", (each) => each.score.toFixed(3)], ["why", (each) => each.text], ["id", (each) => el("code", { text: each.id })]], signals.slice(from, to));
  return el("div", {}, rows(heading, 0, 10), signals.length > 10 ? folded(`${signals.length - 10} more`, () => rows(`${heading}, from the eleventh on`, 10)) : null);
}
