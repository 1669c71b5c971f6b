// Stores the request in the page's address after the '#', a part that browsers do not send to servers.

/** Returns the prompt, the policy, and whether three answers are shown side by side. */
export function read() {
  const parameters = new URLSearchParams(location.hash.slice(1));
  const get = (name) => parameters.get(name) ?? "";
  return { prompt: get("prompt"), policy: get("policy"), beside: parameters.has("beside") };
}

/** Saves the request without a new entry in the browser's history. */
export function save({ prompt, policy, beside }) {
  const parameters = new URLSearchParams({ prompt });
  if (policy) parameters.set("policy", policy);
  if (beside) parameters.set("beside", "1");
  history.replaceState(null, "", `#${parameters}`);
}
