// One answer on the page: its words by speaker, and its receipt.

const MARKS = ["a", "b", "c", "d"];
const marks = new Map(); // source -> its colour and line, the same in all answers

export function element(tag, attributes = {}, ...inside) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.append(...inside);
  return made;
}

/** The look of a span: own words, a source's, or own words because a source had no answer. */
function markOf(span) {
  if (span.speaker === "slm") return span.asked ? "silent" : "own";
  if (!marks.has(span.speaker)) marks.set(span.speaker, MARKS[marks.size % MARKS.length]);
  return marks.get(span.speaker);
}

/** The space before a call's words, which is not underlined; a call without words keeps a place. */
function before(text) {
  return text.trim() ? text.slice(0, text.length - text.trimStart().length) : "";
}

export function nameOf(span) {
  if (span.speaker !== "slm") return span.speaker;
  return span.asked ? "the model, after a call without an answer" : "the model";
}

/** Legend entries of all looks seen so far, as list items. */
export function legend(silent) {
  const rows = [["own", "the model"], ...[...marks].map(([name, mark]) => [mark, name])];
  if (silent) rows.push(["silent", "the model, after a call without an answer"]);
  return rows.map(([mark, name]) => element("li", {}, element("span", { class: `said ${mark}` }, name)));
}

export class Pane {
  /** `point(span, node, firm)` is told which words are hovered (firm: focused or tapped). */
  constructor(title, prompt, point) {
    this.point = point;
    this.spans = [];
    this.nodes = [];
    this.first = null;
    const label = `${title}: words; arrow keys go through them`;
    this.text = element("p", { class: "text", role: "group", "aria-label": label, "aria-busy": "true" });
    this.text.append(element("span", { class: "prompt" }, prompt));
    this.receipt = element("div");
    this.root = element("article", { class: "pane" }, element("h2", {}, title), this.text, this.receipt);
    this.text.addEventListener("keydown", (event) => this.walk(event));
    this.begin = performance.now();
  }

  get silent() {
    return this.spans.some((span) => span.asked && span.speaker === "slm");
  }

  add(pieces) {
    for (const piece of pieces) {
      if (this.first === null && piece.text) this.first = performance.now() - this.begin;
      const last = this.spans.at(-1);
      if (last && !last.asked && !piece.asked) {
        last.text += piece.text;
        last.tokens += piece.tokens;
        this.label(this.nodes.at(-1), last);
      } else {
        this.open({ ...piece });
      }
    }
  }

  open(span) {
    const node = element("span", { role: "button", "aria-pressed": "false", class: `said ${markOf(span)}` });
    node.tabIndex = this.nodes.length ? -1 : 0; // one tab stop per answer, arrows within it
    this.label(node, span);
    node.addEventListener("mouseenter", () => this.point(span, node, false));
    node.addEventListener("focus", () => this.point(span, node, true));
    node.addEventListener("click", () => node.focus());
    this.spans.push(span);
    this.nodes.push(node);
    this.text.append(span.asked ? before(span.text) : "", node);
  }

  label(node, span) {
    node.textContent = span.asked ? span.text.slice(before(span.text).length) : span.text;
    node.setAttribute("aria-label", `${nameOf(span)}: ${span.text.trim() || "no words"}`);
  }

  walk(event) {
    const here = this.nodes.indexOf(document.activeElement);
    const last = this.nodes.length - 1;
    const step = { ArrowRight: here + 1, ArrowLeft: here - 1, Home: 0, End: last }[event.key];
    if (step === undefined || here < 0) return;
    event.preventDefault();
    const next = this.nodes[Math.max(0, Math.min(last, step))];
    this.nodes[here].tabIndex = -1;
    next.tabIndex = 0;
    next.focus();
  }

  /** Draws the receipt; gives it as one sentence, too. */
  end(account) {
    this.text.setAttribute("aria-busy", "false");
    const whole = performance.now() - this.begin;
    const tokens = new Map();
    for (const span of this.spans) {
      const name = span.speaker === "slm" ? "the model" : span.speaker;
      tokens.set(name, (tokens.get(name) ?? 0) + span.tokens);
    }
    const total = [...tokens.values()].reduce((sum, n) => sum + n, 0);
    const asked = this.spans.filter((span) => span.asked);
    const cost = asked.reduce((sum, span) => sum + span.cost, 0);
    const rows = [...tokens].map(([name, n]) => [name, `${n} tokens`, `${Math.round((100 * n) / (total || 1))}%`]);
    rows.push(["calls", String(asked.length), ""]);
    rows.push(["cost", String(Number(cost.toPrecision(4))), ""]);
    rows.push(["first words", this.first === null ? "–" : `${Math.round(this.first)} ms`, ""]);
    rows.push(["all", `${Math.round(whole)} ms`, ""]);
    const body = element("tbody");
    for (const [head, ...cells] of rows) {
      body.append(element("tr", {}, element("th", { scope: "row" }, head), ...cells.map((c) => element("td", {}, c))));
    }
    const caption = element("caption", {}, account ? `Receipt (${account.policy})` : "Receipt (stopped)");
    this.receipt.replaceChildren(element("table", {}, caption, body));
    const parts = [...tokens].map(([name, n]) => `${n} by ${name}`).join(", ");
    return `${total} tokens${parts ? ` (${parts})` : ""}, ${asked.length} calls, ${Math.round(whole)} ms.`;
  }
}
