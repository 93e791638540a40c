// What buttons and keys do, and the dialogs that some of them open.

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
