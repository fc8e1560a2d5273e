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
// hour writes a time of the day in the reader's zone, with seconds where it is exact.
function hour(element, address, seconds) {
  const text = new Date(address).toTimeString().slice(0, seconds ? 8 : 5);
  if (element.textContent !== text) element.textContent = text;
}
function writeTimes() {
  document.querySelectorAll("time[data-age]").forEach(write);
  document.querySelectorAll("time[data-clock]").forEach(local);
  document.querySelectorAll("time[data-time]").forEach((time) => hour(time, time.dateTime, true));
  document.querySelectorAll("text[data-hour]").forEach((text) => hour(text, text.dataset.hour));
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
    drawCross();
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

// Charts: the pointer or the arrow keys choose a point of one; every chart of the page shows its values at that time.
// What is chosen is a distance from the newest point, so that it stays where it is while time goes on.
let chosen = null;
const number = (v) => {
  const size = Math.abs(v);
  if (size >= 999.5) {
    const [by, suffix] = size >= 999.5e6 ? [1e9, "G"] : size >= 999.5e3 ? [1e6, "M"] : [1e3, "k"];
    return number(v / by) + suffix;
  }
  return String(Number(v.toFixed(size >= 99.95 ? 0 : size >= 9.995 ? 1 : size > 0 && size < .0995 ? 3 : 2))).replace("-", "−");
};
function inUnit(v, unit) {
  const size = Math.abs(v);
  if (unit === "s") {
    if (size >= 60) return Math.floor(v / 60) + "m " + Math.floor(v % 60) + "s";
    return size >= .9995 ? number(v) + " s" : size && size < .0009995 ? number(v * 1e6) + " µs" : number(v * 1e3) + " ms";
  }
  if (unit === "bytes") {
    const names = ["B", "KiB", "MiB", "GiB", "TiB"];
    while (names.length > 1 && Math.abs(v) >= 1000) {
      v /= 1024;
      names.shift();
    }
    return number(v) + " " + names[0];
  }
  return unit === "%" ? number(v * 100) + "%" : number(v) + (unit ? " " + unit : "");
}
function chartOf(figure) {
  const { start, step, count, unit, columns } = figure.dataset;
  return { figure, unit, columns: Boolean(columns), start: Number(start), step: Number(step), count: Number(count), area: figure.querySelector(".plot-area") };
}
const timeOf = (c, i) => c.start + i * c.step;
const placeOf = (c, i) => (c.columns ? (i + .5) / c.count : c.count > 1 ? i / (c.count - 1) : 1);
function valuesAt(c, i) {
  return [...c.area.querySelectorAll(".series[data-v]")].map((s) => {
    const text = s.dataset.v.split(",")[i];
    return { series: s, name: s.dataset.name, value: text ? Number(text) : null, text: text ? inUnit(Number(text), c.unit) : "–" };
  });
}
function drawCross() {
  const readout = document.getElementById("readout");
  const by = chosen && document.getElementById(chosen.id);
  if (!by?.dataset.chart) {
    readout.hidden = true;
    document.querySelectorAll("figure[data-at]").forEach((f) => f.removeAttribute("data-at"));
    return;
  }
  const from = chartOf(by);
  const at = timeOf(from, Math.max(0, from.count - 1 - chosen.back));
  for (const figure of document.querySelectorAll("figure[data-chart]")) drawCrossOn(chartOf(figure), at);
  writeReadout(from, Math.max(0, from.count - 1 - chosen.back), readout);
}
function drawCrossOn(c, at) {
  const i = Math.round((at - c.start) / c.step);
  c.figure.toggleAttribute("data-at", i >= 0 && i < c.count);
  if (i < 0 || i >= c.count) return;
  const x = placeOf(c, i) * 100 + "%";
  const cross = c.area.querySelector(".cross");
  cross.setAttribute("x1", x);
  cross.setAttribute("x2", x);
  const stacked = c.figure.hasAttribute("data-stacked");
  const { low, high } = c.area.dataset;
  const dots = c.area.querySelectorAll(".dot");
  let base = 0;
  const values = [...valuesAt(c, i).entries()];
  if (stacked) values.reverse(); // the last series is at the bottom
  values.forEach(([n, { value }]) => {
    if (!dots[n]) return;
    if (value === null) return dots[n].removeAttribute("cx");
    const y = stacked ? base += value : value;
    dots[n].setAttribute("cx", x);
    dots[n].setAttribute("cy", 100 * (1 - (y - low) / (high - low)) + "%");
  });
}
function writeReadout(c, i, readout) {
  const values = valuesAt(c, i);
  const when = new Date(timeOf(c, i));
  const clock = when.toTimeString().slice(0, 8);
  const behind = Math.round((c.count - 1 - i) * c.step / 1000);
  const list = document.createElement("ul");
  for (const { series, name, text } of values) {
    const row = list.appendChild(document.createElement("li"));
    row.className = series.getAttribute("class");
    const swatch = c.figure.querySelectorAll(".legend .series > svg")[list.childElementCount - 1];
    row.append(swatch ? swatch.cloneNode(true) : document.createElement("i"), document.createElement("span"), document.createElement("b"));
    row.children[1].textContent = name;
    row.children[2].textContent = text;
  }
  const near = Math.max(c.step, c.count * c.step / 80);
  for (const mark of c.area.querySelectorAll(".moment")) {
    if (Math.abs(mark.dataset.at - when) > near) continue;
    const row = list.appendChild(document.createElement("li"));
    row.className = mark.getAttribute("class");
    const swatch = [...c.figure.querySelectorAll(".legend .moment")].find((m) => m.className === row.className)?.firstElementChild;
    row.append(swatch ? swatch.cloneNode(true) : document.createElement("i"), mark.dataset.text);
  }
  const head = document.createElement("p");
  head.append(Object.assign(document.createElement("b"), { textContent: clock }),
    Object.assign(document.createElement("span"), { textContent: behind > 0 && behind < 3600 && Math.abs(Date.now() - when) < 7200e3 ? "−" + behind + " s" : "" }));
  readout.replaceChildren(head, list);
  const scrub = c.figure.querySelector(".scrub");
  scrub.setAttribute("aria-valuenow", i);
  scrub.setAttribute("aria-valuetext", clock + ": " + [...values.map((v) => v.name + " " + v.text), ...[...list.querySelectorAll(".moment")].map((m) => m.textContent)].join(", "));
  placeReadout(scrub.getBoundingClientRect(), placeOf(c, i), readout);
}
function placeReadout(box, part, readout) {
  readout.hidden = false;
  const x = box.left + part * box.width;
  const right = x + 14 + readout.offsetWidth < document.documentElement.clientWidth - 8;
  readout.style.left = Math.max(8, right ? x + 14 : x - 14 - readout.offsetWidth) + "px";
  readout.style.top = Math.max(56, Math.min(box.top + 8, innerHeight - readout.offsetHeight - 8)) + "px";
}
function choose(figure, i) {
  const c = chartOf(figure);
  chosen = { id: figure.id, back: c.count - 1 - Math.min(c.count - 1, Math.max(0, i)) };
  drawCross();
}
function chooseNone() {
  chosen = null;
  drawCross();
}
const scrubOf = (e) => e.target.closest?.(".scrub");
document.addEventListener("pointermove", (e) => {
  const scrub = scrubOf(e);
  if (!scrub) return chosen && !chosen.keys && chooseNone();
  const figure = scrub.closest("figure");
  const c = chartOf(figure);
  const box = scrub.getBoundingClientRect();
  const part = (e.clientX - box.left) / box.width;
  choose(figure, c.columns ? Math.floor(part * c.count) : Math.round(part * (c.count - 1)));
});
document.documentElement.addEventListener("pointerleave", () => chosen && !chosen.keys && chooseNone());
document.addEventListener("focusin", (e) => {
  if (!scrubOf(e)?.matches(":focus-visible")) return;
  choose(e.target.closest("figure"), Infinity);
  chosen.keys = true;
});
document.addEventListener("focusout", (e) => { if (scrubOf(e)) chooseNone(); });
addEventListener("scroll", () => { if (chosen) drawCross(); }, { passive: true });
document.addEventListener("keydown", (e) => {
  const scrub = scrubOf(e);
  if (!scrub || e.altKey || e.ctrlKey || e.metaKey) return;
  const figure = scrub.closest("figure");
  const { count } = chartOf(figure);
  const now = Number(scrub.getAttribute("aria-valuenow"));
  const far = Math.max(1, Math.round(count / 10));
  const to = { ArrowLeft: now - (e.shiftKey ? far : 1), ArrowDown: now - 1, ArrowRight: now + (e.shiftKey ? far : 1), ArrowUp: now + 1,
    PageDown: now - far, PageUp: now + far, Home: 0, End: count - 1 }[e.key];
  if (e.key === "Escape") return chooseNone();
  if (to === undefined) return;
  e.preventDefault();
  choose(figure, to);
  chosen.keys = true;
});

setInterval(writeTimes, 1000);
writeTimes();
listen();
followLogs();
