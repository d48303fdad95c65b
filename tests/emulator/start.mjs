// Starts the emulator and prints one JSON line that says where it is and what is in it.
// It ends when its standard input does, so that it never outlives the tests that started it.
import fs from "node:fs";
import path from "node:path";
import { parseArgs } from "node:util";
import { Miniflare } from "miniflare";

const HERE = import.meta.dirname;
const WORKER = path.join(HERE, "worker");

const { values: options } = parseArgs({
  options: {
    port: { type: "string", default: "0" },
    token: { type: "string", default: "emulator-token" },
    "key-id": { type: "string", default: "emulator-key" },
    secret: { type: "string", default: "emulator-secret" },
    slots: { type: "string", default: "32" },
    buckets: { type: "string", default: "test-bucket,other-bucket" },
    persist: { type: "string" },
    "https-key": { type: "string" },
    "https-cert": { type: "string" },
  },
});

const slots = Number(options.slots);
const many = (make) => Array.from({ length: slots }, (_, index) => make(index));
const number = (index, width) => (index + 1).toString(16).padStart(width, "0");
const idsOf = (places) => places.filter((place) => place.used).map(({ id }) => id);

// One half is there from the start, the other waits to be created over the API.
const used = (index) => index < slots / 2;
const kv = many((index) => ({
  id: `f${number(index, 31)}`,
  title: `namespace-${index + 1}`,
  used: used(index),
  binding: `KV_${index}`,
}));
const d1 = many((index) => ({
  id: `00000000-0000-4000-8000-${number(index, 12)}`,
  title: `database-${index + 1}`,
  used: used(index),
  binding: `D1_${index}`,
}));
const r2 = options.buckets.split(",").map((name, index) => ({ name, binding: `R2_${index}` }));
const credentials = { accessKeyId: options["key-id"], secretAccessKey: options.secret };

const env = { SETTINGS: { type: "json", value: { token: options.token, kv, d1, r2 } } };
for (const { binding, id } of kv) env[binding] = { type: "kv", id };
for (const { binding, id } of d1) env[binding] = { type: "d1", id };
for (const { binding, name } of r2) {
  env[binding] = { type: "r2", name, dev: { experimentalS3Credentials: credentials } };
}

const modules = {};
for (const name of fs.readdirSync(WORKER)) {
  modules[name] = { type: "esm", contents: fs.readFileSync(path.join(WORKER, name), "utf8") };
}

const secure = options["https-key"] !== undefined;
const emulator = new Miniflare({
  host: "127.0.0.1",
  port: Number(options.port),
  ...(secure && {
    https: true,
    httpsKey: fs.readFileSync(options["https-key"], "utf8"),
    httpsCert: fs.readFileSync(options["https-cert"], "utf8"),
  }),
  ...(options.persist && { resourcePersistencePath: path.resolve(options.persist) }),
  enableDevRegistry: false,
  telemetry: { enabled: false },
  workers: [
    {
      config: {
        name: "emulator",
        compatibilityDate: "2026-07-01",
        // The first lets the worker run D1 queries as the REST API does, by rows and columns.
        compatibilityFlags: ["d1_binding_jsrpc", "experimental"],
        manifest: { mainModule: "main.js", modulesRoot: WORKER, modules },
        env,
      },
    },
  ],
});

let stopping = false;
async function stop() {
  if (stopping) return;
  stopping = true;
  await emulator.dispose();
  process.exit(0);
}
process.on("SIGTERM", stop);
process.on("SIGINT", stop);
process.stdin.on("end", stop).on("error", stop).resume();

const root = String(await emulator.ready).replace(/\/$/, "");
const known = {
  root,
  api: `${root}/client/v4`,
  s3: `${root}/cdn-cgi/local/r2/s3`,
  token: options.token,
  access_key_id: credentials.accessKeyId,
  secret_access_key: credentials.secretAccessKey,
  namespaces: idsOf(kv),
  databases: idsOf(d1),
  buckets: r2.map(({ name }) => name),
};
console.log(JSON.stringify(known));
