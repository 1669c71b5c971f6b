// Who can be asked, and how that has been going.

import { amount, at, element, pairs, time } from "./dom.js";
import { markOf, said } from "./speakers.js";

const known = (value, shown) => (value === null || value === undefined ? "–" : shown(value));

/** How a source is doing: the class of its light, and the words beside it. */
function stateOf(source) {
  if (source.resting) return ["resting", "resting after failures"];
  if (source.failing) return ["failing", "its last request failed"];
  return source.requests ? ["ready", "ready"] : ["unasked", "not asked yet"];
}

function card(source) {
  const [light, state] = stateOf(source);
  const head = element(
    "h3", {}, said(markOf(source.name), source.name), " ",
    element("span", { class: `state ${light}` }, state),
  );
  const place = [source.kind, source.where].filter((part) => part && part !== source.name).join(" · ");
  const timed = source.requests ? time : () => "–";
  const figures = pairs([
    ["requests", String(source.requests)],
    ["found", String(source.found)],
    ["not found", String(source.not_found)],
    ["failed", String(source.errors)],
    ["median", known(source.seconds_median, timed)],
    ["p95", known(source.seconds_p95, timed)],
    ["cost", known(source.cost, amount)],
  ]);
  return element("li", {}, head, element("p", {}, place), figures);
}

/** Draws the panel anew; a server that tells of none has none. */
export function draw(sources) {
  at("sources").hidden = !sources.length;
  at("cards").replaceChildren(...sources.map(card));
}
