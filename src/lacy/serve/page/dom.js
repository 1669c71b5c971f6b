// Helpers that create elements and format numbers.

export const byId = (id) => document.getElementById(id);

export function element(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.append(...children);
  return made;
}

/** Returns a definition list of pairs [term, definition]. */
export function definitions(rows) {
  const row = ([term, what]) => element("div", {}, element("dt", {}, term), element("dd", {}, what));
  return element("dl", {}, ...rows.map(row));
}

export const amount = (value) => String(Number(value.toPrecision(3)));

export const percent = (part, whole) => `${Math.round((100 * part) / (whole || 1))}%`;

export function time(seconds) {
  if (seconds >= 9.995) return `${Math.round(seconds)} s`;
  if (seconds >= 0.9995) return `${seconds.toFixed(1)} s`;
  const ms = 1000 * seconds;
  return `${ms && ms < 10 ? Number(ms.toPrecision(2)) : Math.round(ms)} ms`;
}

export const plural = (n, what) => `${n} ${what}${n === 1 ? "" : "s"}`;
