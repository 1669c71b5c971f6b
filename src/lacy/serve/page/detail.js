// Why words were said: a panel about the words one points at.

import { amount, at, count, pairs, time } from "./dom.js";
import { nameOf } from "./speakers.js";

let held = null; // the words that were tapped or focused: { span, node }

function show(span) {
  at("about").replaceChildren(pairs([
    ["Says", `${nameOf(span)}, ${count(span.tokens, "token")}`],
    ["Why", span.reason || (span.asked ? "no reason given" : "no call was due here")],
    ["Cost", `${amount(span.cost)}, ${time(span.seconds)}`],
    ["Evidence", span.evidence || "none"],
  ]));
  at("detail").hidden = false;
}

/** Tells of words; `firm` where they were tapped or focused, not just passed by. */
export function point(span, node, firm) {
  if (firm) {
    held?.node.setAttribute("aria-pressed", "false");
    held = { span, node };
    node.setAttribute("aria-pressed", "true");
  }
  show(span);
}

/** The mouse has left the words: back to those that are held, if any. */
export function leave() {
  if (held) show(held.span);
  else at("detail").hidden = true;
}

/** Closes the panel; who was in it is back at the words. */
export function close() {
  const inside = at("detail").contains(document.activeElement);
  const node = held?.node;
  node?.setAttribute("aria-pressed", "false");
  held = null;
  at("detail").hidden = true;
  if (inside && node?.isConnected) {
    node.dispatchEvent(new Event("quiet")); // this focus is no wish to know
    node.focus();
  }
}

at("close").addEventListener("click", close);
document.addEventListener("keydown", (event) => {
  if (event.key === "Escape") close();
});
