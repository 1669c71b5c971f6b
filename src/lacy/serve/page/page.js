// The controls of the page. The key stays in its field: nothing is stored anywhere.

import * as address from "./address.js";
import { close } from "./detail.js";
import { at, element } from "./dom.js";
import { Pane } from "./pane.js";
import { draw } from "./sources.js";
import { legend, markOf } from "./speakers.js";
import { ask, chunks, Failure } from "./stream.js";

const RERUN = 300; // milliseconds that a control must rest before the answer is formed again

let server = null; // what /v1/lacy tells
let running = null; // AbortController of what is being written
let last = null; // how the last answers were asked for
let timer = 0; // of the next writing
let waiting = 0; // of the end of a refusal

function say(text) {
  at("status").textContent = text;
}

function complain(error) {
  const problem = at("problem");
  say("");
  if (error.status === 401) {
    at("key-row").hidden = false;
    problem.textContent = at("key").value ? "This key is not valid." : "This server asks for an API key.";
    at("key").focus();
  } else if (error.retry) {
    problem.textContent = `Not now: ${error.message}. Come back in ${error.retry} s.`;
    waiting = setTimeout(() => {
      problem.textContent = "";
      say("It may be tried again now.");
    }, 1000 * error.retry);
  } else {
    problem.textContent = error instanceof Failure ? `No answer: ${error.message}` : String(error);
  }
}

async function look() {
  server = await (await ask("/v1/lacy", at("key").value)).json();
  for (const source of server.sources ?? []) markOf(source.name);
  draw(server.sources ?? []);
}

async function meet() {
  await look();
  at("problem").textContent = "";
  at("model").textContent = `This one is ${server.model}.`;
  at("default").textContent = `(${meaning(server.policy)})`;
  offer();
  at("picks").hidden = !server.prompts.length;
  at("picks").replaceChildren(...server.prompts.map(pick));
  if (!at("prompt").value && server.prompts.length) at("prompt").value = server.prompts[0];
}

const MEANINGS = { "threshold=0": "where it wants: threshold=0", never: "never" };

const meaning = (how) => MEANINGS[how] ?? how;

function pick(prompt) {
  const button = element("button", { type: "button" }, prompt.trim());
  button.addEventListener("click", () => begin(prompt));
  return button;
}

function policy() {
  const chosen = at("form").elements.policy.value;
  return chosen === "budget" ? `budget=${Number(at("budget").value)}` : chosen;
}

function share() {
  at("share").textContent = `${Math.round(100 * at("budget").value)}%`;
}

const single = () => [["Answer", policy()]];

const beside = () => [
  ["Alone", "never"],
  [`lacy: ${policy() || server.policy}`, policy()],
  ["Calls anywhere allowed", "always"],
];

/** The policies of the page that are not the server's own, which is offered already. */
function offer() {
  for (const radio of at("form").elements.policy) {
    radio.closest("label").hidden = Boolean(radio.value) && radio.value === server.policy;
  }
  choose(at("form").elements.policy.value);
}

function choose(value) {
  const radios = [...at("form").elements.policy];
  const radio = radios.find((one) => one.value === value && !one.closest("label").hidden);
  const known = radios.some((one) => one.value === value);
  if (radio ?? known) (radio ?? radios[0]).checked = true;
}

/** Sets the controls as the address has them. Nothing is asked: to open a link costs nothing. */
function restore() {
  const view = address.read();
  if (!view.prompt) return;
  at("prompt").value = view.prompt;
  const [name, value] = view.policy.split("=");
  const chosen = name === "budget" ? name : view.policy;
  if (name === "budget") at("budget").value = value;
  choose(chosen);
  share();
  const how = view.beside ? "Side by side" : "Write";
  say(`From the address; “${how}” forms ${view.beside ? "these answers" : "this answer"}.`);
}

/** Streams one answer into its pane; gives what it took as a sentence. */
async function stream(pane, prompt, how, signal, shown) {
  const body = { model: server.model, prompt, stream: true, stream_options: { include_usage: true } };
  if (how) body.lacy = { policy: how };
  const ended = { policy: "", read: 0, finish: "", hint: "" };
  for await (const chunk of chunks(await ask("/v1/completions", at("key").value, body, signal))) {
    shown();
    for (const choice of chunk.choices) {
      pane.add(choice.lacy.spans);
      ended.policy ||= choice.lacy.policy ?? "";
      ended.hint ||= choice.lacy.hint ?? "";
      ended.finish ||= choice.finish_reason ?? "";
    }
    ended.read = chunk.usage?.prompt_tokens ?? ended.read;
  }
  return pane.end(ended, "", server.sources ?? []);
}

/** Runs one thing at a time: what is being written ends, what fails is said. */
async function busy(work) {
  running?.abort();
  clearTimeout(timer);
  clearTimeout(waiting);
  const mine = (running = new AbortController());
  at("problem").textContent = "";
  close();
  const job = { signal: mine.signal, pane: null };
  try {
    if (!server) await meet();
    if (running !== mine) return;
    at("stop").disabled = false;
    say(`Done. ${await work(job)}`);
    await look().catch(() => {}); // figures of the sources: the answer stands without them
  } catch (error) {
    const stopped = error.name === "AbortError";
    if (stopped && running !== mine) return; // another one has begun
    if (job.pane?.root.isConnected) job.pane.end(null, stopped ? "stopped" : "broken off", []);
    else if (!stopped && at("answers").classList.contains("old")) empty(); // it answers another question
    at("answers").classList.remove("old");
    if (stopped) say("Stopped.");
    else complain(error);
  } finally {
    if (running === mine) rest();
  }
}

function empty() {
  at("answers").replaceChildren();
  at("legend").hidden = true;
}

/** One answer after the other, so that none takes another's time. */
function write(plan) {
  const prompt = at("prompt").value;
  address.keep({ prompt, policy: policy(), beside: plan === beside });
  return busy(async (job) => {
    last = plan;
    const told = [];
    const wanted = plan();
    say(wanted.length > 1 ? `Writing ${wanted.length} answers …` : "Writing …");
    at("answers").classList.add("old"); // until there is something new
    for (const [n, [title, how]] of wanted.entries()) {
      const pane = (job.pane = new Pane(title, prompt, { tell: say, more: (it) => writeOn(it, how), begin }));
      const shown = () => pane.root.isConnected || show(pane, n === 0);
      const took = await stream(pane, prompt, how, job.signal, shown);
      told.push(wanted.length > 1 ? `${title}: ${took}` : took);
      at("legend").replaceChildren(...legend());
    }
    return told.join(" ");
  });
}

/** Goes on where an answer was cut off. */
const writeOn = (pane, how) =>
  busy(async (job) => {
    job.pane = pane;
    say("Writing on …");
    const words = pane.words;
    pane.resume();
    const took = await stream(pane, words, how, job.signal, () => {});
    at("legend").replaceChildren(...legend());
    return took;
  });

/** Writes from another beginning. */
function begin(prompt) {
  at("prompt").value = prompt;
  write(single);
}

function show(pane, alone) {
  if (alone) at("answers").replaceChildren();
  at("answers").classList.remove("old");
  at("answers").append(pane.root);
  at("legend").hidden = false;
  at("legend").replaceChildren(...legend());
}

/** Nothing is being written any more. */
function rest() {
  running = null;
  if (document.activeElement === at("stop")) at("write").focus();
  at("stop").disabled = true;
}

/** Forms the answer again where there is one, once the controls rest. */
function again() {
  clearTimeout(timer);
  if (!last) return;
  running?.abort();
  running = null;
  timer = setTimeout(() => write(last), RERUN);
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
at("beside").addEventListener("click", () => write(beside));
at("stop").addEventListener("click", () => {
  clearTimeout(timer);
  if (running) return running.abort();
  say("Stopped."); // between two writings
  rest();
});
at("budget").addEventListener("input", () => {
  at("form").elements.policy.value = "budget";
  share();
});
at("when").addEventListener("input", again);
addEventListener("hashchange", restore);

restore();
meet().catch(complain);
