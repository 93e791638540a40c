// Scans and annotations that come in, and keys that are faster than the server.

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
