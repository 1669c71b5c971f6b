// One answer on the page: its text, marked by speaker, and its receipt.

import { leave, point } from "./detail.js";
import { element, plural } from "./dom.js";
import { asSentence, receipt, summarize } from "./receipt.js";
import { spanClass, speakerName, unanswered } from "./speakers.js";
import { GuessTracker } from "./guesses.js";
import { answerControls, characters } from "./verdict.js";

/** Returns the leading space of a text; in the text of a call it is not underlined. */
function leadingSpace(text) {
  return text.trim() ? text.slice(0, text.length - text.trimStart().length) : "";
}

/** Returns why a call found nothing: the reason without its first part (why the model called) and scores. */
const missingReason = (span) =>
  (span.reason.split("; ").slice(1).join("; ") || span.reason).replace(/ \([^()]*[<>][^()]*\)/g, "");

/** Returns a notice about calls that found nothing; reasons that differ only in numbers are shown once. */
function notice(spans, calls, what) {
  const reasons = new Map(spans.map(missingReason).map((why) => [why.replace(/[\d.]+/g, "#"), why]));
  const head = element("strong", {}, `${spans.length} of ${plural(calls, "call")} ${what}`);
  return element("p", { class: `notice ${what}` }, head, `: ${[...reasons.values()].slice(0, 3).join("; ")}. `
    + "The words marked as guesses are the model's own; check them.");
}

export class Pane {
  /** `setStatus` sets the status line; `onContinue` continues this text; `onBegin` starts another prompt. */
  constructor(title, prompt, { setStatus, onContinue, onBegin }) {
    this.prompt = prompt;
    this.setStatus = setStatus;
    this.onContinue = onContinue;
    this.onBegin = onBegin;
    this.guesses = new GuessTracker();
    this.spans = [];
    this.nodes = [];
    this.first = null;
    this.id = ""; // of the response whose text is added
    this.at = 0; // number of its characters so far
    this.begin = performance.now();
    const label = `${title}: text; use the arrow keys to move through its parts`;
    this.text = element("p", { class: "text", role: "group", "aria-label": label, "aria-busy": "true" });
    this.text.append(element("span", { class: "prompt" }, prompt));
    this.text.addEventListener("keydown", (event) => this.walk(event));
    this.text.addEventListener("mouseleave", leave);
    this.notice = element("div");
    this.receipt = element("div", { class: "receipt" });
    this.copy = element("button", { type: "button", class: "copy", "aria-label": `Copy: ${title}` }, "Copy");
    this.copy.addEventListener("click", () => this.copied());
    this.copy.hidden = true;
    this.verdicts = element("span", { class: "verdicts" });
    this.verdicts.append(...answerControls(() => this.id));
    this.verdicts.hidden = true;
    const head = element("header", {}, element("h2", {}, title), this.verdicts, this.copy);
    const words = element("div", { class: "words" }, this.text, this.notice);
    this.root = element("article", { class: "pane" }, head, element("div", { class: "inside" }, words, this.receipt));
  }

  /** Adds spans of the response `id`; every part knows where it is in that response. */
  add(spans, id) {
    if (id !== this.id) Object.assign(this, { id, at: 0 });
    for (const span of spans) {
      if (this.first === null && span.text) this.first = this.seconds;
      const parts = this.guesses.split(span);
      for (const [n, [text, guess]] of parts.entries()) {
        const place = { id, at: this.at };
        this.put({ ...span, ...place, text, tokens: n ? 0 : span.tokens, asked: span.asked && !n }, guess);
        this.at += characters(text);
      }
    }
  }

  /** Adds a span; the model's own text is joined to its text before, unless just one of them is a guess. */
  put(span, guess) {
    const last = this.spans.at(-1);
    const own = last && !span.asked && span.speaker === "slm" && last.speaker === "slm";
    if (own && last.asked === guess && last.id === span.id) {
      last.text += span.text;
      last.tokens += span.tokens;
      this.label(this.nodes.at(-1), last);
    } else {
      this.open(span);
    }
  }

  /** The whole text, with the prompt. */
  get words() {
    return this.prompt + this.spans.map((span) => span.text).join("");
  }

  get seconds() {
    return (performance.now() - this.begin) / 1000;
  }

  open(span) {
    const node = element("span", {
      role: "button", "aria-pressed": "false", "aria-describedby": "about", class: `segment ${spanClass(span)}`,
    });
    let quiet = false;
    node.tabIndex = this.nodes.length ? -1 : 0; // one tab stop per answer; arrow keys move inside it
    this.label(node, span);
    node.addEventListener("mouseenter", () => point(span, node, false));
    node.addEventListener("quiet", () => (quiet = true));
    node.addEventListener("focus", () => {
      this.setTabStop(node);
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
    this.text.append(span.asked ? leadingSpace(span.text) : "", node);
  }

  label(node, span) {
    node.textContent = span.asked ? span.text.slice(leadingSpace(span.text).length) : span.text;
    node.setAttribute("aria-label", `${speakerName(span)}: ${span.text.trim() || "no words"}`);
  }

  /** Makes this part the only tab stop of the answer. */
  setTabStop(node) {
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

  /** Copies the text. Without access to the clipboard (over plain HTTP), selects the text instead. */
  async copied() {
    try {
      await navigator.clipboard.writeText(this.words);
      this.setStatus("Copied.");
    } catch {
      getSelection().selectAllChildren(this.text);
      this.setStatus("Selected the text; copy it with the keyboard.");
    }
  }

  /** Shows how many calls found nothing, and why. */
  showMissing() {
    const calls = this.spans.filter((span) => span.asked).length;
    const missing = this.spans.filter(unanswered);
    const kinds = [["failed", missing.filter((span) => span.fault)], ["unanswered", missing.filter((span) => !span.fault)]];
    const notices = kinds.filter(([, spans]) => spans.length).map(([what, spans]) => notice(spans, calls, what));
    this.notice.replaceChildren(...notices);
  }

  /** Shows that the answer was cut off, and a hint if the prompt is a question. */
  advise({ finish, hint }) {
    if (finish === "length") {
      const button = element("button", { type: "button", class: "more" }, "Continue");
      button.addEventListener("click", () => this.onContinue(this));
      this.notice.append(element("p", { class: "notice cut" }, "Cut off at the token limit. ", button));
    }
    if (!hint) return;
    const note = element("p", { class: "notice hint" }, hint);
    const start = hint.match(/“([^”]+)”\.$/)?.[1];
    if (start) {
      const button = element("button", { type: "button", class: "more" }, `Begin with “${start}”`);
      button.addEventListener("click", () => this.onBegin(start));
      note.append(" ", button);
    }
    this.notice.append(note);
  }

  /** Prepares for more text. */
  resume() {
    this.begin = performance.now() - 1000 * this.whole;
    this.text.setAttribute("aria-busy", "true");
    this.notice.replaceChildren();
  }

  /** Ends the answer and shows its receipt; `ended` is null if it broke off because of `why`. */
  end(ended, why, sources) {
    const sum = summarize(this.spans);
    const whole = (this.whole = this.seconds);
    this.text.setAttribute("aria-busy", "false");
    this.copy.hidden = this.verdicts.hidden = false;
    this.showMissing();
    if (ended) this.advise(ended);
    const title = `Receipt (${ended ? ended.policy : why})`;
    this.receipt.replaceChildren(...receipt(sum, { first: this.first, whole, ended, title, sources }));
    return asSentence(sum, whole);
  }
}
