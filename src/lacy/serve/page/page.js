// The controls of the page. The key stays in its field and is not stored.

import * as address from "./address.js";
import { close } from "./detail.js";
import { byId, element } from "./dom.js";
import { Pane } from "./pane.js";
import { drawSources } from "./sources.js";
import { legend, sourceClass } from "./speakers.js";
import { ask, chunks, Failure } from "./stream.js";

const RERUN_DELAY = 300; // milliseconds after the last change of a control

let server = null; // the response of /v1/lacy
let running = null; // AbortController of the current request
let last = null; // the plan of the last answers
let timer = 0; // timer of the next run
let waiting = 0; // timer until a refused request may be repeated

function say(text) {
  byId("status").textContent = text;
}

function complain(error) {
  const problem = byId("problem");
  say("");
  if (error.status === 401) {
    byId("key-row").hidden = false;
    problem.textContent = byId("key").value ? "This key is not valid." : "This server asks for an API key.";
    byId("key").focus();
  } else if (error.retry) {
    problem.textContent = `Refused: ${error.message}. Try again in ${error.retry} s.`;
    waiting = setTimeout(() => {
      problem.textContent = "";
      say("You can try again now.");
    }, 1000 * error.retry);
  } else {
    problem.textContent = error instanceof Failure ? `No answer: ${error.message}` : String(error);
  }
}

async function look() {
  server = await (await ask("/v1/lacy", byId("key").value)).json();
  for (const source of server.sources ?? []) sourceClass(source.name);
  drawSources(server.sources ?? []);
}

async function meet() {
  await look();
  byId("problem").textContent = "";
  byId("model").textContent = `The model is ${server.model}.`;
  byId("default").textContent = `(${meaning(server.policy)})`;
  offer();
  byId("picks").hidden = !server.prompts.length;
  byId("picks").replaceChildren(...server.prompts.map(pick));
  if (!byId("prompt").value && server.prompts.length) byId("prompt").value = server.prompts[0];
}

const MEANINGS = { "threshold=0": "where the model wants: threshold=0", never: "never" };

const meaning = (how) => MEANINGS[how] ?? how;

function pick(prompt) {
  const button = element("button", { type: "button" }, prompt.trim());
  button.addEventListener("click", () => begin(prompt));
  return button;
}

function policy() {
  const chosen = byId("form").elements.policy.value;
  return chosen === "budget" ? `budget=${Number(byId("budget").value)}` : chosen;
}

function share() {
  byId("share").textContent = `${Math.round(100 * byId("budget").value)}%`;
}

const single = () => [["Answer", policy()]];

const beside = () => [
  ["Alone", "never"],
  [`lacy: ${policy() || server.policy}`, policy()],
  ["Calls everywhere", "always"],
];

/** Hides the policy that is the server's default, which has a choice of its own. */
function offer() {
  for (const radio of byId("form").elements.policy) {
    radio.closest("label").hidden = Boolean(radio.value) && radio.value === server.policy;
  }
  choose(byId("form").elements.policy.value);
}

function choose(value) {
  const radios = [...byId("form").elements.policy];
  const radio = radios.find((one) => one.value === value && !one.closest("label").hidden);
  const known = radios.some((one) => one.value === value);
  if (radio ?? known) (radio ?? radios[0]).checked = true;
}

/** Sets the controls from the address. Nothing is generated: opening a link costs nothing. */
function restore() {
  const view = address.read();
  if (!view.prompt) return;
  byId("prompt").value = view.prompt;
  const [name, value] = view.policy.split("=");
  const chosen = name === "budget" ? name : view.policy;
  if (name === "budget") byId("budget").value = value;
  choose(chosen);
  share();
  const how = view.beside ? "Side by side" : "Write";
  say(`From the address; “${how}” generates ${view.beside ? "these answers" : "this answer"}.`);
}

/** Streams one answer into its pane; returns its token counts and time as a sentence. */
async function stream(pane, prompt, how, signal, shown) {
  const body = { model: server.model, prompt, stream: true, stream_options: { include_usage: true } };
  if (how) body.lacy = { policy: how };
  const ended = { policy: "", read: 0, finish: "", hint: "" };
  for await (const chunk of chunks(await ask("/v1/completions", byId("key").value, body, signal))) {
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

/** Runs one job at a time: ends the current one, and shows errors. */
async function busy(work) {
  running?.abort();
  clearTimeout(timer);
  clearTimeout(waiting);
  const mine = (running = new AbortController());
  byId("problem").textContent = "";
  close();
  const job = { signal: mine.signal, pane: null };
  try {
    if (!server) await meet();
    if (running !== mine) return;
    byId("stop").disabled = false;
    say(`Done. ${await work(job)}`);
    await look().catch(() => {}); // updates the sources; the answer does not need them
  } catch (error) {
    const stopped = error.name === "AbortError";
    if (stopped && running !== mine) return; // another job has started
    if (job.pane?.root.isConnected) job.pane.end(null, stopped ? "stopped" : "broken off", []);
    else if (!stopped && byId("answers").classList.contains("old")) empty(); // the old answer belongs to another prompt
    byId("answers").classList.remove("old");
    if (stopped) say("Stopped.");
    else complain(error);
  } finally {
    if (running === mine) rest();
  }
}

function empty() {
  byId("answers").replaceChildren();
  byId("legend").hidden = true;
}

/** Generates one answer after the other, so that none slows down another. */
function write(plan) {
  const prompt = byId("prompt").value;
  address.save({ prompt, policy: policy(), beside: plan === beside });
  return busy(async (job) => {
    last = plan;
    const results = [];
    const wanted = plan();
    say(wanted.length > 1 ? `Writing ${wanted.length} answers …` : "Writing …");
    byId("answers").classList.add("old"); // until new text arrives
    for (const [n, [title, how]] of wanted.entries()) {
      const pane = (job.pane = new Pane(title, prompt, { say, onContinue: (it) => resume(it, how), onBegin: begin }));
      const shown = () => pane.root.isConnected || show(pane, n === 0);
      const took = await stream(pane, prompt, how, job.signal, shown);
      results.push(wanted.length > 1 ? `${title}: ${took}` : took);
      byId("legend").replaceChildren(...legend());
    }
    return results.join(" ");
  });
}

/** Continues an answer that was cut off. */
const resume = (pane, how) =>
  busy(async (job) => {
    job.pane = pane;
    say("Continuing …");
    const text = pane.words;
    pane.resume();
    const took = await stream(pane, text, how, job.signal, () => {});
    byId("legend").replaceChildren(...legend());
    return took;
  });

/** Writes with another prompt. */
function begin(prompt) {
  byId("prompt").value = prompt;
  write(single);
}

function show(pane, first) {
  if (first) byId("answers").replaceChildren();
  byId("answers").classList.remove("old");
  byId("answers").append(pane.root);
  byId("legend").hidden = false;
  byId("legend").replaceChildren(...legend());
}

/** Resets the buttons after a job. */
function rest() {
  running = null;
  if (document.activeElement === byId("stop")) byId("write").focus();
  byId("stop").disabled = true;
}

/** Generates the last answers again, once the controls have not changed for a while. */
function again() {
  clearTimeout(timer);
  if (!last) return;
  running?.abort();
  running = null;
  timer = setTimeout(() => write(last), RERUN_DELAY);
}

byId("form").addEventListener("submit", (event) => {
  event.preventDefault();
  write(single);
});
byId("prompt").addEventListener("keydown", (event) => {
  if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
  event.preventDefault();
  write(single);
});
byId("beside").addEventListener("click", () => write(beside));
byId("stop").addEventListener("click", () => {
  clearTimeout(timer);
  if (running) return running.abort();
  say("Stopped."); // between two runs
  rest();
});
byId("budget").addEventListener("input", () => {
  byId("form").elements.policy.value = "budget";
  share();
});
byId("when").addEventListener("input", again);
addEventListener("hashchange", restore);

restore();
meet().catch(complain);
