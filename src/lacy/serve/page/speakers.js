// Who speaks, and how that looks: each a colour and a line of its own, the same in all answers.

import { element } from "./dom.js";

const MARKS = ["a", "b", "c", "d"];
const marks = new Map(); // source -> its mark
let silent = false; // whether a call without an answer was seen on this page

export function markOf(name) {
  if (!marks.has(name)) marks.set(name, MARKS[marks.size % MARKS.length]);
  return marks.get(name);
}

/** Whether a source was asked and the model had to go on by itself. */
export const unanswered = (span) => span.asked && span.speaker === "slm";

export function lookOf(span) {
  if (span.speaker !== "slm") return markOf(span.speaker);
  silent ||= span.asked;
  return span.asked ? "silent" : "own";
}

export function nameOf(span) {
  if (span.speaker !== "slm") return span.speaker;
  if (span.fault) return "the model, after a call that failed";
  return span.asked ? "the model, after a call without an answer" : "the model";
}

/** A name in the look of its words. */
export const said = (mark, name) => element("span", { class: `said ${mark}` }, name);

/** All looks so far, as list items. */
export function legend() {
  const rows = [["prompt", "your beginning"], ["own", "the model"], ...[...marks].map(([name, mark]) => [mark, name])];
  if (silent) rows.push(["silent", "the model, after a call without an answer"]);
  return rows.map(([mark, name]) => element("li", {}, said(mark, name)));
}
