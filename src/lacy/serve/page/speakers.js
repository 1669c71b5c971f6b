// The styles of speakers: a colour and an underline for each, the same in all answers.

import { element } from "./dom.js";

const CLASSES = ["source-1", "source-2", "source-3", "source-4"];
const classes = new Map(); // CSS class by source
let guessed = false; // true if the page shows a guess

export function sourceClass(name) {
  if (!classes.has(name)) classes.set(name, CLASSES[classes.size % CLASSES.length]);
  return classes.get(name);
}

/** Returns true if a call found nothing, so that the model continued alone. */
export const unanswered = (span) => span.asked && span.speaker === "slm";

export function spanClass(span) {
  if (span.speaker !== "slm") return sourceClass(span.speaker);
  guessed ||= span.asked;
  return span.asked ? "guess" : "own";
}

export function speakerName(span) {
  if (span.speaker !== "slm") return span.speaker;
  if (span.fault) return "the model: a guess after a call that failed";
  return span.asked ? "the model: a guess after a call that found nothing" : "the model";
}

/** Returns an element with a name in the style of its speaker. */
export const styledName = (style, name) => element("span", { class: `segment ${style}` }, name);

/** Returns the list items of the legend, one per style used so far. */
export function legend() {
  const rows = [["prompt", "your prompt"], ["own", "the model"], ...[...classes].map(([name, style]) => [style, name])];
  if (guessed) rows.push(["guess", "a guess of the model after a call that found nothing"]);
  return rows.map(([style, name]) => element("li", {}, styledName(style, name)));
}
