// Who speaks, and how that looks: each a colour and a line of its own, the same in all answers.

import { element } from "./dom.js";

const MARKS = ["source-1", "source-2", "source-3", "source-4"];
const marks = new Map(); // source -> its mark
let guessed = false; // whether a call that found nothing was seen on this page

export function markOf(name) {
  if (!marks.has(name)) marks.set(name, MARKS[marks.size % MARKS.length]);
  return marks.get(name);
}

/** Whether a source was asked and the model had to go on by itself. */
export const unanswered = (span) => span.asked && span.speaker === "slm";

export function lookOf(span) {
  if (span.speaker !== "slm") return markOf(span.speaker);
  guessed ||= span.asked;
  return span.asked ? "guess" : "own";
}

export function nameOf(span) {
  if (span.speaker !== "slm") return span.speaker;
  if (span.fault) return "the model: a guess, after a call that failed";
  return span.asked ? "the model: a guess, after a call that found nothing" : "the model";
}

/** A name in the look of its words. */
export const said = (mark, name) => element("span", { class: `said ${mark}` }, name);

/** All looks so far, as list items. */
export function legend() {
  const rows = [["prompt", "your beginning"], ["own", "the model"], ...[...marks].map(([name, mark]) => [mark, name])];
  if (guessed) rows.push(["guess", "a guess of the model, after a call that found nothing"]);
  return rows.map(([mark, name]) => element("li", {}, said(mark, name)));
}
