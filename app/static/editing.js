// Boxes under the operator's hand: draw, move, resize, label, delete, undo.

// The number of the area group that a box belongs to, as in Catalog
function areaGroup(box) {
  const { catalog, scan } = scene();
  const [least, most] = catalog.scan_areas;
  const pixels = scan ? scan.width * scan.height : least;
  const area = (box[2] - box[0]) * (box[3] - box[1]) * Math.min(Math.max(pixels, least), most) / pixels;
  return catalog.boundaries.filter((b) => area > b).length;
}
function asLong(category, [x1, y1, x2, y2]) {
  const { names, max_aspect_ratios: most } = scene().catalog;
  const [short, long] = [x2 - x1, y2 - y1].sort((a, b) => a - b);
  return long / short <= most[names.indexOf(category)];
}
function candidates(box) {
  const group = scene().catalog.groups[areaGroup(box)];
  const fitting = group.filter((name) => asLong(name, box));
  return fitting.length ? fitting : group;
}
// How a box differs from those that its category is known with; "" where it does not.
function misfit({ box, category }) {
  const by = areaGroup(box) - scene().catalog.groups.findIndex((names) => names.includes(category));
  const how = by > 0 ? "large" : by < 0 ? "small" : asLong(category, box) ? "" : "long";
  return how && `Unusually ${how} for ${plain(category)}`;
}
function firstCategory(box) {
  const fitting = candidates(box);
  return fitting.includes(S.lastCategory) ? S.lastCategory : fitting[0];
}

const copy = (boxes) => boxes.map((item) => ({ category: item.category, box: [...item.box] }));
function change(edit) {
  S.past.push(copy(S.boxes));
  if (S.past.length > 100) S.past.shift();
  S.future = [];
  edit();
  publish();
}
// Boxes may be older than the catalogue: drawn before it was chosen, undone, used again.
function publish() {
  S.selected = Math.min(S.selected, S.boxes.length - 1);
  const { scan, catalog } = scene();
  for (const item of S.boxes) {
    if (!catalog.names.includes(item.category)) item.category = firstCategory(item.box);
  }
  if (scan && S.boxes.length) S.last = copy(S.boxes);
  props.value = { scan: scan ? scan.id : null, boxes: copy(S.boxes) };
  listBoxes();
  draw();
}
function undoEdit(back = true) {
  const [from, to] = back ? [S.past, S.future] : [S.future, S.past];
  if (!from.length) return;
  to.push(copy(S.boxes));
  S.boxes = from.pop();
  S.selected = -1;
  closeMenu();
  publish();
}

function rounded(box) {
  const { width, height } = scene().scan;
  const x1 = Math.max(0, Math.min(box[0], box[2])), x2 = Math.min(width, Math.max(box[0], box[2]));
  const y1 = Math.max(0, Math.min(box[1], box[3])), y2 = Math.min(height, Math.max(box[1], box[3]));
  return [x1, y1, x2, y2].map(Math.round);
}
const large = (box) => box[2] - box[0] >= MIN_SIDE && box[3] - box[1] >= MIN_SIDE;

function addBox(box, category) {
  const edges = rounded(box);
  if (!large(edges)) return;
  change(() => {
    S.boxes.push({ box: edges, category: category || firstCategory(edges) });
    S.selected = S.boxes.length - 1;
  });
}
function removeBox(i) {
  if (!S.boxes[i]) return;
  closeMenu();
  change(() => { S.boxes.splice(i, 1); S.selected = -1; });
}
function labelBox(i, category) {
  if (!S.boxes[i] || S.boxes[i].category === category) return;
  S.lastCategory = category;
  change(() => { S.boxes[i].category = category; });
}
function nudge(dx, dy) {
  const item = S.boxes[S.selected];
  if (!item) return;
  change(() => { item.box = shifted(item.box, dx, dy); });
}
function shifted(box, dx, dy) {
  const { width, height } = scene().scan;
  const x = Math.max(-box[0], Math.min(width - box[2], dx));
  const y = Math.max(-box[1], Math.min(height - box[3], dy));
  return [box[0] + x, box[1] + y, box[2] + x, box[3] + y].map(Math.round);
}
function reuse() {
  const { width, height } = scene().scan;
  const fitting = copy(S.last).filter(({ box }) => box[2] <= width && box[3] <= height);
  if (fitting.length) change(() => { S.boxes = fitting; S.selected = -1; });
}

// ---- pointer ----
function pointer(event) {
  const rect = canvas.getBoundingClientRect();
  return [event.clientX - rect.left, event.clientY - rect.top];
}
function handleAt(x, y) {
  const item = S.boxes[S.selected];
  if (!item) return -1;
  return handles(item.box).findIndex(([hx, hy]) => Math.abs(hx - x) <= 6 && Math.abs(hy - y) <= 6);
}
function boxAt(x, y) {
  const inside = ({ box }) => x >= box[0] && x <= box[2] && y >= box[1] && y <= box[3];
  if (S.boxes[S.selected] && inside(S.boxes[S.selected])) return S.selected;
  let best = -1, least = Infinity;
  S.boxes.forEach((item, i) => {
    const area = (item.box[2] - item.box[0]) * (item.box[3] - item.box[1]);
    if (inside(item) && area < least) [best, least] = [i, area];
  });
  return best;
}
function regionAt(x, y) {
  if (!S.layers[layerKey("regions")] || painting()) return -1;
  let best = -1, least = Infinity;
  pen.save();
  pen.resetTransform();
  regions().forEach((region, i) => {
    if (region.area < least && pen.isPointInPath(pathOf(region), x, y, "evenodd")) [best, least] = [i, region.area];
  });
  pen.restore();
  return best;
}
function onDivider(x) {
  return comparing() && Math.abs(toView(scene().scan.width * S.divider, 0)[0] - x) < 12;
}

// A drag holds its box and not its number: boxes may come and go meanwhile.
const taken = (item) => ({ item, box: item.box });

canvas.addEventListener("pointerdown", (event) => {
  if (!scene().scan) return;
  canvas.focus({ preventScroll: true });
  closeMenu();
  const [x, y] = pointer(event);
  const [sx, sy] = toScan(x, y);
  canvas.setPointerCapture(event.pointerId);
  if (event.button === 1 || S.space) {
    S.drag = { kind: "pan", x, y, view: { ...S.view } };
  } else if (event.button === 0) {
    const handle = handleAt(x, y);
    const hit = boxAt(sx, sy);
    if (onDivider(x)) S.drag = { kind: "divide" };
    else if (painting()) return;
    else if (handle >= 0) S.drag = { kind: "resize", handle, ...taken(S.boxes[S.selected]) };
    else if (hit >= 0 && !event.shiftKey) {
      S.selected = hit;
      S.drag = { kind: "move", sx, sy, x, y, ...taken(S.boxes[hit]) };
    } else S.drag = { kind: "draw", sx, sy, x, y, box: null };
  }
  listBoxes();
  draw();
});

canvas.addEventListener("pointermove", (event) => {
  if (!scene().scan) return;
  const [x, y] = pointer(event);
  const [sx, sy] = toScan(x, y);
  const drag = S.drag;
  if (!drag) {
    const hover = boxAt(sx, sy) < 0 ? regionAt(sx, sy) : -1;
    if (hover !== S.hover) { S.hover = hover; draw(); }
    canvas.style.cursor = cursorAt(x, y, sx, sy);
    return;
  }
  const moved = drag.moved || (drag.x !== undefined && Math.hypot(x - drag.x, y - drag.y) > 3);
  drag.moved = moved;
  if (drag.kind === "pan") {
    S.view = { ...drag.view, fitted: false, x: drag.view.x + x - drag.x, y: drag.view.y + y - drag.y };
  } else if (drag.kind === "divide") {
    S.divider = Math.max(0, Math.min(1, sx / scene().scan.width));
  } else if (drag.kind === "draw" && moved) {
    drag.box = rounded([drag.sx, drag.sy, sx, sy]);
  } else if (drag.kind === "move" && moved) {
    drag.item.box = shifted(drag.box, sx - drag.sx, sy - drag.sy);
  } else if (drag.kind === "resize") {
    drag.moved = true;
    drag.item.box = resized(drag.box, drag.handle, sx, sy);
  }
  draw();
});

function resized(start, handle, x, y) {
  const box = [...start];
  if ([0, 6, 7].includes(handle)) box[0] = Math.min(x, box[2] - MIN_SIDE);
  if ([2, 3, 4].includes(handle)) box[2] = Math.max(x, box[0] + MIN_SIDE);
  if ([0, 1, 2].includes(handle)) box[1] = Math.min(y, box[3] - MIN_SIDE);
  if ([4, 5, 6].includes(handle)) box[3] = Math.max(y, box[1] + MIN_SIDE);
  return rounded(box);
}

function cursorAt(x, y, sx, sy) {
  if (S.space) return "grab";
  if (onDivider(x)) return "ew-resize";
  if (painting()) return "progress";
  const handle = handleAt(x, y);
  if (handle >= 0) return ["nwse", "ns", "nesw", "ew", "nwse", "ns", "nesw", "ew"][handle] + "-resize";
  if (boxAt(sx, sy) >= 0) return "move";
  return S.hover >= 0 ? "pointer" : "crosshair";
}

function release() {
  const drag = S.drag;
  S.drag = null;
  if (!drag) return;
  if (drag.kind === "draw") {
    if (drag.moved && drag.box) addBox(drag.box);
    else if (!drag.moved) {
      const region = regions()[regionAt(drag.sx, drag.sy)];
      if (region) addBox(region.box);
      else S.selected = -1;
    }
  } else if (drag.moved && S.boxes.includes(drag.item)) {
    const { item, box } = drag;
    const moved = item.box;
    item.box = box;
    change(() => { item.box = moved; });
  }
  S.hover = -1;
  listBoxes();
  draw();
}
canvas.addEventListener("pointerup", release);
canvas.addEventListener("pointercancel", release);
canvas.addEventListener("pointerleave", () => { S.hover = -1; draw(); });
canvas.addEventListener("dblclick", () => { if (S.selected >= 0) openMenu(); });
canvas.addEventListener("wheel", (event) => {
  if (!scene().scan) return;
  event.preventDefault();
  zoom(Math.exp(-event.deltaY * 0.0015), ...pointer(event));
}, { passive: false });

// ---- the label of the selected box, and the menu behind it ----
function placeTag() {
  const tag = $("tag");
  const item = S.boxes[S.selected];
  const shown = item && S.layers.boxes && !painting() && !S.before;
  tag.hidden = !shown;
  if (!shown) return;
  const [x, y] = toView(item.box[0], item.box[1]);
  tag.style.left = Math.max(4, x - 1) + "px";
  tag.style.top = Math.max(4, y - 29) + "px";
  const html = `<button data-do="menu">${escape(plain(item.category))}<i></i></button><button data-do="remove" title="Delete (Del)" aria-label="Delete box">&times;</button>`;
  if (tag.innerHTML !== html && tag.dataset.html !== html) { tag.innerHTML = html; tag.dataset.html = html; }
}
function openMenu() {
  const item = S.boxes[S.selected];
  if (!item) return;
  const fitting = candidates(item.box);
  const rest = scene().catalog.names.filter((n) => !fitting.includes(n));
  const row = (n) => `<button role="option" data-category="${escape(n)}" aria-selected="${n === item.category}">${escape(plain(n))}</button>`;
  const menu = $("menu");
  menu.innerHTML = `<h3>Fits this box</h3>${fitting.map(row).join("")}` +
    (rest.length ? `<h3>Other</h3>${rest.map(row).join("")}` : "");
  menu.hidden = false;
  const view = $("view"), tag = $("tag");
  menu.style.left = Math.min(tag.offsetLeft, view.clientWidth - menu.offsetWidth - 8) + "px";
  const below = tag.offsetTop + tag.offsetHeight + 4;
  menu.style.top = Math.max(8, Math.min(below, view.clientHeight - menu.offsetHeight - 8)) + "px";
  menu.querySelector('[aria-selected="true"]').focus();
}
function closeMenu() {
  // what is hidden keeps the focus for a while, and with it the next key
  if ($("menu").contains(document.activeElement)) canvas.focus({ preventScroll: true });
  $("menu").hidden = true;
}
$("menu").addEventListener("keydown", (event) => {
  const by = { ArrowDown: 1, ArrowUp: -1 }[event.key];
  if (event.key.toLowerCase() === "l" || event.key === "Tab") closeMenu();
  else if (by) {
    const options = [...$("menu").querySelectorAll("button")];
    const next = options.indexOf(document.activeElement) + by;
    options[(next + options.length) % options.length].focus();
  } else return;
  event.preventDefault();
});
$("menu").addEventListener("click", (event) => {
  const choice = event.target.closest("[data-category]");
  if (!choice) return;
  labelBox(S.selected, choice.dataset.category);
  closeMenu();
});
