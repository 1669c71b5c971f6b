// The panel that shows the sources and their status.

import { amount, byId, definitions, element, time } from "./dom.js";
import { sourceClass, styledName } from "./speakers.js";

const known = (value, shown) => (value === null || value === undefined ? "–" : shown(value));

/** Returns the CSS class and the description of a source's state. */
function stateOf(source) {
  if (source.resting) return ["resting", "resting after failures"];
  if (source.failing) return ["failing", "its last request failed"];
  return source.requests ? ["ready", "ready"] : ["unasked", "not asked yet"];
}

function card(source) {
  const [style, state] = stateOf(source);
  const head = element(
    "h3", {}, styledName(sourceClass(source.name), source.name), " ",
    element("span", { class: `state ${style}` }, state),
  );
  const place = [source.kind, source.where].filter((part) => part && part !== source.name).join(" · ");
  const timed = source.requests ? time : () => "–";
  const figures = definitions([
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

/** Draws the panel; without sources it is hidden. */
export function drawSources(sources) {
  byId("sources").hidden = !sources.length;
  byId("cards").replaceChildren(...sources.map(card));
}
