// The one canvas: what is shown, and how. Coordinates are pixels of the scan unless named otherwise.
const $ = (name) => element.querySelector(`[data-el="${name}"]`);
const byId = (id) => document.getElementById(id);
function escape(text) {
  return String(text).replace(/[&<>"']/g, (c) => `&#${c.charCodeAt(0)};`);
}
const canvas = $("canvas");
const pen = canvas.getContext("2d");

const LAYERS = [
  { key: "regions", name: "Idle regions", about: "where SAM finds room for an item", swatch: "#0e7c86" },
  { key: "boxes", name: "Boxes", about: "drawn ones and annotations", swatch: "#1c1f24" },
  { key: "heat", name: "Attention", about: "the denoiser's, to the name of the item", swatch: "linear-gradient(90deg,#3b0f70,#de4968,#fe9f6d)" },
  { key: "active", name: "Active region", about: "where the attention is high", swatch: "#7a2ee6" },
  { key: "points", name: "Points", about: "what prompts SAM", swatch: "#e5342b" },
  { key: "refined", name: "Refined box", about: "the label", swatch: "#e4119a" },
  { key: "mask", name: "Mask", about: "SAM's, behind the refined box", swatch: "rgba(228,17,154,.45)" },
  { key: "occluder", name: "Occluder", about: "the clutter, and where it is laid over the item", swatch: "#c07a00" },
];
const LEVELS = ["#e5342b", "#f08a00", "#1d9a4b", "#1f6fe0"];
const INK = "#1c1f24";
const TEAL = "#0e7c86";
const MAGENTA = "#e4119a";
const VIOLET = "#7a2ee6";
const AMBER = "#c07a00";
const HANDLE = 7;
const MIN_SIDE = 4;

const S = {
  scene: {},
  place: null,
  boxes: [],
  selected: -1,
  hover: -1,
  drag: null,
  past: [],
  future: [],
  last: [],
  view: { scale: 1, x: 0, y: 0, fitted: true },
  layers: JSON.parse(sessionStorage.getItem("xsyn layers")) || {
    regions: true, regionsAfter: false, boxes: true, heat: false, active: false,
    points: false, refined: true, mask: false, occluder: false,
  },
  compare: false,
  divider: 0.5,
  before: false,
  shape: new Map(),
};
const scene = () => S.scene;
const live = () => props.live || {};
const result = () => (scene().result && !live().painting ? scene().result : null);
const regions = () => (scene().regions && scene().regions.items) || [];
const painting = () => Boolean(live().painting);
// Idle regions are in the way of a finished sample, so there they have a switch of their own.
const layerKey = (key) => (key === "regions" && result() ? "regionsAfter" : key);

// Pictures arrive by address and are drawn once they are here.
const pictures = new Map();
function picture(address) {
  if (!address) return null;
  if (!pictures.has(address)) {
    const image = new Image();
    image.onload = draw;
    image.src = address;
    pictures.set(address, image);
    while (pictures.size > 24) pictures.delete(pictures.keys().next().value);
  }
  const image = pictures.get(address);
  return image.complete && image.naturalWidth ? image : null;
}

// The newest crop may still be loading: the one before it stays until it is here.
let shownPatch = null;
function patch() {
  const newest = painting() ? live().patch : live().patch || (result() && result().patch);
  if (!newest) return (shownPatch = null);
  if (picture(newest.url)) shownPatch = newest;
  return shownPatch && shownPatch.scan === newest.scan ? shownPatch : null;
}

function pathOf(item) {
  if (!S.shape.has(item)) {
    const path = new Path2D();
    for (const ring of item.rings || []) {
      ring.forEach(([x, y], i) => (i ? path.lineTo(x, y) : path.moveTo(x, y)));
      path.closePath();
    }
    S.shape.set(item, path);
  }
  return S.shape.get(item);
}

// ---- view ----
function fit() {
  const scan = scene().scan;
  const { clientWidth: w, clientHeight: h } = $("view");
  if (!scan || !w || !h) return;
  const scale = Math.min((w - 48) / scan.width, (h - 56) / scan.height, 3);
  S.view = {
    scale, fitted: true,
    x: Math.round((w - scan.width * scale) / 2), y: Math.round((h - scan.height * scale) / 2),
  };
  draw();
}
function zoom(factor, x, y) {
  if (!scene().scan) return;
  const { clientWidth: w, clientHeight: h } = $("view");
  const at = x === undefined ? [w / 2, h / 2] : [x, y];
  const scale = Math.min(16, Math.max(0.1, S.view.scale * factor));
  const k = scale / S.view.scale;
  S.view = { scale, fitted: false, x: at[0] - (at[0] - S.view.x) * k, y: at[1] - (at[1] - S.view.y) * k };
  draw();
}
const toScan = (x, y) => [(x - S.view.x) / S.view.scale, (y - S.view.y) / S.view.scale];
const toView = (x, y) => [x * S.view.scale + S.view.x, y * S.view.scale + S.view.y];

// ---- drawing ----
let queued = false;
function draw() {
  if (queued) return;
  queued = true;
  requestAnimationFrame(() => { queued = false; paint(); });
}

function frame(box, style, { dash = [], width = 1.5, casing = true } = {}) {
  const [x1, y1] = toView(box[0], box[1]);
  const [x2, y2] = toView(box[2], box[3]);
  if (casing) {
    pen.setLineDash([]);
    pen.strokeStyle = "rgba(255,255,255,.85)";
    pen.lineWidth = width + 2;
    pen.strokeRect(x1, y1, x2 - x1, y2 - y1);
  }
  pen.setLineDash(dash);
  pen.strokeStyle = style;
  pen.lineWidth = width;
  pen.strokeRect(x1, y1, x2 - x1, y2 - y1);
  pen.setLineDash([]);
}

function outline(item, style, { fill = null, width = 1.5, casing = 0 } = {}) {
  const path = pathOf(item);
  pen.save();
  pen.translate(S.view.x, S.view.y);
  pen.scale(S.view.scale, S.view.scale);
  pen.lineJoin = "round";
  if (fill) { pen.fillStyle = fill; pen.fill(path, "evenodd"); }
  if (casing) {
    pen.strokeStyle = `rgba(255,255,255,${casing})`;
    pen.lineWidth = (width + 2) / S.view.scale;
    pen.stroke(path);
  }
  if (style) {
    pen.strokeStyle = style;
    pen.lineWidth = width / S.view.scale;
    pen.stroke(path);
  }
  pen.restore();
}

// Names are drawn last, over every outline.
const names = [];
function name(...label) { names.push(label); }
function paintName(text, box, style, below = false) {
  const [x1, y1] = toView(box[0], box[1]);
  const y2 = toView(box[2], box[3])[1];
  pen.font = "600 11px " + getComputedStyle(element).fontFamily;
  const width = pen.measureText(text).width + 10;
  const y = below ? y2 + 2 : Math.max(2, y1 - 18);
  pen.fillStyle = style;
  pen.beginPath();
  pen.roundRect(x1 - 1, y, width, 16, 3);
  pen.fill();
  pen.fillStyle = "#fff";
  pen.textBaseline = "middle";
  pen.fillText(text, x1 + 4, y + 8.5);
}

const plain = (category) => (category || "").replaceAll("_", " ");
const same = (a, b) => a.every((v, i) => Math.abs(v - b[i]) < 0.75);

function paint() {
  const view = $("view");
  const ratio = window.devicePixelRatio || 1;
  const w = view.clientWidth, h = view.clientHeight;
  if (canvas.width !== Math.round(w * ratio) || canvas.height !== Math.round(h * ratio)) {
    canvas.width = Math.round(w * ratio);
    canvas.height = Math.round(h * ratio);
  }
  pen.setTransform(ratio, 0, 0, ratio, 0, 0);
  pen.clearRect(0, 0, w, h);
  const scan = scene().scan;
  if (scan) {
    paintScan(scan);
    if (!S.before) paintLayers(scan);
    placeTag();
  }
  $("zoom").textContent = scan ? Math.round(S.view.scale * 100) + "%" : "–";
}

function paintScan(scan) {
  const [x, y] = toView(0, 0);
  const w = scan.width * S.view.scale, h = scan.height * S.view.scale;
  pen.save();
  pen.shadowColor = "rgba(20,24,30,.22)";
  pen.shadowBlur = 18;
  pen.shadowOffsetY = 3;
  pen.fillStyle = "#fff";
  pen.fillRect(x, y, w, h);
  pen.restore();
  const base = picture(scan.url);
  pen.imageSmoothingEnabled = S.view.scale < 4;
  pen.imageSmoothingQuality = "high";
  if (base) pen.drawImage(base, x, y, w, h);
  const crop = patch();
  const changed = crop && picture(crop.url);
  if (changed && !S.before) {
    pen.save();
    if (comparing()) clipAfter(scan);
    pen.drawImage(changed, ...toView(crop.x, crop.y),
      changed.naturalWidth * S.view.scale, changed.naturalHeight * S.view.scale);
    pen.restore();
  }
}

// What belongs to the painted scan lies right of the divider.
function clipAfter(scan) {
  const [x] = toView(scan.width * S.divider, 0);
  pen.beginPath();
  pen.rect(x, 0, $("view").clientWidth, $("view").clientHeight);
  pen.clip();
}
const comparing = () => S.compare && result() && !S.before;

function paintLayers(scan) {
  const out = result();
  if (S.layers[layerKey("regions")] && !painting()) paintRegions();
  if (out && S.layers.occluder && occlusion()) paintOcclusion(occlusion());
  if (out && S.layers.boxes) out.objects.forEach((o) => frame(o.grounding, INK, { dash: [5, 4], width: 1.25 }));
  if (out) {
    pen.save();
    if (comparing()) clipAfter(scan);
    out.objects.forEach(paintObject);
    pen.restore();
  }
  if (S.layers.boxes) paintBoxes(out);
  for (const label of names.splice(0)) paintName(...label);
  if (comparing()) paintDivider(scan);
}

function paintRegions() {
  regions().forEach((region, i) => {
    const hot = i === S.hover && !S.drag;
    if (!hot && !region.shown) return;
    outline(region, TEAL, {
      fill: hot ? "rgba(14,124,134,.3)" : "rgba(14,124,134,.1)",
      width: hot ? 2 : 1.5, casing: hot ? 0.85 : 0.6,
    });
  });
  const region = regions()[S.hover];
  if (region && !S.drag) {
    frame(region.box, TEAL, { width: 1.25, dash: [5, 3] });
    const ideas = candidates(region.box).map(plain);
    const shown = ideas.slice(0, 3).join(", ") + (ideas.length > 3 ? ", …" : "");
    name(`Click to place here: ${shown}`, region.box, TEAL);
  }
}

function paintObject(object) {
  if (S.layers.heat && object.heat) {
    const heat = picture(object.heat.url);
    const [x1, y1, x2, y2] = object.heat.box;
    if (heat) {
      pen.imageSmoothingEnabled = true;
      pen.drawImage(heat, ...toView(x1, y1), (x2 - x1) * S.view.scale, (y2 - y1) * S.view.scale);
    }
  }
  if (S.layers.mask && object.mask) outline(object.mask, MAGENTA, { fill: "rgba(228,17,154,.28)", width: 1 });
  if (S.layers.active && object.active) outline(object.active, VIOLET, { width: 2, casing: 0.85 });
  if (S.layers.refined) {
    frame(object.refined, MAGENTA, { width: 2 });
    // which would lie across the divider
    if (!comparing()) name(plain(object.category), object.refined, MAGENTA);
  }
  if (S.layers.points) object.points.forEach(paintPoint);
}

function paintPoint([px, py, level]) {
  const [x, y] = toView(px, py);
  pen.beginPath();
  pen.arc(x, y, 4.5, 0, 7);
  pen.fillStyle = level ? LEVELS[(level - 1) % LEVELS.length] : "#fff";
  pen.fill();
  pen.lineWidth = 1.5;
  pen.strokeStyle = level ? "#fff" : INK;
  pen.stroke();
  if (level) return;
  pen.beginPath();
  pen.moveTo(x - 2.5, y - 2.5); pen.lineTo(x + 2.5, y + 2.5);
  pen.moveTo(x + 2.5, y - 2.5); pen.lineTo(x - 2.5, y + 2.5);
  pen.stroke();
}

const occlusion = () => (live().patch ? live().occlusion : result() && result().occlusion);

function paintOcclusion(done) {
  frame(done.occluder, AMBER, { width: 1.5 });
  name("Occluder", done.occluder, AMBER);
  done.occluded.forEach((box) => frame(box, AMBER, { dash: [3, 3], width: 1.5 }));
}

function paintBoxes(out) {
  for (const kept of (out ? out.kept : scene().scan.annotations) || []) {
    frame(kept.box, "#4b5563", { width: 1 });
    if (!S.boxes.some((b) => same(b.box, kept.box))) name(plain(kept.category), kept.box, "#4b5563", true);
  }
  S.boxes.forEach((item, i) => {
    const chosen = i === S.selected;
    if (out && !chosen && out.objects.some((o) => same(o.grounding, item.box))) return;
    frame(item.box, INK, { width: chosen ? 2 : 1.5 });
    if (!chosen) name(plain(item.category), item.box, INK);
    if (chosen) handles(item.box).forEach(([x, y]) => {
      pen.fillStyle = "#fff";
      pen.strokeStyle = INK;
      pen.lineWidth = 1.5;
      pen.beginPath();
      pen.rect(x - HANDLE / 2, y - HANDLE / 2, HANDLE, HANDLE);
      pen.fill();
      pen.stroke();
    });
  });
  if (S.drag && S.drag.kind === "draw" && S.drag.box) frame(S.drag.box, INK, { width: 2 });
}

function handles(box) {
  const [x1, y1] = toView(box[0], box[1]);
  const [x2, y2] = toView(box[2], box[3]);
  const xm = (x1 + x2) / 2, ym = (y1 + y2) / 2;
  return [[x1, y1], [xm, y1], [x2, y1], [x2, ym], [x2, y2], [xm, y2], [x1, y2], [x1, ym]];
}

function paintDivider(scan) {
  const [x, y] = toView(scan.width * S.divider, 0);
  side("Before", x - 10, y + 10, "right");
  side("After", x + 10, y + 10, "left");
  const h = scan.height * S.view.scale;
  pen.strokeStyle = "#fff";
  pen.lineWidth = 4;
  pen.beginPath(); pen.moveTo(x, y); pen.lineTo(x, y + h); pen.stroke();
  pen.strokeStyle = INK;
  pen.lineWidth = 1.5;
  pen.beginPath(); pen.moveTo(x, y); pen.lineTo(x, y + h); pen.stroke();
  pen.fillStyle = INK;
  pen.beginPath(); pen.arc(x, y + h / 2, 13, 0, 7); pen.fill();
  pen.fillStyle = "#fff";
  pen.beginPath();
  pen.moveTo(x - 8, y + h / 2); pen.lineTo(x - 3, y + h / 2 - 4); pen.lineTo(x - 3, y + h / 2 + 4);
  pen.moveTo(x + 8, y + h / 2); pen.lineTo(x + 3, y + h / 2 - 4); pen.lineTo(x + 3, y + h / 2 + 4);
  pen.fill();
}

function side(text, x, y, align) {
  pen.font = "600 11px " + getComputedStyle(element).fontFamily;
  const width = pen.measureText(text).width + 14;
  const left = align === "right" ? x - width : x;
  pen.fillStyle = "rgba(28,31,36,.85)";
  pen.beginPath(); pen.roundRect(left, y, width, 19, 4); pen.fill();
  pen.fillStyle = "#fff";
  pen.textBaseline = "middle";
  pen.fillText(text, left + 7, y + 10);
}
