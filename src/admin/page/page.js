"use strict";
(() => {
  const byId = (id) => document.getElementById(id);
  const live = byId("live");
  const say = (on, words) => {
    live.hidden = false;
    live.className = on ? "on" : "off";
    if (live.textContent !== words) live.textContent = words;
  };
  const title = () => {
    const head = document.querySelector("[data-title]");
    if (head) document.title = head.dataset.title;
  };
  const connect = () => {
    const events = new EventSource("events");
    // The page of another version is another page.
    events.addEventListener("build", (event) => {
      if (event.data !== document.documentElement.dataset.build) location.reload();
    });
    // Every part was escaped where it was made, and the policy of this page runs no script but this one.
    events.onmessage = (event) => {
      for (const [id, part] of Object.entries(JSON.parse(event.data))) {
        const place = byId(id);
        if (place) place.innerHTML = part;
      }
      title();
      say(true, "live");
    };
    events.onerror = () => {
      events.close();
      say(false, "not live: asking again");
      setTimeout(connect, 2000);
    };
  };
  title();
  connect();
})();
