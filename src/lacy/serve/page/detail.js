// The panel with details of the part of a text that is selected or under the mouse.

import { amount, byId, definitions, plural, time } from "./dom.js";
import { speakerName } from "./speakers.js";
import { offer } from "./verdict.js";

let selected = null; // the part that was clicked or focused: { span, node }

function show(span) {
  byId("about").replaceChildren(definitions([
    ["Written by", `${speakerName(span)}, ${plural(span.tokens, "token")}`],
    ["Why", span.reason || (span.asked ? "no reason given" : "no call was due here")],
    ["Cost", `${amount(span.cost)}, ${time(span.seconds)}`],
    ["Evidence", span.evidence || "none"],
  ]));
  byId("detail").hidden = false;
}

/** Shows the details of a part; `select` is true if it was clicked or focused. */
export function point(span, node, select) {
  if (select) {
    selected?.node.setAttribute("aria-pressed", "false");
    selected = { span, node };
    node.setAttribute("aria-pressed", "true");
    offer(span, node);
  }
  show(span);
}

/** Handles that the mouse has left: shows the selected part again, if there is one. */
export function leave() {
  if (selected) show(selected.span);
  else byId("detail").hidden = true;
}

/** Closes the panel; if it has the focus, returns the focus to the text. */
export function close() {
  const inside = byId("detail").contains(document.activeElement);
  const node = selected?.node;
  node?.setAttribute("aria-pressed", "false");
  selected = null;
  byId("detail").hidden = true;
  if (inside && node?.isConnected) {
    node.dispatchEvent(new Event("quiet")); // this focus must not open the panel again
    node.focus();
  }
}

byId("close").addEventListener("click", close);
document.addEventListener("keydown", (event) => {
  if (event.key === "Escape") close();
});
