// The page's address holds what was asked for, behind the '#', which is sent to nobody.

/** Prompt, policy and whether three stand side by side, as the address has them. */
export function read() {
  const held = new URLSearchParams(location.hash.slice(1));
  return { prompt: held.get("prompt") ?? "", policy: held.get("policy") ?? "", beside: held.has("beside") };
}

/** Puts them there; the way back stays as it is. */
export function keep({ prompt, policy, beside }) {
  const held = new URLSearchParams({ prompt });
  if (policy) held.set("policy", policy);
  if (beside) held.set("beside", "1");
  history.replaceState(null, "", `#${held}`);
}
