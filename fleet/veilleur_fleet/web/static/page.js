// Follow the fleet live: the server draws each part of the page, this puts what changed in its place.
"use strict";

const pulse = document.getElementById("pulse");

function say(state) {
  if (pulse.classList.contains(state)) return;
  pulse.classList.remove("on", "off");
  pulse.classList.add(state);
  pulse.querySelector(".said").textContent = pulse.dataset[state];
}

// Make `now` like `next` and touch nothing that is the same, so that focus, selection and open tables stay.
function follow(now, next) {
  if (now.nodeType !== next.nodeType || now.nodeName !== next.nodeName) {
    now.replaceWith(next);
    return;
  }
  if (now.nodeType === Node.TEXT_NODE) {
    if (now.data !== next.data) now.data = next.data;
    return;
  }
  if (now.nodeType !== Node.ELEMENT_NODE) return;
  const kept = now.nodeName === "DETAILS" ? ["open"] : [];
  for (const { name } of [...now.attributes]) {
    if (!next.hasAttribute(name) && !kept.includes(name)) now.removeAttribute(name);
  }
  for (const { name, value } of next.attributes) {
    if (now.getAttribute(name) !== value) now.setAttribute(name, value);
  }
  const changed = now.classList.contains("count") && now.textContent !== next.textContent;
  const children = [...next.childNodes];
  while (now.childNodes.length > children.length) now.lastChild.remove();
  children.forEach((child, place) => {
    if (place < now.childNodes.length) follow(now.childNodes[place], child);
    else now.append(child);
  });
  if (changed) {
    now.classList.remove("flash");
    requestAnimationFrame(() => now.classList.add("flash"));
  }
}

function draw(event) {
  const { part, html } = JSON.parse(event.data);
  const place = document.getElementById(`part-${part}`);
  if (!place) return;
  const next = new DOMParser().parseFromString(`<div id="part-${part}">${html}</div>`, "text/html").body.firstChild;
  follow(place, document.adoptNode(next));
}

const source = new EventSource(pulse.dataset.live);
source.addEventListener("open", () => say("on"));
source.addEventListener("error", () => say("off"));
source.addEventListener("part", draw);
window.addEventListener("pagehide", () => source.close());
