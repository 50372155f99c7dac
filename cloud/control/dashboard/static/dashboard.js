// Swaps in the live part of the page when the control plane says that something has changed.
"use strict";
(() => {
  const live = document.getElementById("live");
  const state = document.getElementById("live-state");
  if (!live || !window.EventSource) return;
  let busy = false;
  let again = false;

  const editing = () => {
    const focused = document.activeElement;
    return live.contains(focused) && focused.matches("input, select, textarea, summary");
  };

  const refresh = async () => {
    if (busy) { again = true; return; }
    if (editing() || live.querySelector("details[open]") || document.hidden) return;
    busy = true;
    try {
      const answer = await fetch(location.href, { redirect: "error", headers: { "X-Live": "yes" } });
      if (!answer.ok) return;
      const fresh = new DOMParser().parseFromString(await answer.text(), "text/html").getElementById("live");
      if (!fresh || editing()) return;
      const focused = live.contains(document.activeElement) ? document.activeElement.id : "";
      live.replaceChildren(...fresh.childNodes);
      if (focused) document.getElementById(focused)?.focus({ preventScroll: true });
    } catch {
      // the stream's own error says that the control plane is away
    } finally {
      busy = false;
      if (again) { again = false; refresh(); }
    }
  };

  const source = new EventSource("/live");
  let first = true;
  source.onmessage = () => { if (!first) refresh(); first = false; };
  source.onopen = () => { state.textContent = "live"; state.dataset.away = "no"; };
  source.onerror = () => { state.textContent = "not live: the control plane does not answer"; state.dataset.away = "yes"; first = false; };
  document.addEventListener("visibilitychange", () => { if (!document.hidden) refresh(); });
  window.addEventListener("pagehide", () => source.close());
})();
