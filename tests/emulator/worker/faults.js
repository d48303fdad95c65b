// Faults that a test asked for: an answer instead of the service's own, before or after it acts.
import { failure } from "./answers.js";
import { state } from "./state.js";

// The first fault that matches 'METHOD path'; it is used up after `times`.
export function takeFault(request, url) {
  const line = `${request.method} ${url.pathname}${url.search}`;
  const index = state.faults.findIndex((fault) => new RegExp(fault.match ?? ".").test(line));
  if (index < 0) return undefined;
  const fault = state.faults[index];
  if (fault.times !== undefined) {
    fault.times -= 1;
    if (fault.times <= 0) state.faults.splice(index, 1);
  }
  return fault;
}

export function answerOf(fault) {
  const status = fault.status ?? 500;
  if (fault.raw !== undefined) return new Response(fault.raw, { status, headers: fault.headers });
  return failure(status, fault.code ?? 10000, fault.message ?? "injected", fault.headers);
}
