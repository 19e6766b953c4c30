"use strict";
// Without this script everything can still be read, but times are in UTC, parts do not refresh themselves, links to
// Airflow's own pages need another tab, and nothing can be changed or copied.

const zone = () => {
  const here = Intl.DateTimeFormat().resolvedOptions().timeZone;
  try {
    const chosen = localStorage.getItem("timezone");
    return !chosen || chosen === "local" ? here : chosen;
  } catch {
    return here;
  }
};

const showTimes = (within) => {
  const options = { dateStyle: "medium", timeStyle: "medium", timeZone: zone() };
  let format;
  try {
    format = new Intl.DateTimeFormat(undefined, options);
  } catch {
    format = new Intl.DateTimeFormat(undefined, { ...options, timeZone: "UTC" });
  }
  for (const time of within.querySelectorAll("time[datetime]")) {
    time.textContent = format.format(new Date(time.dateTime));
    time.title = time.dateTime;
  }
};

// A part of a page that asks for itself again, every few seconds while somebody looks at it.
const refresh = async (part) => {
  if (!document.hidden) {
    try {
      const reply = await fetch(part.dataset.refresh, { headers: { Accept: "text/html" }, credentials: "same-origin" });
      if (!reply.ok) throw new Error(String(reply.status));
      const fresh = document.createElement("template");
      fresh.innerHTML = await reply.text();
      const held = document.activeElement?.id;
      part.replaceChildren(fresh.content);
      showTimes(part);
      if (held && part.querySelector(`#${CSS.escape(held)}`)) document.getElementById(held).focus();
      part.classList.remove("stale");
      if (part.querySelector("[data-ended]")) {
        for (const one of document.querySelectorAll("[data-while-live]")) one.remove();
        return;
      }
    } catch {
      part.classList.add("stale");
    }
  }
  setTimeout(refresh, Number(part.dataset.seconds || 5) * 1000, part);
};

// A frame of Airflow may not navigate the page around it. That page, which has the same origin, follows a link of its own.
const openInAirflow = (event) => {
  const link = event.target.closest("a[data-airflow]");
  if (!link || window.top === window || event.ctrlKey || event.metaKey || event.shiftKey || event.button) return;
  event.preventDefault();
  const outer = window.parent.document.createElement("a");
  outer.href = link.href;
  window.parent.document.body.append(outer);
  outer.click();
  outer.remove();
};

const copy = async (event) => {
  const button = event.target.closest("button[data-copy]");
  if (!button) return;
  const text = document.getElementById(button.dataset.copy).textContent;
  try {
    await navigator.clipboard.writeText(text);
    button.textContent = "Copied";
  } catch {
    getSelection().selectAllChildren(document.getElementById(button.dataset.copy));
    button.textContent = "Press Ctrl+C";
  }
  setTimeout(() => { button.textContent = "Copy"; }, 2000);
};

showTimes(document);
window.addEventListener("storage", () => showTimes(document));
document.addEventListener("click", openInAirflow);
document.addEventListener("click", copy);
for (const part of document.querySelectorAll("[data-refresh]")) {
  setTimeout(refresh, Number(part.dataset.seconds || 5) * 1000, part);
}

// A change is confirmed in a dialog (a frame of Airflow may not ask with confirm()) or on a page of its own, and sent with
// a header that a page of another site cannot set.
const openDialog = (event) => {
  const button = event.target.closest("button[data-dialog]");
  if (button) document.getElementById(button.dataset.dialog).showModal();
};

const closeDialog = (event) => {
  if (event.target.closest("button[data-close]")) event.target.closest("dialog").close();
};

// What was shown may no longer be true after a request, unless its reply says so.
const readAgain = (event) => {
  if (event.target.dataset.stale) location.reload();
};

const send = async (event) => {
  const form = event.target.closest("form[data-action]");
  if (!form) return;
  event.preventDefault();
  const note = form.querySelector("[role=status]");
  const button = form.querySelector("button[type=submit]");
  const dialog = form.closest("dialog");
  if (dialog) dialog.dataset.stale = "1";
  button.disabled = true;
  note.textContent = "Sending …";
  try {
    const reply = await fetch(form.dataset.action, {
      method: "POST",
      credentials: "same-origin",
      headers: { "Content-Type": "application/json", "X-WhatsApp-Flows": "1", Accept: "application/json" },
      body: JSON.stringify(Object.fromEntries(new FormData(form))),
    });
    const done = await reply.json();
    note.textContent = done.message;
    if (done.link) {
      const text = done.label || "Open it in Airflow";
      const link = Object.assign(document.createElement("a"), { href: done.link, textContent: text });
      if (!done.label) link.dataset.airflow = "";
      note.append(" ", link);
    }
    if (done.page) setTimeout(() => location.assign(done.page), 1500);
    else if (done.label) form.querySelector("a.button")?.remove();
    else if (reply.ok && done.changed) setTimeout(() => location.reload(), 1500);
    else button.disabled = false;
    if (dialog && done.changed === false) delete dialog.dataset.stale;
  } catch {
    note.textContent = `There was no reply. ${dialog ? "Close this" : "Reload the page"} to see whether it was recorded.`;
    button.disabled = false;
  }
};

document.addEventListener("click", openDialog);
document.addEventListener("click", closeDialog);
document.addEventListener("submit", send);
document.addEventListener("close", readAgain, true); // it does not bubble
