// Users' verdicts: right or wrong, on a part of an answer or on all of it. Shown only if the server keeps them.

import { byId, element } from "./dom.js";
import { ask } from "./stream.js";

const form = byId("judge");
let active = false;
let part = null; // the part of an answer that the form is about: { span, node, from, to }

/** Returns the number of characters of a text as the server counts them. */
export const characters = (text) => [...text].length;

/** Shows the controls if the server keeps verdicts. */
export function allow(feedback) {
  active = feedback;
  if (!active) form.hidden = true;
}

/** Sends a verdict, and says in `output` whether it is kept. */
async function send(body, output) {
  output.textContent = "…";
  try {
    await ask("/v1/feedback", byId("key").value, body);
    output.textContent = "Thank you; kept.";
  } catch (error) {
    output.textContent = `Not kept: ${error.message}`;
  }
}

/** Returns the selected characters of a node as offsets; null if the selection is elsewhere. */
function selectedIn(node) {
  const selection = getSelection();
  const inside = (end) => end && (end === node || end.parentNode === node);
  if (!inside(selection?.anchorNode) || !inside(selection?.focusNode)) return null;
  const offsets = [selection.anchorOffset, selection.focusOffset].sort((a, b) => a - b);
  if (selection.isCollapsed || selection.anchorNode === node || selection.focusNode === node) return [0, 0];
  return offsets;
}

function showPart(from, to) {
  const text = part.node.textContent;
  Object.assign(part, to > from ? { from, to } : { from: 0, to: text.length });
  const words = text.slice(part.from, part.to).trim();
  byId("judged-part").textContent = words.length > 60 ? `${words.slice(0, 59)}…` : words;
  byId("judged").textContent = "";
}

/** Offers a verdict on a part of an answer; `node` shows its text without a call's leading space. */
export function offer(span, node) {
  form.hidden = !active || !span.id || !node.textContent.trim();
  if (form.hidden) return;
  part = { span, node };
  byId("correct").value = "";
  showPart(...(selectedIn(node) ?? [0, 0]));
}

function judge(verdict) {
  const { span, node, from, to } = part;
  const begin = span.at + characters(span.text) - characters(node.textContent);
  const text = node.textContent;
  const start = begin + characters(text.slice(0, from));
  const body = { id: span.id, start, end: begin + characters(text.slice(0, to)), verdict };
  const correct = byId("correct").value.trim();
  if (correct && verdict === "wrong") body.correct = correct;
  return send(body, byId("judged"));
}

/** Returns the controls for a whole answer; `id` returns its id. */
export function answerControls(id) {
  if (!active) return [];
  const output = element("output", { class: "judged" });
  const button = (verdict, label) => {
    const made = element("button", { type: "button", class: "copy", "aria-label": `The answer is ${verdict}` }, label);
    made.addEventListener("click", () => send({ id: id(), verdict }, output));
    return made;
  };
  return [output, button("right", "👍"), button("wrong", "👎")];
}

document.addEventListener("selectionchange", () => {
  if (form.hidden || !part) return;
  const offsets = selectedIn(part.node);
  if (offsets) showPart(...offsets);
});
form.addEventListener("submit", (event) => event.preventDefault());
byId("wrong").addEventListener("click", () => judge("wrong"));
byId("right").addEventListener("click", () => judge("right"));
