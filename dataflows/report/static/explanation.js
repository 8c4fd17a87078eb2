// A signal explained: the sentence, the exact contributions as bars, the evidence, what would have changed it, and who said it.

const SUM_ERROR_MAX = 1e-9;

/** The panel for one episode; `revision` is an index into its signals. */
function explanation(episode, revision, story, on) {
  const signal = episode.signals[revision];
  return el("div", {},
    el("h2", { text: signal.type }),
    el("p", {}, chip(signal.state), chip(`severity ${signal.severity}`, signal.severity), chip(`confidence ${signal.confidence}`), signal.sensitive ? chip("sensitive", "HIGH") : null),
    episode.retracted && signal.state !== "RETRACT" ? el("p", { class: "note", text: "It was retracted: what it rested on was taken back." }) : null,
    el("p", { class: "sentence", text: because(signal) }),
    episode.signals.length > 1 ? revisions(episode, revision, on) : null,
    reasons(signal),
    evidence(signal, story, on),
    told("What would change it", signal.counterfactual),
    told("What exactly", signal.details),
    told("Looked up across customers", signal.inputs),
    told("Forecast", signal.forecast && Object.keys(signal.forecast).length ? signal.forecast : null),
    el("h3", { text: "Who said it" }),
    facts([["signal", signal.id], ["time", signal.event_time], ["detector", signal.detector], ["model", signal.model ?? "none"], ["settings", signal.config], ["trigger", exactly(signal.trigger)], ["valid until", signal.valid_until], ["episode", signal.episode], ["retracts", signal.retracts]]));
}

const chip = (text, kind = "") => el("span", { class: `chip ${kind}`, text });

/** The reasons as a sentence, the strongest first. */
function because(signal) {
  const texts = signal.reasons.toSorted((a, b) => Math.abs(b.contribution ?? 0) - Math.abs(a.contribution ?? 0)).map((reason) => reason.text).filter(Boolean);
  return texts.length ? `${texts.join("; ")}.` : "No reason was written.";
}

function revisions(episode, revision, on) {
  return el("p", { class: "tools", role: "group", "aria-label": "Revisions of this episode" }, episode.signals.map((each, i) =>
    el("button", { "aria-pressed": String(i === revision), text: `${each.revision} ${each.state}`, onclick: () => on.revision(i) })));
}

/** Base and reasons, each with a bar to scale and its number as written. */
function reasons(signal) {
  const linked = signal.score_link !== "none";
  const parts = [...(signal.score_base === null ? [] : [{ code: "BASE", text: "before anything is known of this event", contribution: signal.score_base }]), ...signal.reasons];
  const most = Math.max(...parts.map((part) => Math.abs(part.contribution ?? 0)), 1e-12);
  return el("section", { "aria-label": "Reasons" },
    el("h3", { text: "Why" }),
    el("ul", { class: "reasons" }, parts.map((part) => el("li", { "data-code": part.code },
      el("strong", { text: readable(part.code).toLowerCase() }),
      part.contribution === null ? el("span", { class: "soft", text: " · a rule or a timer: it has no weight" }) : bar(part.contribution, most),
      el("div", { class: "exact" }, part.contribution === null ? null : el("span", { class: "contribution", text: signed(part.contribution) }),
        part.feature ? ` ${readable(part.feature)}: ${exactly(part.value)}${part.baseline === null ? "" : `; this customer's usual: ${exactly(part.baseline)}`}` : null),
      part.code === "BASE" ? el("div", { class: "soft", text: part.text }) : part.text ? el("div", { text: part.text }) : null))),
    linked ? sum(signal) : el("p", { class: "soft", text: `Score ${signal.score}: said by a rule or a timer, there is no sum to check.` }));
}

const signed = (number) => (number > 0 ? `+${number}` : String(number));

function bar(part, most) {
  const share = (50 * Math.abs(part)) / most;
  return el("div", { class: "bar", "aria-hidden": "true" }, el("i", { class: part > 0 ? "raises" : "lowers", style: { left: `${part > 0 ? 50 : 50 - share}%`, width: `${share}%` } }), el("b", { style: { left: "50%" } }));
}

/** Whether the parts make the score: nobody has to take our word for it. */
function sum(signal) {
  const known = signal.score_base !== null && signal.reasons.every((reason) => reason.contribution !== null);
  const total = signal.reasons.reduce((all, reason) => all + reason.contribution, signal.score_base ?? 0);
  const rebuilt = signal.score_link === "identity" ? total : .5 * (1 + Math.tanh(.5 * total));
  const right = known && Math.abs(rebuilt - signal.score) <= SUM_ERROR_MAX;
  const formula = signal.score_link === "identity" ? "base + contributions" : "sigmoid(base + contributions)";
  return el("p", { class: "sum" }, `Score ${signal.score}${signal.calibrated ? ", a probability" : ", an order and no probability"}. `,
    el("span", { class: right ? "good" : "bad", text: right ? `${formula} is the same to 1e-9.` : `${formula} is not the score: a fault, please report it.` }));
}

function evidence(signal, story, on) {
  const ids = signal.evidence.transaction_ids ?? [], windows = signal.evidence.windows ?? [];
  const columns = story.transactions;
  const items = ids.map((id) => {
    const i = story.index.get(id);
    return el("li", {}, i === undefined ? el("span", { class: "soft", text: `${id} (not among the transactions here)` }) : el("button", { text: oneLine(columns, i), onclick: () => on.transaction(i) }));
  });
  return el("section", { "aria-label": "Evidence" }, el("h3", { text: "Evidence" }),
    items.length ? el("ul", { class: "reasons" }, items) : el("p", { class: "soft", text: "No transaction is named." }),
    facts(windows.map((each) => [`window ${each.name}`, `${each.from} to ${each.to}`])));
}

/** Part of a signal whose fields differ by type, as terms and values; long lists are folded. */
function told(heading, part) {
  if (!part || !Object.keys(part).length) return null;
  const rows = Object.entries(part).map(([key, value]) => {
    const text = exactly(value);
    return [readable(key), text.length > 300 ? folded(`${count(text.length)} characters`, () => el("div", { text })) : text];
  });
  return el("section", { "aria-label": heading }, el("h3", { text: heading }), facts(rows));
}
