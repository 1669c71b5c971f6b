// The controls of the page. The key stays in its field: nothing is stored anywhere.

import { ask, choices, Failure } from "./stream.js";
import { element, legend, nameOf, Pane } from "./pane.js";

const at = (id) => document.getElementById(id);
const RERUN = 300; // milliseconds that a control must rest before the answer is formed again

let server = null; // what /v1/lacy tells
let running = null; // AbortController of what is being written
let last = null; // how the last answers were asked for
let held = null; // the words whose details stay
let timer = 0;

function say(text) {
  at("status").textContent = text;
}

function complain(error) {
  if (error.status === 401) {
    at("key-row").hidden = false;
    at("key").focus();
    say("");
    at("problem").textContent = at("key").value ? "This key is not valid." : "This server asks for an API key.";
    return;
  }
  say("");
  at("problem").textContent = error instanceof Failure ? `No answer: ${error.message}.` : String(error);
}

async function meet() {
  const told = await ask("/v1/lacy", at("key").value);
  server = await told.json();
  at("problem").textContent = "";
  at("model").textContent = `This one is ${server.model}.`;
  at("default").textContent = `(${server.policy})`;
  at("picks").hidden = !server.prompts.length;
  at("picks").replaceChildren(...server.prompts.map(pick));
  if (!at("prompt").value && server.prompts.length) at("prompt").value = server.prompts[0];
}

function pick(prompt) {
  const button = element("button", { type: "button" }, prompt.trim());
  button.addEventListener("click", () => {
    at("prompt").value = prompt;
    write(single);
  });
  return button;
}

function policy() {
  const chosen = at("form").elements.policy.value;
  return chosen === "budget" ? `budget=${Number(at("budget").value)}` : chosen;
}

const single = () => [["Answer", policy()]];

const beside = () => [
  ["Alone", "never"],
  ["Calls anywhere allowed", "always"],
  [`lacy: ${policy() || server.policy}`, policy()],
];

function point(span, node, firm) {
  const rows = [
    ["Says", nameOf(span)],
    ["Why", span.reason || (span.asked ? "no reason given" : "no call was due here")],
    ["Evidence", span.evidence || "none"],
    ["Cost", `${Number(span.cost.toPrecision(4))}, ${Math.round(1000 * span.seconds)} ms`],
    ["Tokens", String(span.tokens)],
  ];
  if (firm) {
    held?.setAttribute("aria-pressed", "false");
    held = node;
    held.setAttribute("aria-pressed", "true");
  }
  const list = rows.flatMap(([term, what]) => [element("dt", {}, term), element("dd", {}, what)]);
  at("detail").replaceChildren(element("dl", {}, ...list));
  at("detail").hidden = false;
}

/** One answer after the other, so that none takes another's time. */
async function write(plan) {
  running?.abort();
  clearTimeout(timer);
  const mine = (running = new AbortController());
  const prompt = at("prompt").value;
  at("problem").textContent = "";
  at("detail").hidden = true;
  held = null;
  let pane = null;
  try {
    if (!server) await meet();
    last = plan;
    const told = [];
    at("stop").disabled = false;
    at("answers").replaceChildren();
    for (const [title, how] of plan()) {
      say(`Writing: ${title} …`);
      pane = new Pane(title, prompt, point);
      at("answers").append(pane.root);
      const lacy = how ? { policy: how } : {};
      const body = { model: server.model, prompt, stream: true, lacy };
      let account = null;
      for await (const choice of choices(await ask("/v1/completions", at("key").value, body, mine.signal))) {
        pane.add(choice.lacy.spans);
        account = choice.finish_reason ? choice.lacy : account;
      }
      told.push(`${title}: ${pane.end(account)}`);
      show();
    }
    say(told.join(" "));
  } catch (error) {
    pane?.end(null);
    if (error.name !== "AbortError") complain(error);
    else if (running === mine) say("Stopped.");
  } finally {
    if (running === mine) {
      running = null;
      at("stop").disabled = true;
    }
  }
}

let silent = false; // whether a call without an answer was seen on this page

function show() {
  silent ||= [...at("answers").querySelectorAll(".silent")].length > 0;
  at("legend").hidden = false;
  at("legend").replaceChildren(...legend(silent));
}

/** Forms the answer again where there is one, once the controls rest. */
function again() {
  clearTimeout(timer);
  if (last) timer = setTimeout(() => write(last), RERUN);
}

at("form").addEventListener("submit", (event) => {
  event.preventDefault();
  write(single);
});
at("prompt").addEventListener("keydown", (event) => {
  if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
  event.preventDefault();
  write(single);
});
document.addEventListener("keydown", (event) => {
  if (event.key === "Escape") at("detail").hidden = true;
});
at("beside").addEventListener("click", () => write(beside));
at("stop").addEventListener("click", () => running?.abort());
at("budget").addEventListener("input", () => {
  at("form").elements.policy.value = "budget";
  at("share").textContent = `${Math.round(100 * at("budget").value)}%`;
});
at("when").addEventListener("change", again);

meet().catch(complain);
