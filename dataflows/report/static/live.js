// The live page: one event stream from the server, which sends the whole fleet anew when it has changed; and stories on request.

const liveState = document.getElementById("status");

async function fetchStory(key) {
  const answer = await fetch(`story?customer=${encodeURIComponent(key)}`);
  if (!answer.ok) { liveState.textContent = answer.status === 404 ? "This customer is no longer among the newest." : `The server answers ${answer.status}.`; return null; }
  const story = await answer.json();
  stories.clear(); // one at a time: a page that stays open for weeks must not grow
  stories.set(key, story);
  return story;
}

function listen() {
  const source = new EventSource("news");
  source.onopen = () => { liveState.textContent = "live"; };
  source.onerror = () => { liveState.textContent = "not connected; trying again…"; };
  source.onmessage = async (event) => {
    const news = JSON.parse(event.data);
    Object.assign(page, news);
    liveState.textContent = news.state;
    if (!shown) { refreshFleet(); return; }
    const { key, signals } = shown.story;
    const known = new Set(signals.map((signal) => signal.id));
    if (news.newest.some((signal) => signal.customer === key && !known.has(signal.id))) {
      const chosen = new URLSearchParams(location.hash.slice(1)).get("signal");
      const story = await fetchStory(key);
      if (story && shown?.story.key === key) showStory(story, chosen);
    }
  };
}

/** The fleet anew, without losing the reader's place. */
function refreshFleet() {
  const scroll = scrollY, focused = document.activeElement?.getAttribute("aria-label");
  const opened = [...main.querySelectorAll("details")].map((each) => each.open);
  showFleet();
  [...main.querySelectorAll("details")].forEach((each, i) => { each.open = opened[i] ?? false; });
  if (focused) main.querySelector(`[aria-label="${CSS.escape(focused)}"]`)?.focus({ preventScroll: true });
  scrollTo(0, scroll);
}
