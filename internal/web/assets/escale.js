"use strict";
// The portal's one script. Pages work without it; with it they stay up to date, search while typing and show logs.

// morph makes the element `now` like `next` and keeps every node that stays, so that focus, selection, scrolling and
// open parts survive. Children with an id are recognised by it. What is inside data-keep belongs to the browser.
function morph(now, next) {
  if (now.nodeName !== next.nodeName || now.id !== next.id) return now.replaceWith(next);
  if (now.nodeType !== Node.ELEMENT_NODE) {
    if (now.data !== next.data) now.data = next.data;
    return;
  }
  if (now.hasAttribute("data-keep")) return;
  for (const { name } of [...now.attributes]) {
    if (name !== "open" && !next.hasAttribute(name)) now.removeAttribute(name);
  }
  for (const { name, value } of next.attributes) {
    if (now.getAttribute(name) !== value) now.setAttribute(name, value);
  }
  const wanted = new Set([...next.children].map((c) => c.id));
  for (const child of [...now.children]) if (child.id && !wanted.has(child.id)) child.remove();
  let at = now.firstChild;
  for (const child of [...next.childNodes]) {
    const known = child.id && [...now.children].find((c) => c.id === child.id);
    if (known && known !== at) at = now.insertBefore(known, at);
    if (at && at.nodeName === child.nodeName && (at.id || "") === (child.id || "")) {
      const after = at.nextSibling;
      morph(at, child);
      at = after;
    } else now.insertBefore(child, at);
  }
  while (at) {
    const after = at.nextSibling;
    at.remove();
    at = after;
  }
}

function write(time) {
  const s = Math.max(0, Math.floor((Date.now() - Date.parse(time.dateTime)) / 1000));
  const text = s < 60 ? s + "s" : s < 3600 ? Math.floor(s / 60) + "m"
    : s < 172800 ? Math.floor(s / 3600) + "h" : Math.floor(s / 86400) + "d";
  if (time.textContent !== text) time.textContent = text;
}
function local(time) {
  const at = new Date(time.dateTime);
  const text = at.toLocaleString(document.documentElement.lang, { hourCycle: "h23", month: "short", day: "numeric", hour: "2-digit", minute: "2-digit", second: "2-digit" });
  if (time.textContent !== text) time.textContent = text;
}
function writeTimes() {
  document.querySelectorAll("time[data-age]").forEach(write);
  document.querySelectorAll("time[data-clock]").forEach(local);
}

// The page's stream is the page's own address: a new address, from a search for example, is a new stream. It rests
// while nobody looks, since a browser opens few connections to one host.
let source, retry;
function listen() {
  clearTimeout(retry);
  source?.close();
  if (document.hidden || !document.body.hasAttribute("data-live")) return;
  source = new EventSource(location.href);
  const link = document.getElementById("link");
  source.onopen = () => { link.dataset.link = "live"; };
  source.onerror = () => {
    link.dataset.link = "lost";
    if (source.readyState === EventSource.CLOSED) retry = setTimeout(listen, 3000);
  };
  source.addEventListener("fragment", ({ data }) => {
    const box = document.createElement("template");
    box.innerHTML = data;
    const next = box.content.firstElementChild;
    const now = document.getElementById(next.id);
    if (now) morph(now, next);
    writeTimes();
    followLogs();
  });
  source.addEventListener("gone", ({ data }) => { source.close(); say(data); });
}

function show(address) {
  history.replaceState(null, "", address);
  listen();
}

let silence;
function say(text) {
  const notice = document.getElementById("notice");
  notice.textContent = text;
  clearTimeout(silence);
  silence = setTimeout(() => { notice.textContent = ""; }, 6000);
}

// Logs: a list that follows a stream of lines until paused, and keeps the last 5,000.
const most = 5000;
let list, logs, held;
function followLogs() {
  const next = document.querySelector("[data-logs]");
  if (next !== list) {
    list = next;
    held = null;
  }
  const address = list && !document.hidden ? list.dataset.logs : null;
  if (logs?.address === address) return;
  logs?.close();
  logs = null;
  if (!address) return;
  const since = list.lastElementChild?.dataset.id;
  logs = new EventSource(address + (since ? "&since=" + encodeURIComponent(since) : ""));
  logs.address = address;
  logs.addEventListener("lines", (e) => addLines(JSON.parse(e.data), e.lastEventId));
  logs.addEventListener("state", (e) => { document.getElementById("log-state").textContent = e.data; });
}
function addLines(lines, id) {
  const rows = lines.map(({ time, text }) => {
    const row = document.createElement("li");
    const at = row.appendChild(document.createElement("time"));
    const when = new Date(time);
    at.dateTime = at.title = time;
    at.textContent = when.toTimeString().slice(0, 8) + "." + String(when.getMilliseconds()).padStart(3, "0");
    row.append(text);
    row.dataset.id = id;
    return row;
  });
  if (held) held.push(...rows);
  else appendRows(rows);
  showHeld();
}
function appendRows(rows) {
  const atEnd = list.scrollHeight - list.scrollTop - list.clientHeight < 40;
  list.append(...rows);
  while (list.childElementCount > most) list.firstElementChild.remove();
  if (atEnd) list.scrollTop = list.scrollHeight;
}
function showHeld() {
  const button = document.getElementById("pause");
  if (held?.length > most) held.splice(0, held.length - most);
  button.setAttribute("aria-pressed", String(Boolean(held)));
  button.textContent = held ? "Resume" + (held.length ? ", " + held.length + " new" : "") : "Pause";
}

document.addEventListener("click", (e) => {
  const link = e.target.closest("a[data-here]");
  if (link && e.button === 0 && !e.metaKey && !e.ctrlKey && !e.shiftKey) {
    e.preventDefault();
    show(link.href);
  }
  if (e.target.closest("#pause")) {
    if (held) {
      const rows = held;
      held = null;
      appendRows(rows);
      list.scrollTop = list.scrollHeight;
    } else held = [];
    showHeld();
  }
});

// A form marked data-live is the page's question: each change of it changes the address. One marked data-act does
// something and says so.
let typing;
function ask(form) {
  const question = new URLSearchParams([...new FormData(form)].filter(([, value]) => value));
  show(location.pathname + (question.size ? "?" + question : ""));
}
document.addEventListener("input", (e) => {
  const form = e.target.closest("form[data-live]");
  clearTimeout(typing);
  if (form) typing = setTimeout(ask, 150, form);
});
document.addEventListener("submit", async (e) => {
  if (e.target.matches("form[data-live]")) {
    e.preventDefault();
    ask(e.target);
  }
  if (e.target.matches("form[data-act]")) {
    e.preventDefault();
    e.target.closest("[popover]")?.hidePopover();
    try {
      const answer = await fetch(e.target.action, { method: "POST", headers: { Accept: "application/json" } });
      say((await answer.json()).message);
    } catch {
      say("The platform did not answer; nothing may have happened.");
    }
  }
});

document.addEventListener("keydown", (e) => {
  const search = document.querySelector("input[type=search]");
  const writing = e.target.matches("input, select, textarea");
  if (e.key === "/" && search && !writing && !e.metaKey && !e.ctrlKey && !e.altKey) {
    e.preventDefault();
    search.focus();
    search.select();
  }
  if (e.key === "Escape" && !writing && !document.querySelector(":popover-open")) document.querySelector("a[data-close]")?.click();
});
document.addEventListener("visibilitychange", () => { listen(); followLogs(); });
addEventListener("pageshow", (e) => { if (e.persisted) listen(); });

setInterval(writeTimes, 1000);
writeTimes();
listen();
followLogs();
