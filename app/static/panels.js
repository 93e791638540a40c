// Everything around the canvas: top bar, shelf of scans, layers, records, dialogs, keyboard.
function escape(text) {
  return String(text).replace(/[&<>"']/g, (c) => `&#${c.charCodeAt(0)};`);
}
const byId = (id) => document.getElementById(id);
const press = (id) => {
  const button = byId(id);
  if (button && button.getAttribute("aria-disabled") !== "true") button.click();
};

// ---- keys that are faster than the server ----
// What needs the scan or sample that is being opened, the box that is being proposed, or what follows
// a decision, waits.
const awaited = new Set();
let due = [];
function soon(act) {
  if (awaited.size) due.push(act);
  else act();
}
function wait(...what) {
  for (const one of what) awaited.add(one);
  showStatus();
}
function arrived(what, well = true) {
  awaited.delete(what);
  if (!well) due = [];
  while (due.length && !awaited.size) due.shift()();
  showStatus();
}
function forget() {
  awaited.clear();
  due = [];
  showStatus();
}
document.addEventListener("xs-arrived", (e) => arrived(e.detail));
document.addEventListener("xs-failed", (e) => {
  if (e.detail === "scan") awaited.delete("answer");
  arrived(e.detail, false);
  if (e.detail !== "sample" || !S.following) return;
  // one that cannot be read would hold up all others
  unreadable.add(S.following);
  nextUndecided();
});

// ---- opening ----
async function send(files, event, labels = []) {
  const [sent, beside] = [await sending(files), await sending(labels)];
  say(null);
  if (!sent.length) return;
  if (event === "open") openScan("open", { files: sent, labels: beside });
  else trigger(event, { files: sent });
}
function openScan(event, what, kept = []) {
  forget();
  due = kept;
  // the scan on the canvas, and the end of the answer: before that Gradio opens no other
  wait("scan", "answer");
  trigger(event, what);
}
async function sending(files) {
  const sent = [];
  for (const file of files) {
    say(`Sending ${file.name} …`);
    try {
      sent.push({ path: (await upload(file)).path, name: file.name });
    } catch (error) {
      trigger("failed", { name: file.name });
    }
  }
  return sent;
}
// One annotations file, and what names YOLO's classes after it.
const NAMES = /\.(ya?ml|names)$|^(classes|labels)\.txt$/i;
const labelling = (files) => [
  ...files.filter((file) => !NAMES.test(file.name)).slice(0, 1),
  ...files.filter((file) => NAMES.test(file.name)),
];
for (const [field, event] of [["file", "open"], ["labels", "annotate"]]) {
  $(field).addEventListener("change", (e) => {
    const files = [...e.target.files];
    send(event === "annotate" ? labelling(files) : files, event);
    e.target.value = "";
  });
}
const root = element.querySelector(".xs");
let inside = 0;
// Anywhere on the page: elsewhere the browser would show the file instead of the page. Text may be
// dragged into fields.
const onFiles = (event, act) => document.addEventListener(event, (e) => {
  if (!e.dataTransfer.types.includes("Files")) return;
  e.preventDefault();
  act(e);
});
onFiles("dragenter", () => { inside += 1; root.classList.add("dropping"); });
onFiles("dragover", () => {});
onFiles("dragleave", () => { inside -= 1; if (inside <= 0) root.classList.remove("dropping"); });
onFiles("drop", (e) => {
  inside = 0;
  root.classList.remove("dropping");
  const files = [...e.dataTransfer.files];
  const labels = files.filter((file) => /\.(json|xml|txt|ya?ml|names)$/i.test(file.name));
  const scans = files.filter((file) => !labels.includes(file));
  if (scans.length) send(scans, "open", labelling(labels));
  else if (labels.length) send(labelling(labels), "annotate");
});

const shelf = () => props.shelf || [];
// The scan of a sample from the strip has no place of its own: its pixels tell where it is.
function openPlace() {
  const scan = scene().scan || {};
  const by = (key) => shelf().findIndex((item) => item[key] === scan[key]);
  return by("place") < 0 ? by("sha256") : by("place");
}
function listShelf() {
  const at = openPlace(), count = shelf().length;
  // kept where the open scan is not on the shelf: the next one follows it
  if (at >= 0) S.place = shelf()[at].place;
  $("at").textContent = at < 0 ? count || "" : `${at + 1} / ${count}`;
  const { accepted } = records();
  $("shelf").innerHTML = shelf().map((item, i) => {
    const done = accepted[item.sha256];
    const title = escape(done ? `${item.name}, ${done} accepted` : item.name);
    return `<button data-place="${escape(item.place)}" ${i === at ? 'class="on" aria-current="true"' : ""} title="${title}" aria-label="${title}"><img alt="" src="${item.thumb}">${done ? `<b>${done}</b>` : ""}</button>`;
  }).join("");
  const on = $("shelf").querySelector(".on");
  if (on) on.scrollIntoView({ block: "nearest" });
}
$("shelf").addEventListener("click", (e) => {
  const item = e.target.closest("[data-place]");
  if (item) openScan("shelf", { place: item.dataset.place });
});
function step(by) {
  if (awaited.has("answer")) due.push(() => stepShelf(by, due));
  else stepShelf(by);
}
function stepShelf(by, kept) {
  const now = shelf().findIndex((item) => item.place === S.place);
  const next = shelf()[now < 0 ? 0 : now + by];
  if (next) openScan("shelf", { place: next.place }, kept);
  else if (shelf().length) note(by > 0 ? "This is the last scan." : "This is the first scan.");
}

// ---- layers and tools ----
$("layers").innerHTML = LAYERS.map((layer) =>
  `<button class="xs-tool" data-layer="${layer.key}"><i style="background:${layer.swatch}"></i>${layer.name}</button>`).join("");
function listTools() {
  const open = scene().scan ? "" : "open a scan first";
  const made = open || (scene().result ? "" : "paint something first");
  const show = (button, title, why, pressed) => {
    button.disabled = Boolean(why);
    button.title = title + (why && `: ${why}`);
    if (pressed !== undefined) button.setAttribute("aria-pressed", !why && pressed);
  };
  LAYERS.forEach(({ key, name, about }, i) => {
    const why = ["regions", "boxes"].includes(key) ? open : made;
    show($("layers").children[i], why ? name : `${name} (${i + 1}): ${about}`, why, S.layers[layerKey(key)]);
  });
  show($("compare"), made ? "Compare" : "Compare before and after (C); hold B to see the scan as it came", made, S.compare);
  show($("out"), "Zoom out (-)", open);
  show($("zoom"), "Fit to the window (F)", open);
  show($("in"), "Zoom in (+)", open);
  $("legend").hidden = !(result() && S.layers.points);
  $("legend").innerHTML = LEVELS.slice(0, levels()).map((c, i) => `<span><i style="background:${c}"></i>Division ${i + 1}</span>`).join("") + '<span><i class="minus">×</i>Background</span>';
}
const levels = () => Math.max(0, ...((result() || { objects: [] }).objects.flatMap((o) => o.points.map((p) => p[2]))));
function toggleLayer(name) {
  const key = layerKey(name);
  S.layers[key] = !S.layers[key];
  sessionStorage.setItem("xsyn layers", JSON.stringify(S.layers));
  listTools();
  draw();
}
$("layers").addEventListener("click", (e) => {
  const button = e.target.closest("[data-layer]");
  if (button) toggleLayer(button.dataset.layer);
});
function toggleCompare() {
  if (!result()) return;
  S.compare = !S.compare;
  listTools();
  draw();
}

// ---- boxes in the side panel ----
const size = (box) => `${Math.round(box[2] - box[0])} × ${Math.round(box[3] - box[1])}`;
function listBoxes() {
  const list = byId("xs-boxes");
  if (!list) return;
  const scan = scene().scan;
  if (!scan) return fill(list, '<p class="hint">Open a scan first.</p>');
  if (!S.boxes.length) {
    const again = S.last.length ? `<button class="xs-link" data-act="reuse">Use the last ${S.last.length > 1 ? S.last.length + " boxes" : "box"} again</button>` : "";
    const none = scene().regions.state === "ready" && !regions().length;
    const hint = none ? "No idle region found: draw a box." : "Click an idle region or draw a box.";
    return fill(list, `<p class="hint">${hint}</p>${again}`);
  }
  const names = scene().catalog.names;
  fill(list, S.boxes.map(({ box, category }, i) => {
    const fitting = candidates(box);
    const option = (n) => `<option value="${escape(n)}" ${n === category ? "selected" : ""}>${escape(plain(n))}</option>`;
    const odd = misfit({ box, category });
    return `<div class="row" data-row="${i}"><b>${i + 1}</b><select aria-label="Category of box ${i + 1}"><optgroup label="Fits this size">${fitting.map(option).join("")}</optgroup><optgroup label="Other">${names.filter((n) => !fitting.includes(n)).map(option).join("")}</optgroup></select><span${odd ? ` class="odd" title="${escape(odd)}"` : ""}>${size(box)}</span><button data-act="delete" title="Delete" aria-label="Delete box ${i + 1}">×</button></div>`;
  }).join(""));
  list.querySelectorAll(".row").forEach((row, i) => {
    const before = row.classList.contains("on");
    if (row.classList.toggle("on", i === S.selected) && !before) row.scrollIntoView({ block: "nearest" });
  });
}
// What has not changed stays, with the menu that may be open in it.
function fill(list, html) {
  if (list.filled !== html) list.innerHTML = list.filled = html;
}
document.addEventListener("click", (e) => {
  const list = byId("xs-boxes");
  if (!list || !list.contains(e.target)) return;
  const row = e.target.closest("[data-row]");
  const act = e.target.closest("[data-act]");
  if (act && act.dataset.act === "reuse") return reuse();
  if (!row) return;
  if (act) return removeBox(Number(row.dataset.row));
  S.selected = Number(row.dataset.row);
  listBoxes();
  draw();
});
document.addEventListener("change", (e) => {
  const list = byId("xs-boxes");
  if (!list || !list.contains(e.target)) return;
  labelBox(Number(e.target.closest("[data-row]").dataset.row), e.target.value);
});

// ---- what the sample says about itself ----
function listFindings() {
  const panel = byId("xs-findings");
  if (!panel) return;
  const out = result();
  if (!out) { panel.innerHTML = '<p class="hint">After painting, the label is refined here.</p>'; return; }
  panel.innerHTML = out.objects.map((o) =>
    `<div class="found"><b title="${escape(plain(o.category))}">${escape(plain(o.category))}</b><span>${size(o.grounding)}<em>→</em>${size(o.refined)}</span><span class="iou" title="Intersection over union of grounding box and refined box">IoU ${o.iou.toFixed(2)}</span></div>` +
    o.flags.map((f) => `<p class="flag">${escape(f)}</p>`).join("")).join("") +
    (live().notes || out.notes).map((n) => `<p class="flag">${escape(n)}</p>`).join("") +
    (scene().adjustable ? "" : '<p class="hint">Generate again to change label or occlusion.</p>');
}

// ---- status ----
let spoken = null;
function say(text) { spoken = text; showStatus(); }
let noted = 0;
function note(text) {
  $("note").textContent = text;
  clearTimeout(noted);
  noted = setTimeout(() => { $("note").textContent = ""; }, 4000);
}
function showStatus() {
  const now = live();
  const finding = scene().regions && scene().regions.state === "finding";
  const proposing = awaited.has("box") ? "Looking for a place …" : null;
  const text = spoken || (painting() ? now.text : finding ? scene().regions.text : proposing);
  $("status").hidden = !text;
  $("status").textContent = text || "";
  $("bar").style.width = painting() && now.steps ? (100 * now.step) / now.steps + "%" : "0";
  root.setAttribute("aria-busy", awaited.size > 0);
  root.dataset.busy = painting() ? "painting" : finding ? "finding" : "";
  root.classList.toggle("waiting", Boolean(finding || (painting() && !now.step)));
  const side = byId("xs-side");
  if (side) side.classList.toggle("painting", painting());
  const decided = !painting() && scene().decided;
  $("corner").hidden = !decided;
  $("corner").className = "xs-corner " + (decided || "");
  $("corner").textContent = DECIDED[decided] || "";
  // Read out as it changes: not each step of a painting.
  const said = painting() ? "Painting" : text || DECIDED[decided] || (result() ? "Painted, not yet decided" : "");
  if ($("said").textContent !== said) $("said").textContent = said;
  showControls();
}

// ---- decisions ----
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

// ---- dialogs ----
function openSheet(html) {
  $("sheet").innerHTML = html;
  $("modal").setAttribute("aria-label", $("sheet").querySelector("h2, .busy").textContent);
  if (!$("modal").open) $("modal").showModal();
}
function closeSheet() { $("modal").close(); }
$("modal").addEventListener("click", (e) => { if (e.target === $("modal")) closeSheet(); });
const KEYS = [
  [
    ["Decide", [["A", "Accept"], ["R", "Reject"], ["S", "Skip"], ["U", "Undo the last decision"]]],
    ["Boxes", [["Del", "Delete"], ["Ctrl Z", "Undo an edit"], ["Ctrl Y", "Redo"], ["Arrows", "Nudge by 1 px (Shift: 10)"], ["Tab", "Select the next box"], ["L", "Label"], ["Shift Drag", "Draw inside a box"], ["Esc", "Dismiss a message, deselect"]]],
  ],
  [
    ["Paint", [["G", "Generate, or stop"], ["N", "Next seed"], ["P", "Propose a place"], ["Enter", "Leave a number"]]],
    ["Scans", [["]", "Next scan"], ["[", "Previous scan"]]],
    ["View", [["1 – 8", "Layers"], ["B", "Hold: the scan as it came"], ["C", "Compare slider"], ["F", "Fit"], ["+ − Wheel", "Zoom"], ["Space Drag", "Pan"], ["?", "This help"]]],
  ],
];
function help() {
  const key = (k) => (k === "–" ? k : `<kbd>${k}</kbd>`);
  const row = ([keys, text]) => `<div><span>${keys.split(" ").map(key).join(" ")}</span>${text}</div>`;
  const part = ([title, rows]) => `<section><h3>${title}</h3>${rows.map(row).join("")}</section>`;
  const columns = KEYS.map((parts) => `<div>${parts.map(part).join("")}</div>`).join("");
  openSheet(`<header><h2>Keyboard</h2><button class="xs-x" data-do="close" aria-label="Close">&times;</button></header><div class="keys">${columns}</div>`);
}
function showDialog() {
  const html = props.dialog && props.dialog.html, sheet = $("sheet");
  if (!html) closeSheet();
  else if (!html.includes("data-more")) openSheet(html);
  // who closed it while it told how far it is, or opened another one, hears of the end alone
  else if (sheet.querySelector(".busy")) sheet.innerHTML = html;
}

function exchange() {
  const named = Object.fromEntries([...$("sheet").querySelectorAll("input")].map((field) => [field.name, field.value]));
  openSheet('<div class="busy">Loading the models …</div>');
  trigger("exchange", named);
}
$("sheet").addEventListener("keydown", (e) => {
  if (e.key === "Enter" && e.target.tagName === "INPUT") exchange();
});

// ---- actions ----
const ACTIONS = {
  browse: () => $("file").click(),
  export: () => trigger("export", {}), choose: () => trigger("choose", {}), exchange, help, close: closeSheet,
  compare: toggleCompare, fit, "zoom-in": () => zoom(1.25), "zoom-out": () => zoom(0.8),
  menu: () => ($("menu").hidden ? openMenu() : closeMenu()), remove: () => removeBox(S.selected),
};
root.addEventListener("click", (e) => {
  const button = e.target.closest("[data-do]");
  if (button) ACTIONS[button.dataset.do]();
});
document.addEventListener("click", (e) => {
  if (e.target.closest && e.target.closest("#xs-dice")) dice();
  if (e.target.closest && e.target.closest("#xs-labels")) $("labels").click();
  if (e.target.closest && e.target.closest("#xs-propose")) wait("box");
  if (e.target.closest && e.target.closest("#xs-undo")) { S.following = null; wait("sample"); }
  if (e.target.closest && e.target.closest("#xs-accept, #xs-reject, #xs-skip")) wait("decision");
});
function dice() {
  const field = document.querySelector("#xs-seed input");
  if (!field) return;
  field.value = crypto.getRandomValues(new Uint32Array(1))[0] >>> 1;
  field.dispatchEvent(new Event("input", { bubbles: true }));
}

const typing = (target) => target.closest &&
  target.closest("textarea, select, [contenteditable], [role=listbox], input:not([type=range]):not([type=checkbox]):not([type=radio])");
// A number has no use for letters, a closed list none that would not change it unseen.
function spares(target, key) {
  if (target.type === "number") return LETTERS[key] && !"+-".includes(key);
  if (target.tagName !== "SELECT" || (CSS.supports("selector(:open)") && target.matches(":open"))) return false;
  return LETTERS[key] || isLayer(key);
}
const isLayer = (key) => /^[1-8]$/.test(key);
const LETTERS = {
  a: () => decide("xs-accept"), r: () => decide("xs-reject"), s: () => decide("xs-skip"), u: () => soon(() => press("xs-undo")),
  n: () => soon(() => press("xs-next")), g: () => soon(() => press(painting() ? "xs-stop" : "xs-generate")),
  p: () => { if (!awaited.has("box")) soon(() => press("xs-propose")); }, b: () => { S.before = true; draw(); },
  c: toggleCompare, f: fit, l: () => ($("menu").hidden ? openMenu() : closeMenu()),
  "]": () => step(1), "[": () => step(-1), "?": help, "+": () => zoom(1.25), "=": () => zoom(1.25), "-": () => zoom(0.8),
};
const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
function onKey(e) {
  if (!element.isConnected) return document.removeEventListener("keydown", onKey);
  if ($("modal").open) return;
  if (e.key === "Escape") {
    if (!$("menu").hidden) return closeMenu();
    if (typing(e.target)) return e.target.blur();
    forget();
    const messages = document.querySelectorAll("[data-testid=toast-close]");
    if (messages.length) return messages.forEach((button) => button.click());
    if (S.drag && S.drag.item) S.drag.item.box = S.drag.box;
    S.drag = null;
    S.selected = -1;
    return publish();
  }
  const key = e.key.length === 1 ? e.key.toLowerCase() : e.key;
  const pressed = !e.ctrlKey && !e.metaKey && !e.altKey;
  if (typing(e.target)) {
    if (key === "Enter" && e.target.type === "number") return e.target.blur();
    if (!pressed || !spares(e.target, key)) return;
    // a number that is out of range becomes one that is not, a list keeps its choice
    e.target.blur();
  }
  if ((e.ctrlKey || e.metaKey) && (key === "z" || key === "y")) {
    e.preventDefault();
    return undoEdit(key === "z" && !e.shiftKey);
  }
  if (!pressed) return;
  if (key === " " && !["BUTTON", "INPUT"].includes(e.target.tagName)) {
    e.preventDefault();
    S.space = true;
    canvas.style.cursor = "grab";
    return;
  }
  if (key === "Delete" || key === "Backspace") return removeBox(S.selected);
  if (ARROWS[key] && S.boxes[S.selected] && !["range", "radio"].includes(e.target.type)) {
    e.preventDefault();
    const step = e.shiftKey ? 10 : 1;
    return nudge(ARROWS[key][0] * step, ARROWS[key][1] * step);
  }
  if (key === "Tab" && e.target === canvas) {
    // Past the last box, or before the first, the focus moves on.
    const next = S.selected + (e.shiftKey ? -1 : 1);
    S.selected = S.boxes[next] ? next : -1;
    if (S.selected >= 0) e.preventDefault();
    listBoxes();
    return draw();
  }
  if (isLayer(key)) return toggleLayer(LAYERS[Number(key) - 1].key);
  if (LETTERS[key] && !e.repeat) LETTERS[key]();
}
document.addEventListener("keydown", onKey);
document.addEventListener("keyup", (e) => {
  if (e.key.toLowerCase() === "b") { S.before = false; draw(); }
  if (e.key === " ") { S.space = false; canvas.style.cursor = "crosshair"; }
});
window.addEventListener("blur", () => { S.before = false; S.space = false; draw(); });

// ---- what the server says ----
root.toScreen = (x, y) => {
  const [vx, vy] = toView(x, y);
  const rect = canvas.getBoundingClientRect();
  return [rect.left + vx, rect.top + vy];
};
function onScene() {
  const sent = props.scene || {};
  // Two answers may arrive in the wrong order.
  if (sent.number < S.scene.number) return;
  S.scene = sent;
  const scan = sent.scan;
  const id = (scan && scan.id) || "";
  const opened = id !== root.dataset.scan;
  if (opened) {
    root.dataset.scan = id;
    S.boxes = [];
    S.drag = null;
    S.hover = -1;
    S.past = [];
    S.future = [];
    S.selected = -1;
    fit();
  }
  const made = (scene().result && scene().result.id) || "";
  if (made !== root.dataset.result) {
    root.dataset.result = made;
    if (made) S.selected = -1;
  }
  $("empty").hidden = Boolean(scan);
  $("title").textContent = scan ? scan.name : "No scan open";
  $("size").textContent = scan ? `${scan.width} × ${scan.height}` : "";
  S.shape = new Map();
  listShelf();
  markRecord();
  publish();
  refresh();
  if (opened) {
    awaited.delete("box");
    arrived("scan");
  }
}
function refresh() {
  listTools();
  listBoxes();
  listFindings();
  showStatus();
  draw();
}
// An edit like the operator's own: it leaves alone what was drawn since the server was asked.
function onPlaced() {
  const { scan, boxes, instead, proposed } = props.placed || {};
  if (!scan || scan !== root.dataset.scan) return;
  join(boxes, instead);
  if (proposed) arrived("box", boxes.length > 0);
}
function join(boxes, instead) {
  const stays = (item) => !instead.some((old) => old.category === item.category && same(old.box, item.box));
  if (!boxes.length && S.boxes.every(stays)) return;
  // A new box is chosen, unless the operator is busy with another or it is painted already.
  const busy = S.drag || !$("menu").hidden;
  const painted = (box) => scene().result && scene().result.objects.some((o) => same(o.grounding, box));
  const chosen = S.boxes[S.selected];
  S.hover = -1;
  change(() => {
    S.boxes = [...S.boxes.filter(stays), ...copy(boxes)];
    const added = boxes.length === 1 && !busy && !painted(boxes[0].box);
    S.selected = added ? S.boxes.length - 1 : S.boxes.indexOf(chosen);
  });
}
function onModels() {
  const models = props.models || {};
  $("models").dataset.state = models.state || "loading";
  $("models-text").textContent = models.text || "Loading models";
  if (models.why) say((S.why = models.why));
  else if (spoken && spoken === S.why) say(null);
}
watch("scene", onScene);
watch("live", () => { showStatus(); listFindings(); listTools(); draw(); });
watch("placed", onPlaced);
watch("shelf", listShelf);
watch("records", () => { listRecords(); showControls(); });
watch("dialog", showDialog);
watch("models", onModels);
new ResizeObserver(() => {
  // messages are no part of this component and lie in this corner all the same
  const { right, bottom, width } = $("view").getBoundingClientRect();
  const corner = { beside: innerWidth - right, below: innerHeight - bottom, room: width };
  for (const [name, pixels] of Object.entries(corner)) {
    document.documentElement.style.setProperty("--xs-" + name, pixels + "px");
  }
  if (S.view.fitted) fit();
  else draw();
}).observe($("view"));
onScene();
listRecords();
onModels();
// The side panel is another component and may be mounted later than this one, its Advanced part only
// when it is opened.
const watchSide = () => new MutationObserver(showControls).observe(byId("xs-side"), { childList: true, subtree: true });
const waiting = setInterval(() => { if (["xs-boxes", "xs-findings", "xs-then"].every(byId)) { clearInterval(waiting); nameThen(); refresh(); watchSide(); } }, 60);
