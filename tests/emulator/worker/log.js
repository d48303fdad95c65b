// What was asked and answered, for tests that count calls.
import { state } from "./state.js";

const MOST = 100_000;

export function note(request, url, status, injected) {
  state.log.push({ method: request.method, path: url.pathname, query: url.search, status, injected });
  if (state.log.length > MOST) state.log.shift();
}
