// Sends requests and reads streams of server-sent events.

/** A failed request; `status` is 0 if the server did not answer. */
export class Failure extends Error {
  constructor(message, status = 0, retry = 0) {
    super(message);
    this.status = status;
    this.retry = retry; // seconds after which the request may be retried; 0 if unknown
  }
}

/** Sends a GET request, or POST if there is a body, with the API key if there is one. */
export async function ask(path, key, body, signal) {
  const headers = { Accept: "application/json" };
  if (key) headers.Authorization = `Bearer ${key}`;
  if (body) headers["Content-Type"] = "application/json";
  const options = { method: body ? "POST" : "GET", headers, signal, credentials: "omit" };
  let response;
  try {
    response = await fetch(path, body ? { ...options, body: JSON.stringify(body) } : options);
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Failure("the server does not answer; is it still running?");
  }
  if (!response.ok) {
    const problem = await response.json().catch(() => null);
    const retry = Number(response.headers.get("Retry-After")) || 0;
    throw new Failure(problem?.error?.message ?? `status ${response.status}`, response.status, retry);
  }
  return response;
}

/** Yields chunks as they arrive; throws a Failure if the stream fails. */
export async function* chunks(response) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { value, done } = await reader.read().catch((error) => {
      throw error.name === "AbortError" ? error : new Failure("the answer broke off");
    });
    if (done) throw new Failure("the answer broke off");
    const events = (rest + value).split("\n\n");
    rest = events.pop();
    for (const event of events) {
      if (event.startsWith(":")) continue; // a comment that keeps the connection open
      const data = event.replace(/^data: /, "");
      if (data === "[DONE]") return;
      const chunk = JSON.parse(data);
      if (chunk.error) throw new Failure(chunk.error.message);
      yield chunk;
    }
  }
}
