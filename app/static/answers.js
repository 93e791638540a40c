// What the server says, as it reaches the page.

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
