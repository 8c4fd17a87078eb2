// Start: reads the document in the page, shows the fleet or a story by what stands behind # in the address, and where the page is
// live takes news from the server that it came from.

const page = JSON.parse(document.getElementById("data").textContent);
const stories = new Map(page.stories.map((story) => [story.key, story]));
const main = document.getElementById("main");
let shown = null; // the StoryPage on show, if any
let quiet = false; // while we write the address ourselves

const address = (key, signal) => `#customer=${encodeURIComponent(key)}${signal ? `&signal=${signal}` : ""}`;

function write(hash) {
  if (location.hash === hash) return;
  quiet = true;
  history.replaceState(null, "", hash);
  quiet = false;
}

function showFleet() {
  shown?.leave();
  shown = null;
  document.title = "Segment of One: all customers";
  main.replaceChildren(fleetPage(page, (key) => page.live || stories.has(key), (signal) => { location.hash = address(signal.customer, signal.id); }));
  head();
}

function showStory(story, signal) {
  shown?.leave();
  document.title = `Segment of One: ${story.key}`;
  shown = new StoryPage(story, page.groups, (id) => write(address(story.key, id)));
  main.replaceChildren(shown.element);
  shown.timeline.draw();
  if (signal) shown.open(signal);
  head();
}

async function route() {
  if (quiet) return;
  const asked = new URLSearchParams(location.hash.slice(1));
  const key = asked.get("customer");
  if (key === null) { showFleet(); return; }
  if (shown?.story.key === key && shown.open(asked.get("signal"))) return;
  const story = stories.get(key) ?? (page.live ? await fetchStory(key) : null);
  if (story) showStory(story, asked.get("signal")); else showFleet();
}

function head() {
  const keys = [...stories.keys()];
  const top = document.getElementById("top");
  const choice = el("select", { "aria-label": "Customer", onchange: () => { if (choice.value) location.hash = address(choice.value); } }, el("option", { value: "", text: "a customer's story…" }), keys.map((key) => el("option", { value: key, text: key })));
  choice.value = shown?.story.key ?? "";
  top.replaceChildren(
    el("span", { class: "name" }, "Segment of One", el("small", { text: `${page.run}${page.revealed ? " · ids are shown" : " · pseudonyms"}` })),
    el("button", { text: "All customers", "aria-current": shown ? null : "true", onclick: () => { location.hash = "#all"; } }),
    keys.length ? choice : null,
    el("button", { text: "light or dark", onclick: theme }));
}

function theme() {
  const root = document.documentElement;
  const dark = root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  root.dataset.theme = dark ? "light" : "dark";
  shown?.timeline.draw();
}

matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => shown?.timeline.draw());
addEventListener("hashchange", route);
if (!location.hash && page.selected) history.replaceState(null, "", address(page.selected));
route().then(() => { if (page.live) listen(); performance.mark("ready"); document.documentElement.dataset.ready = ""; });
