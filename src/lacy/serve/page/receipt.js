// The receipt of an answer: tokens by speaker, calls, cost and time.

import { amount, element, percent, plural, time } from "./dom.js";
import { sourceClass, styledName, unanswered } from "./speakers.js";

const SVG = "http://www.w3.org/2000/svg";
const MODEL = "the model";

/** Returns totals over the spans of an answer. */
export function summarize(spans) {
  const tokens = new Map([["slm", 0]]);
  for (const span of spans) tokens.set(span.speaker, (tokens.get(span.speaker) ?? 0) + span.tokens);
  const asked = spans.filter((span) => span.asked);
  return {
    by: [...tokens].map(([name, n]) => (name === "slm" ? ["own", MODEL, n] : [sourceClass(name), name, n])),
    tokens: [...tokens.values()].reduce((sum, n) => sum + n, 0),
    calls: asked.length,
    unanswered: asked.filter(unanswered).length,
    failed: asked.filter((span) => span.fault).length,
    cost: asked.reduce((sum, span) => sum + span.cost, 0),
  };
}

/** Returns the totals as a sentence, for the status line. */
export function asSentence(sum, seconds) {
  const failed = sum.failed ? ` (${sum.failed} failed)` : "";
  const missing = sum.unanswered ? `, ${sum.unanswered} without an answer${failed}` : "";
  return `${plural(sum.tokens, "token")}, ${plural(sum.calls, "call")}${missing}, ${time(seconds)}.`;
}

/** Draws each speaker's share of the tokens as a bar; the table below has the same numbers. */
function bar(sum) {
  const drawing = document.createElementNS(SVG, "svg");
  drawing.setAttribute("class", "bar");
  drawing.setAttribute("aria-hidden", "true");
  let from = 0;
  for (const [mark, , n] of sum.by) {
    const line = document.createElementNS(SVG, "line");
    const to = from + (100 * n) / (sum.tokens || 1);
    const places = { class: mark, x1: `${from}%`, x2: `${to}%`, y1: "50%", y2: "50%" };
    for (const [name, value] of Object.entries(places)) line.setAttribute(name, value);
    if (n) drawing.append(line);
    from = to;
  }
  return drawing;
}

const priced = (source) => source.price && source.price.input + source.price.output > 0;

/** Returns table rows and explanations: what each source with a price would cost if it wrote everything. */
function costWithoutDelegation(sum, read, sources) {
  const known = sources.filter(priced);
  if (!known.length) {
    const own = percent(sum.by[0][2], sum.tokens);
    const why = "No source here has a price per token. The model itself wrote this share of the text, "
      + "so a larger model did not have to.";
    return { paid: "", rows: [["written by itself", own, ""]], why: [why] };
  }
  const all = known.map(({ name, price }) => {
    const cost = (read * price.input + sum.tokens * price.output) / 1e6;
    const why = `Without delegation, ${name} would read the prompt (${plural(read, "token")}, ${amount(price.input)} per million) `
      + `and write the whole answer (${plural(sum.tokens, "token")}, ${amount(price.output)} per million) = ${amount(cost)}. `
      + "Tokens are those of the small model.";
    return { name, cost, why };
  });
  return {
    paid: percent(sum.cost, all[0].cost),
    rows: all.map(({ name, cost }, n) => [`all by ${name}`, amount(cost), n ? "" : "100%"]),
    why: all.map(({ why }) => why),
  };
}

/** Returns the elements of the receipt; `ended` is null if the answer broke off. */
export function receipt(sum, { first, whole, ended, title, sources }) {
  const rows = sum.by.map(([mark, name, n]) => [styledName(mark, name), plural(n, "token"), percent(n, sum.tokens)]);
  rows.push(["calls", String(sum.calls), ""]);
  if (sum.unanswered) rows.push(["unanswered", String(sum.unanswered), percent(sum.unanswered, sum.calls)]);
  const other = ended ? costWithoutDelegation(sum, ended.read, sources) : { paid: "", rows: [], why: [] };
  rows.push(["paid", amount(sum.cost), other.paid], ...other.rows);
  rows.push(["first text", first === null ? "–" : time(first), ""], ["all text", time(whole), ""]);
  const row = ([head, ...cells]) =>
    element("tr", {}, element("th", { scope: "row" }, head), ...cells.map((cell) => element("td", {}, cell)));
  const caption = element("caption", {}, title);
  const body = element("tbody", {}, ...rows.map(row));
  const parts = [bar(sum), element("table", {}, caption, body)];
  if (other.why.length) {
    const how = other.why.map((text) => element("p", {}, text));
    parts.push(element("details", {}, element("summary", {}, "How this is counted"), ...how));
  }
  return parts;
}
