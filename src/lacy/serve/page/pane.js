// One answer on the page: its words by speaker, and its receipt.

import { leave, point } from "./detail.js";
import { count, element } from "./dom.js";
import { receipt, sentence, sums } from "./receipt.js";
import { lookOf, nameOf, unanswered } from "./speakers.js";
import { GuessTracker } from "./guesses.js";

/** The space before a call's words, which is not underlined; a call without words keeps a place. */
function before(text) {
  return text.trim() ? text.slice(0, text.length - text.trimStart().length) : "";
}

/** Why a call brought nothing: what follows the reason for calling, without figures to compare. */
const blame = (span) =>
  (span.reason.split("; ").slice(1).join("; ") || span.reason).replace(/ \([^()]*[<>][^()]*\)/g, "");

/** Calls that brought nothing, in one sentence with the reasons; numbers make no other reason. */
function notice(spans, calls, what) {
  const reasons = new Map(spans.map(blame).map((why) => [why.replace(/[\d.]+/g, "#"), why]));
  const head = element("strong", {}, `${spans.length} of ${count(calls, "call")} ${what}`);
  return element("p", { class: `notice ${what}` }, head, `: ${[...reasons.values()].slice(0, 3).join("; ")}. `
    + "The words marked as guesses are the model's own: check them.");
}

export class Pane {
  /** `tell` puts a sentence into the status line; `more` writes on, `begin` with another prompt. */
  constructor(title, prompt, { tell, more, begin }) {
    this.prompt = prompt;
    this.tell = tell;
    this.more = more;
    this.restart = begin;
    this.guesses = new GuessTracker();
    this.spans = [];
    this.nodes = [];
    this.first = null;
    this.begin = performance.now();
    const label = `${title}: words; arrow keys go through them`;
    this.text = element("p", { class: "text", role: "group", "aria-label": label, "aria-busy": "true" });
    this.text.append(element("span", { class: "prompt" }, prompt));
    this.text.addEventListener("keydown", (event) => this.walk(event));
    this.text.addEventListener("mouseleave", leave);
    this.notice = element("div");
    this.receipt = element("div", { class: "receipt" });
    this.copy = element("button", { type: "button", class: "copy", "aria-label": `Copy: ${title}` }, "Copy");
    this.copy.addEventListener("click", () => this.copied());
    this.copy.hidden = true;
    const head = element("header", {}, element("h2", {}, title), this.copy);
    const words = element("div", { class: "words" }, this.text, this.notice);
    this.root = element("article", { class: "pane" }, head, element("div", { class: "inside" }, words, this.receipt));
  }

  add(pieces) {
    for (const piece of pieces) {
      if (this.first === null && piece.text) this.first = this.seconds;
      const parts = this.guesses.split(piece);
      for (const [n, [text, guess]] of parts.entries()) {
        this.put({ ...piece, text, tokens: n ? 0 : piece.tokens, asked: piece.asked && !n }, guess);
      }
    }
  }

  /** Words join those before them where both are the model's own and both guesses or neither. */
  put(piece, guess) {
    const last = this.spans.at(-1);
    if (last && !piece.asked && piece.speaker === "slm" && last.speaker === "slm" && last.asked === guess) {
      last.text += piece.text;
      last.tokens += piece.tokens;
      this.label(this.nodes.at(-1), last);
    } else {
      this.open(piece);
    }
  }

  /** The whole text: what a request to write on continues. */
  get words() {
    return this.prompt + this.spans.map((span) => span.text).join("");
  }

  get seconds() {
    return (performance.now() - this.begin) / 1000;
  }

  open(span) {
    const node = element("span", {
      role: "button", "aria-pressed": "false", "aria-describedby": "about", class: `said ${lookOf(span)}`,
    });
    let quiet = false;
    node.tabIndex = this.nodes.length ? -1 : 0; // one tab stop per answer, arrows within it
    this.label(node, span);
    node.addEventListener("mouseenter", () => point(span, node, false));
    node.addEventListener("quiet", () => (quiet = true));
    node.addEventListener("focus", () => {
      this.reach(node);
      if (!quiet) point(span, node, true);
      quiet = false;
    });
    node.addEventListener("click", () => {
      node.focus();
      point(span, node, true);
    });
    node.addEventListener("keydown", (event) => {
      if (event.key !== "Enter" && event.key !== " ") return;
      event.preventDefault();
      point(span, node, true);
    });
    this.spans.push(span);
    this.nodes.push(node);
    this.text.append(span.asked ? before(span.text) : "", node);
  }

  label(node, span) {
    node.textContent = span.asked ? span.text.slice(before(span.text).length) : span.text;
    node.setAttribute("aria-label", `${nameOf(span)}: ${span.text.trim() || "no words"}`);
  }

  /** Makes words the one tab stop of the answer. */
  reach(node) {
    for (const other of this.nodes) other.tabIndex = other === node ? 0 : -1;
  }

  walk(event) {
    const here = this.nodes.indexOf(document.activeElement);
    const last = this.nodes.length - 1;
    const step = { ArrowRight: here + 1, ArrowLeft: here - 1, Home: 0, End: last }[event.key];
    if (step === undefined || here < 0) return;
    event.preventDefault();
    this.nodes[Math.max(0, Math.min(last, step))].focus();
  }

  /** Without the right to the clipboard (a page over plain HTTP) the words are selected instead. */
  async copied() {
    try {
      await navigator.clipboard.writeText(this.words);
      this.tell("Copied.");
    } catch {
      getSelection().selectAllChildren(this.text);
      this.tell("Selected: copy it with the keyboard.");
    }
  }

  /** Says which calls brought nothing, and why. */
  degraded() {
    const calls = this.spans.filter((span) => span.asked).length;
    const missing = this.spans.filter(unanswered);
    const kinds = [["failed", missing.filter((span) => span.fault)], ["unanswered", missing.filter((span) => !span.fault)]];
    const said = kinds.filter(([, spans]) => spans.length).map(([what, spans]) => notice(spans, calls, what));
    this.notice.replaceChildren(...said);
  }

  /** Says that the answer was cut off at its limit, and that a question is no beginning. */
  advise({ finish, hint }) {
    if (finish === "length") {
      const button = element("button", { type: "button", class: "more" }, "Write on");
      button.addEventListener("click", () => this.more(this));
      this.notice.append(element("p", { class: "notice cut" }, "Cut off at the limit of tokens. ", button));
    }
    if (!hint) return;
    const note = element("p", { class: "notice hint" }, hint);
    const start = hint.match(/“([^”]+)”\.$/)?.[1];
    if (start) {
      const button = element("button", { type: "button", class: "more" }, `Begin with “${start}”`);
      button.addEventListener("click", () => this.restart(start));
      note.append(" ", button);
    }
    this.notice.append(note);
  }

  /** Goes on writing behind the words that are there. */
  resume() {
    this.begin = performance.now() - 1000 * this.whole;
    this.text.setAttribute("aria-busy", "true");
    this.notice.replaceChildren();
  }

  /** Draws what it took; `ended` has `read` (tokens of the prompt), null where it was cut off by `why`. */
  end(ended, why, sources) {
    const sum = sums(this.spans);
    const whole = (this.whole = this.seconds);
    this.text.setAttribute("aria-busy", "false");
    this.copy.hidden = false;
    this.degraded();
    if (ended) this.advise(ended);
    const title = `Receipt (${ended ? ended.policy : why})`;
    this.receipt.replaceChildren(...receipt(sum, { first: this.first, whole, ended, title, sources }));
    return sentence(sum, whole);
  }
}
