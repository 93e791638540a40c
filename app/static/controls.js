// The controls of the side panel: what each is for, and why it cannot be used just now.
const TITLES = {
  "xs-variant": "Add: new items go into the scan. Modify: annotated items are painted anew",
  "xs-catalog": "The dataset whose categories can be painted",
  "xs-propose": "Take a place in the baggage and a category of its size (P)",
  "xs-labels": "Read what is known of this scan, from a COCO, YOLO or VOC file",
  "xs-seed": "The same seed paints the same item again",
  "xs-dice": "Another seed",
  "xs-steps": "Denoising steps: more take longer and show finer detail",
  "xs-guidance": "How strongly the category is followed; high values exaggerate",
  "xs-sampler": "DDIM is the paper's, DPM++ needs fewer steps",
  "xs-frame": "What the denoiser sees: a square around the box, or the whole scan",
  "xs-background": "Kept: the item is laid over the scan. Repainted: the box is painted with it",
  "xs-occlusion": "Where the occluder is blended in: in the final latents, at every step, or in pixels",
  "xs-generate": "Paint an item into each box (G)",
  "xs-stop": "End the painting (G)",
  "xs-points": "What prompts SAM: medians of the active region, or its points of most attention",
  "xs-divisions": "How often the active region is halved for its medians; 0 prompts SAM with the box alone",
  "xs-occlude": "Lay clutter of this scan over the item",
  "xs-alpha": "How strong the occluder is: 0 leaves the item as it is, 1 hides it",
  "xs-occluder": "Another piece of clutter",
  "xs-placement": "The same clutter in another place over the item",
  "xs-accept": "Keep this sample for the export (A)",
  "xs-reject": "Never export this sample (R)",
  "xs-skip": "Put this sample aside (S)",
  "xs-undo": "Take back the latest decision (U)",
  "xs-next": "Paint again with the next seed (N)",
};
const DECIDED = { accept: "Accepted", reject: "Rejected", skip: "Skipped" };

// By the ids of controls; none where it can be used.
function reasons() {
  const open = scene().scan ? "" : "Open a scan first";
  const idle = open || (painting() ? "Wait for the painting, or stop it" : "");
  const made = idle || (result() ? "" : "Paint something first");
  const opening = awaited.has("scan") || awaited.has("sample") ? "Wait for what is being opened" : "";
  const fixed = result() && !scene().adjustable ? "Generate this sample again to change it" : "";
  const { counts } = records();
  const why = {
    "xs-undo": Object.keys(DECIDED).some((name) => counts[name]) ? "" : "Nothing is decided yet",
    "xs-occluder": made || fixed, "xs-placement": made || fixed,
  };
  for (const id of ["xs-generate", "xs-next", "xs-propose", "xs-labels"]) why[id] = idle;
  for (const id of ["xs-points", "xs-divisions", "xs-occlude", "xs-alpha", "xs-occlusion"]) why[id] = fixed;
  for (const [name, text] of Object.entries(DECIDED)) {
    why["xs-" + name] = made || opening || (scene().decided === name ? `${text} already` : "");
  }
  return why;
}

function showControls() {
  const why = reasons();
  for (const [id, title] of Object.entries(TITLES)) {
    const control = byId(id);
    if (!control) continue;
    const off = Boolean(why[id]);
    control.title = why[id] || title;
    control.classList.toggle("off", off);
    control.setAttribute("aria-disabled", off);
    if (control.tagName === "BUTTON") control.tabIndex = off ? -1 : 0;
    // The control itself stays under the pointer, or there would be no tooltip.
    else for (const part of control.children) part.inert = off;
    if (control.tagName === "FIELDSET") {
      control.setAttribute("aria-label", control.querySelector("[data-testid=block-info]").textContent.trim());
    }
  }
}
document.addEventListener("click", (e) => {
  if (e.target.closest && e.target.closest("#xs-side button.off")) e.stopImmediatePropagation();
}, true);
// Gradio opens the catalogue's menu at any key, and so at the one that leaves it.
document.addEventListener("keydown", (e) => {
  if (e.key === "Tab" && e.target.closest("#xs-catalog")) e.stopImmediatePropagation();
}, true);
