// Decisions on samples, and the strip of those that were decided.

const press = (id) => {
  const button = byId(id);
  if (button && button.getAttribute("aria-disabled") !== "true") button.click();
};
function decide(id) {
  if (awaited.has("scan") || awaited.has("sample")) note("Still opening. Decide when the sample is there.");
  else if (result()) press(id);
  else note(painting() ? "Still painting. Decide when the sample is there." : "There is no sample to decide on yet.");
}
function nameThen() {
  for (const name of ["title", "aria-label"]) byId("xs-then").setAttribute(name, "What follows Accept, Reject and Skip");
}
const THEN = { stay: () => {}, seed: () => press("xs-next"), scan: () => stepShelf(1, due), undecided: nextUndecided };
const unreadable = new Set();
function nextUndecided() {
  const { items, elsewhere } = records();
  const all = items.filter((r) => r.decision === "pending" && !unreadable.has(r.id));
  // what others have before them comes last: a page that was left alone would keep it for ever
  const free = all.filter((r) => !elsewhere.includes(r.id)), waiting = free.length ? free : all;
  const next = waiting.find((r) => r.id < scene().record) || waiting[0];
  if (!next) return note("There is nothing more to decide on.");
  S.tab = "pending";
  listRecords();
  inspect(next.id);
  S.following = next.id;
}
document.addEventListener("xs-decided", (e) => {
  if (!awaited.has("scan") && !awaited.has("sample")) THEN[e.detail]();
  arrived("decision");
});
window.addEventListener("beforeunload", (e) => {
  if (painting() || (scene().result && scene().record === null)) e.preventDefault();
});

// ---- records ----
const TABS = [["accept", "Accepted"], ["skip", "Skipped"], ["reject", "Rejected"], ["pending", "Undecided"]];
S.tab = "accept";
const records = () => props.records;
function listRecords() {
  const { counts, items } = records();
  // What was taken back or left, or made without the page, is undecided: not everyone has that tab.
  const shown = TABS.filter(([key]) => key !== "pending" || key === S.tab || counts[key]);
  $("tabs").innerHTML = shown.map(([key, title]) =>
    `<button role="tab" data-tab="${key}" aria-selected="${key === S.tab}">${title}<b data-count="${key}">${counts[key] || 0}</b></button>`).join("");
  const listed = items.filter((r) => r.decision === S.tab);
  const empty = { accept: "Accepted samples gather here, ready for export.", skip: "Skipped samples wait here for a second look.", reject: "Rejected samples are kept here and never exported.", pending: "Nothing is undecided." }[S.tab];
  const strip = $("records"), there = new Map();
  for (const item of strip.querySelectorAll("[data-record]")) there.set(Number(item.dataset.record), item);
  if (!listed.length) strip.innerHTML = `<p>${empty}</p>`;
  else {
    // Samples never change: who has hundreds does not wait for them to be drawn anew.
    const shown = listed.map((r) => there.get(r.id) || pictured(r)), wanted = new Set(shown);
    for (const item of [...strip.children]) if (!wanted.has(item)) item.remove();
    shown.forEach((item, k) => { if (strip.children[k] !== item) strip.insertBefore(item, strip.children[k] || null); });
  }
  markRecord();
}
function pictured(r) {
  const template = document.createElement("template");
  template.innerHTML = `<button data-record="${escape(r.id)}" title="${escape(r.title)}"><img alt="" loading="lazy" src="${r.thumb}"><span>${escape(r.label)}</span></button>`;
  return template.content.firstChild;
}
function markRecord() {
  for (const item of $("records").querySelectorAll("[data-record]")) {
    if (Number(item.dataset.record) === scene().record) {
      item.setAttribute("aria-current", "true");
      if (S.marked !== scene().record) item.scrollIntoView({ block: "nearest", inline: "nearest" });
    } else item.removeAttribute("aria-current");
  }
  S.marked = scene().record;
}
$("tabs").addEventListener("click", (e) => {
  const tab = e.target.closest("[data-tab]");
  if (tab) { S.tab = tab.dataset.tab; listRecords(); }
});
$("records").addEventListener("click", (e) => {
  const item = e.target.closest("[data-record]");
  if (item) inspect(Number(item.dataset.record));
});
function inspect(id) {
  S.following = null;
  wait("sample");
  trigger("inspect", { id });
}
