// The controls of the page. The API key stays in its input field and is never stored.

import * as address from "./address.js";
import { close } from "./detail.js";
import { byId, element } from "./dom.js";
import { Pane } from "./pane.js";
import { drawSources } from "./sources.js";
import { legend, sourceClass } from "./speakers.js";
import { ask, chunks, Failure } from "./stream.js";
import { allow } from "./verdict.js";

const RERUN_DELAY = 300; // milliseconds after the last change of a control

let server = null; // the response of /v1/lacy
let running = null; // AbortController of the current request
let last = null; // the plan of the last answers: a function that returns their titles and policies
let timer = 0; // timer of the next automatic run
let waiting = 0; // timer until a refused request may be retried

function setStatus(text) {
  byId("status").textContent = text;
}

function showError(error) {
  const problem = byId("problem");
  setStatus("");
  if (error.status === 401) {
    byId("key-row").hidden = false;
    problem.textContent = byId("key").value ? "This key is not valid." : "This server asks for an API key.";
    byId("key").focus();
  } else if (error.retry) {
    problem.textContent = `Refused: ${error.message}. Try again in ${error.retry} s.`;
    waiting = setTimeout(() => {
      problem.textContent = "";
      setStatus("You can try again now.");
    }, 1000 * error.retry);
  } else {
    problem.textContent = error instanceof Failure ? `No answer: ${error.message}` : String(error);
  }
}

async function fetchServer() {
  server = await (await ask("/v1/lacy", byId("key").value)).json();
  for (const source of server.sources ?? []) sourceClass(source.name);
  drawSources(server.sources ?? []);
  allow(server.feedback);
}

async function connect() {
  await fetchServer();
  byId("problem").textContent = "";
  byId("model").textContent = `The model is ${server.model}.`;
  byId("default").textContent = `(${meaning(server.policy)})`;
  hideDefaultPolicy();
  byId("picks").hidden = !server.prompts.length;
  byId("picks").replaceChildren(...server.prompts.map(promptButton));
  if (!byId("prompt").value && server.prompts.length) byId("prompt").value = server.prompts[0];
}

const MEANINGS = { "threshold=0": "where the model wants: threshold=0", never: "never" };

const meaning = (policy) => MEANINGS[policy] ?? policy;

function promptButton(prompt) {
  const button = element("button", { type: "button" }, prompt.trim());
  button.addEventListener("click", () => startPrompt(prompt));
  return button;
}

function selectedPolicy() {
  const chosen = byId("form").elements.policy.value;
  return chosen === "budget" ? `budget=${Number(byId("budget").value)}` : chosen;
}

function showBudget() {
  byId("share").textContent = `${Math.round(100 * byId("budget").value)}%`;
}

const singlePlan = () => [["Answer", selectedPolicy()]];

const comparisonPlan = () => [
  ["Alone", "never"],
  [`lacy: ${selectedPolicy() || server.policy}`, selectedPolicy()],
  ["Calls everywhere", "always"],
];

/** Hides the policy that is the server's default, because "default of the server" selects it. */
function hideDefaultPolicy() {
  for (const radio of byId("form").elements.policy) {
    radio.closest("label").hidden = Boolean(radio.value) && radio.value === server.policy;
  }
  selectPolicy(byId("form").elements.policy.value);
}

function selectPolicy(value) {
  const radios = [...byId("form").elements.policy];
  const radio = radios.find((one) => one.value === value && !one.closest("label").hidden);
  const known = radios.some((one) => one.value === value);
  if (radio ?? known) (radio ?? radios[0]).checked = true;
}

/** Sets the controls from the address. Nothing is generated, so opening a link costs nothing. */
function restoreFromAddress() {
  const view = address.read();
  if (!view.prompt) return;
  byId("prompt").value = view.prompt;
  const [name, value] = view.policy.split("=");
  const chosen = name === "budget" ? name : view.policy;
  if (name === "budget") byId("budget").value = value;
  selectPolicy(chosen);
  showBudget();
  const button = view.beside ? "Side by side" : "Write";
  setStatus(`Loaded from the address; press “${button}” to generate ${view.beside ? "the answers" : "the answer"}.`);
}

/** Returns a path and the fields of a request for an answer, or for more of the answer so far. */
function requestFor(prompt, answer) {
  if (!server.chat) return ["/v1/completions", { prompt: prompt + answer }];
  const messages = [{ role: "user", content: prompt.trim() }];
  if (answer) messages.push({ role: "assistant", content: answer }, { role: "user", content: "Continue." });
  return ["/v1/chat/completions", { messages }];
}

/** Streams an answer, or more of the answer so far, into its pane; returns its counts as a sentence. */
async function stream(pane, policy, signal, onChunk, answer = "") {
  const [path, asked] = requestFor(pane.prompt, answer);
  const body = { model: server.model, ...asked, stream: true, stream_options: { include_usage: true } };
  if (policy) body.lacy = { policy };
  const ended = { policy: "", read: 0, finish: "", hint: "" };
  for await (const chunk of chunks(await ask(path, byId("key").value, body, signal))) {
    onChunk();
    for (const choice of chunk.choices) {
      pane.add(choice.lacy.spans, chunk.id);
      ended.policy ||= choice.lacy.policy ?? "";
      ended.hint ||= choice.lacy.hint ?? "";
      ended.finish ||= choice.finish_reason ?? "";
    }
    ended.read = chunk.usage?.prompt_tokens ?? ended.read;
  }
  return pane.end(ended, "", server.sources ?? []);
}

/** Runs a job and shows its errors; aborts the job that is still running. */
async function runJob(work) {
  running?.abort();
  clearTimeout(timer);
  clearTimeout(waiting);
  const mine = (running = new AbortController());
  byId("problem").textContent = "";
  close();
  const job = { signal: mine.signal, pane: null };
  try {
    if (!server) await connect();
    if (running !== mine) return;
    byId("stop").disabled = false;
    setStatus(`Done. ${await work(job)}`);
    await fetchServer().catch(() => {}); // updates the panel of sources; errors do not matter here
  } catch (error) {
    const stopped = error.name === "AbortError";
    if (stopped && running !== mine) return; // another job has started
    if (job.pane?.root.isConnected) job.pane.end(null, stopped ? "stopped" : "broken off", []);
    else if (!stopped && byId("answers").classList.contains("old")) clearAnswers(); // they belong to another prompt
    byId("answers").classList.remove("old");
    if (stopped) setStatus("Stopped.");
    else showError(error);
  } finally {
    if (running === mine) endJob();
  }
}

function clearAnswers() {
  byId("answers").replaceChildren();
  byId("legend").hidden = true;
}

/** Generates the answers of a plan one after the other, so that they do not slow each other down. */
function generate(plan) {
  const prompt = byId("prompt").value;
  address.save({ prompt, policy: selectedPolicy(), beside: plan === comparisonPlan });
  return runJob(async (job) => {
    last = plan;
    const results = [];
    const answers = plan();
    setStatus(answers.length > 1 ? `Writing ${answers.length} answers …` : "Writing …");
    byId("answers").classList.add("old"); // until new text arrives
    for (const [n, [title, policy]] of answers.entries()) {
      const pane = (job.pane = new Pane(title, server.chat ? `${prompt}\n` : prompt, {
        setStatus, onContinue: (it) => continueAnswer(it, policy), onBegin: startPrompt,
      }));
      const onChunk = () => pane.root.isConnected || showPane(pane, n === 0);
      const summary = await stream(pane, policy, job.signal, onChunk);
      results.push(answers.length > 1 ? `${title}: ${summary}` : summary);
      byId("legend").replaceChildren(...legend());
    }
    return results.join(" ");
  });
}

/** Continues an answer that was cut off. */
const continueAnswer = (pane, policy) =>
  runJob(async (job) => {
    job.pane = pane;
    setStatus("Continuing …");
    const answer = pane.words.slice(pane.prompt.length);
    pane.resume();
    const summary = await stream(pane, policy, job.signal, () => {}, answer);
    byId("legend").replaceChildren(...legend());
    return summary;
  });

/** Generates an answer to another prompt. */
function startPrompt(prompt) {
  byId("prompt").value = prompt;
  generate(singlePlan);
}

function showPane(pane, first) {
  if (first) byId("answers").replaceChildren();
  byId("answers").classList.remove("old");
  byId("answers").append(pane.root);
  byId("legend").hidden = false;
  byId("legend").replaceChildren(...legend());
}

/** Resets the buttons after a job. */
function endJob() {
  running = null;
  if (document.activeElement === byId("stop")) byId("write").focus();
  byId("stop").disabled = true;
}

/** Generates the last answers again when the controls have not changed for a while. */
function rerunSoon() {
  clearTimeout(timer);
  if (!last) return;
  running?.abort();
  running = null;
  timer = setTimeout(() => generate(last), RERUN_DELAY);
}

byId("form").addEventListener("submit", (event) => {
  event.preventDefault();
  generate(singlePlan);
});
byId("prompt").addEventListener("keydown", (event) => {
  if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
  event.preventDefault();
  generate(singlePlan);
});
byId("beside").addEventListener("click", () => generate(comparisonPlan));
byId("stop").addEventListener("click", () => {
  clearTimeout(timer);
  if (running) return running.abort();
  setStatus("Stopped."); // between two runs
  endJob();
});
byId("budget").addEventListener("input", () => {
  byId("form").elements.policy.value = "budget";
  showBudget();
});
byId("when").addEventListener("input", rerunSoon);
addEventListener("hashchange", restoreFromAddress);

restoreFromAddress();
connect().catch(showError);
