// What stands around the canvas: layers, boxes, findings, status.

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
    return `<div class="row" data-row="${i}"><b>${i + 1}</b><select aria-label="Category of box ${i + 1}"><optgroup label="Fits this box">${fitting.map(option).join("")}</optgroup><optgroup label="Other">${names.filter((n) => !fitting.includes(n)).map(option).join("")}</optgroup></select><span${odd ? ` class="odd" title="${escape(odd)}"` : ""}>${size(box)}</span><button data-act="delete" title="Delete" aria-label="Delete box ${i + 1}">×</button></div>`;
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
