// What tests ask of the emulator itself: POST /control/{faults,config,clock,empty,reset} and the log.
import { failure, success } from "./answers.js";
import { emptyDatabase } from "./d1.js";
import { emptyNamespace } from "./kv.js";
import { emptyBucket } from "./r2.js";
import { state } from "./state.js";

const EMPTY = { bucket: emptyBucket, database: emptyDatabase, namespace: emptyNamespace };

async function empty(env, { kind, id, prefix }) {
  const found = await EMPTY[kind]?.(env, id, prefix);
  return found ? success(null) : failure(404, 7000, `no ${kind} ${id}`);
}

function configure(changes) {
  const unknown = Object.keys(changes).filter((name) => !(name in state.config));
  if (unknown.length) return failure(400, 7000, `unknown settings: ${unknown}`);
  Object.assign(state.config, changes);
  state.kvRemembered.clear();
  state.kvWrittenAt.clear();
  return success(state.config);
}

export async function control(request, env, what) {
  switch (`${request.method} ${what}`) {
    case "GET health":
      return success({ up: true });
    case "POST faults":
      state.faults.push(...(await request.json()));
      return success(state.faults.length);
    case "GET faults":
      return success(state.faults);
    case "DELETE faults":
      state.faults = [];
      return success(null);
    case "POST config":
      return configure(await request.json());
    case "POST clock":
      state.clockOffsetMs += (await request.json()).advance_ms;
      return success(state.clockOffsetMs);
    case "GET log":
      return success(state.log);
    case "DELETE log":
      state.log = [];
      return success(null);
    case "POST reset":
      state.faults = [];
      state.log = [];
      return configure(await request.json());
    case "POST empty":
      return empty(env, await request.json());
    default:
      return failure(404, 7000, `no control route ${request.method} ${what}`);
  }
}
