// The worker: public paths of the Cloudflare API in front of the services that workerd itself has.
import { failure, noRoute, success } from "./answers.js";
import { control } from "./control.js";
import { d1 } from "./d1.js";
import { answerOf, takeFault } from "./faults.js";
import { kv } from "./kv.js";
import { note } from "./log.js";
import { r2 } from "./r2.js";
import { vectorize } from "./vectorize.js";
import { workersAi } from "./workers_ai.js";

const API = "/client/v4/";
const CONTROL = "/control/";

let answered = 0;

// Without credentials Cloudflare says 9106, with wrong ones 10000; the status 403 is not verified.
function refusal(request, token) {
  const given = request.headers.get("authorization");
  if (!given) {
    return failure(400, 9106, "Missing X-Auth-Key, X-Auth-Email or Authorization headers");
  }
  return given === `Bearer ${token}` ? undefined : failure(403, 10000, "Authentication error");
}

async function route(request, env, url) {
  // The parts behind /client/v4/.
  const [realm, ...rest] = url.pathname.slice(API.length).split("/").map(decodeURIComponent);
  if (realm === "user" && rest.join("/") === "tokens/verify") {
    return success({ id: "emulated", status: "active" });
  }
  if (realm !== "accounts") return noRoute(url.pathname);
  const [account, ...path] = rest;
  if (path.length === 0) return success({ id: account, name: "emulated" });
  if (path.join("/") === "tokens/verify") return success({ id: "emulated", status: "active" });
  const [service, kind, ...parts] = path;
  const call = { request, env, url, parts };
  if (service === "storage" && kind === "kv" && parts[0] === "namespaces") {
    return kv({ ...call, parts: parts.slice(1) });
  }
  if (service === "d1" && kind === "database") return d1(call);
  if (service === "r2" && kind === "buckets") return r2(call);
  if (service === "vectorize" && kind === "v2" && parts[0] === "indexes") {
    return vectorize({ ...call, parts: parts.slice(1) });
  }
  if (service === "ai" && kind === "run" && request.method === "POST") return workersAi(call);
  return noRoute(url.pathname);
}

async function routeSafely(request, env, url) {
  try {
    return await route(request, env, url);
  } catch (error) {
    return failure(500, 10001, `a bug of the emulator: ${error.stack ?? error}`);
  }
}

async function answer(request, env, url) {
  const fault = takeFault(request, url);
  if (fault && !fault.after) return [answerOf(fault), true];
  const response = await routeSafely(request, env, url);
  if (!fault) return [response, false];
  await response.body?.cancel();
  return [answerOf(fault), true];
}

export default {
  async fetch(request, env) {
    const url = new URL(request.url);
    if (url.pathname.startsWith(CONTROL)) {
      return control(request, env, url.pathname.slice(CONTROL.length));
    }
    if (!url.pathname.startsWith(API)) return noRoute(url.pathname);
    const refused = refusal(request, env.SETTINGS.token);
    const [response, injected] = refused ? [refused, false] : await answer(request, env, url);
    note(request, url, response.status, injected);
    const decorated = new Response(response.body, response);
    answered += 1;
    decorated.headers.set("cf-ray", `emulated-${answered}`);
    if (injected) decorated.headers.set("emulated-fault", "1");
    if (!decorated.headers.has("x-ratelimit-limit")) {
      decorated.headers.set("x-ratelimit-limit", "1200");
      decorated.headers.set("x-ratelimit-remaining", "1199");
    }
    return decorated;
  },
};
