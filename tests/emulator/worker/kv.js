// The KV REST API on workerd's KV, which judges lengths, expiry and metadata by itself.
import { failure, success } from "./answers.js";
import { now, state } from "./state.js";

const BULK_WRITE = 10_000;
const BULK_READ = 100;
const AT_ONCE = 50;

let namespaces;

function all(env) {
  namespaces ??= env.SETTINGS.kv.map((each) => ({ ...each }));
  return namespaces;
}

function described({ id, title }) {
  return { id, title, supports_url_encoding: true };
}

// The numbers for refusals by workerd, and 10012 and 10029 below, are not verified.
function refused(error, operation) {
  const text = String(error.message ?? error);
  const [, status, message] = /KV \w+ failed: (\d{3}) (.*)/.exec(text) ?? [null, 400, text];
  const code = Number(status) === 429 ? 10000 : 10033;
  return failure(Number(status), code, `${operation}: '${message}'`);
}

async function attempt(operation, work) {
  try {
    return await work();
  } catch (error) {
    return refused(error, operation);
  }
}

// --- namespaces ---------------------------------------------------------------------------------

function listNamespaces(env, query) {
  const used = all(env).filter((each) => each.used);
  const size = Number(query.get("per_page") ?? 20);
  const page = Number(query.get("page") ?? 1);
  const shown = used.slice((page - 1) * size, page * size).map(described);
  const counts = { count: shown.length, total_count: used.length };
  return success(shown, { result_info: { page, per_page: size, ...counts } });
}

async function createNamespace(env, request) {
  const { title } = await request.json();
  if (all(env).some((each) => each.used && each.title === title)) {
    const message = "a namespace with this account ID and title already exists";
    return failure(400, 10014, `create namespace: '${message}'`);
  }
  const free = all(env).find((each) => !each.used);
  if (!free) return failure(400, 10000, "the emulator has no free namespace");
  Object.assign(free, { used: true, title });
  return success(described(free));
}

async function empty(store, prefix) {
  let cursor;
  do {
    const listed = await store.list({ prefix, cursor });
    await inTurns(listed.keys, ({ name }) => store.delete(name));
    cursor = listed.list_complete ? undefined : listed.cursor;
  } while (cursor);
}

export async function emptyNamespace(env, id, prefix) {
  const found = all(env).find((each) => each.id === id);
  if (!found) return false;
  await empty(env[found.binding], prefix);
  for (const key of [...state.kvRemembered.keys()].filter((each) => each.includes(id))) {
    state.kvRemembered.delete(key);
  }
  return true;
}

async function oneNamespace(namespace, store, request) {
  if (request.method === "PUT") namespace.title = (await request.json()).title;
  if (request.method === "DELETE") {
    await empty(store);
    namespace.used = false;
    return success(null);
  }
  return success(described(namespace));
}

// --- reading --------------------------------------------------------------------------------------

// As an edge cache: what was read once is answered again for a while, absence included.
async function remembered(namespace, what, read) {
  if (!state.config.kvStaleMs) return read();
  const place = JSON.stringify([namespace.id, what]);
  const kept = state.kvRemembered.get(place);
  if (kept && now() - kept.at < state.config.kvStaleMs) return kept.value;
  const value = await read();
  state.kvRemembered.set(place, { at: now(), value });
  return value;
}

async function entry(namespace, store, key) {
  return remembered(namespace, ["key", key], async () => {
    const { value, metadata } = await store.getWithMetadata(key, "arrayBuffer");
    if (value === null) return null;
    // Only a listing tells the expiry; a key comes first among those that begin with it.
    const { keys } = await store.list({ prefix: key, limit: 1 });
    const expiration = keys.find(({ name }) => name === key)?.expiration;
    return { value, metadata, expiration };
  });
}

async function readValue({ namespace, store }, key) {
  const found = await entry(namespace, store, key);
  if (found === null) return failure(404, 10009, "get: 'key not found'");
  const headers = { "content-type": "application/octet-stream" };
  if (found.expiration) headers.expiration = String(found.expiration);
  return new Response(found.value, { headers });
}

async function readMetadata({ namespace, store }, key) {
  const found = await entry(namespace, store, key);
  if (found === null) return failure(404, 10009, "get metadata: 'key not found'");
  return success(found.metadata ?? null);
}

async function listKeys({ namespace, store }, query) {
  const limit = Number(query.get("limit") ?? 1000);
  if (!(limit >= 10 && limit <= 1000)) {
    return failure(400, 10029, "list keys: 'invalid limit, must be between 10 and 1000'");
  }
  const prefix = query.get("prefix") ?? undefined;
  const cursor = query.get("cursor") || undefined;
  const listed = await remembered(namespace, ["list", prefix, cursor, limit], () =>
    store.list({ prefix, limit, cursor }),
  );
  const keys = listed.keys.map(({ name, expiration, metadata }) => ({
    name,
    ...(expiration && { expiration }),
    ...(metadata != null && { metadata }),
  }));
  const result_info = { count: keys.length, cursor: listed.list_complete ? "" : listed.cursor };
  return success(keys, { result_info });
}

async function bulkRead({ namespace, store }, request) {
  const { keys, type = "text", withMetadata = false } = await request.json();
  if (!Array.isArray(keys) || keys.length > BULK_READ) {
    return failure(400, 10012, "bulk get: 'You can request a maximum of 100 keys'");
  }
  const found = await inTurns(keys, (key) => entry(namespace, store, key));
  // Text only, as the API itself: bytes that are no UTF-8 do not come back as they were.
  const decode = (bytes) => {
    const text = new TextDecoder().decode(bytes);
    return type === "json" ? JSON.parse(text) : text;
  };
  const values = {};
  keys.forEach((key, index) => {
    const each = found[index];
    if (each === null) values[key] = null;
    else if (!withMetadata) values[key] = decode(each.value);
    else {
      const { expiration, metadata } = each;
      const value = decode(each.value);
      values[key] = { value, metadata: metadata ?? null, ...(expiration && { expiration }) };
    }
  });
  return success({ values });
}

// --- writing --------------------------------------------------------------------------------------

// KV accepts one write a second for one key.
function tooSoon(namespace, key) {
  const shortest = state.config.kvWriteLimitMs;
  if (!shortest) return false;
  const place = JSON.stringify([namespace.id, key]);
  if (now() - (state.kvWrittenAt.get(place) ?? -Infinity) < shortest) return true;
  state.kvWrittenAt.set(place, now());
  return false;
}

function limited() {
  return failure(429, 10000, "rate limited: 1 write per second per key");
}

// The time to live wins when both are given.
function expiry(ttl, moment) {
  const given = (value) => value !== null && value !== undefined && value !== "";
  if (given(ttl)) return { expirationTtl: Number(ttl) };
  return given(moment) ? { expiration: Number(moment) } : {};
}

async function formParts(request) {
  const form = await request.formData();
  const value = form.get("value");
  const metadata = form.get("metadata");
  if (value === null) return { wrong: failure(400, 10012, "put: 'value part missing'") };
  const parts = { value: typeof value === "string" ? value : await value.arrayBuffer() };
  if (metadata === null) return parts;
  try {
    const text = typeof metadata === "string" ? metadata : await metadata.text();
    return { ...parts, metadata: JSON.parse(text) };
  } catch {
    return { wrong: failure(400, 10012, "put: 'metadata must be valid JSON'") };
  }
}

async function writeValue({ namespace, store }, key, request, query) {
  if (tooSoon(namespace, key)) return limited();
  const type = request.headers.get("content-type") ?? "";
  const parts = type.includes("multipart/form-data")
    ? await formParts(request)
    : { value: await request.arrayBuffer() };
  if (parts.wrong) return parts.wrong;
  const { value, metadata } = parts;
  const options = expiry(query.get("expiration_ttl"), query.get("expiration"));
  if (metadata !== undefined) options.metadata = metadata;
  await store.put(key, value, options);
  return success(null);
}

async function deleteValue({ namespace, store }, key) {
  if (tooSoon(namespace, key)) return limited();
  await store.delete(key);
  return success(null);
}

async function writePair({ namespace, store }, pair) {
  if (tooSoon(namespace, pair.key)) return false;
  const options = expiry(pair.expiration_ttl, pair.expiration);
  if (pair.metadata !== undefined) options.metadata = pair.metadata;
  const value = pair.base64
    ? Uint8Array.from(atob(pair.value), (character) => character.charCodeAt(0))
    : pair.value;
  await store.put(pair.key, value, options);
  return true;
}

async function bulkWrite(place, request) {
  const pairs = await request.json();
  if (!Array.isArray(pairs)) return failure(400, 10012, "bulk put: 'body must be an array'");
  if (pairs.length > BULK_WRITE) return failure(400, 10012, "bulk put: 'max 10000 keys'");
  const landed = await inTurns(pairs, (pair) => writePair(place, pair));
  const missed = pairs.filter((_, index) => !landed[index]).map(({ key }) => key);
  const written = pairs.length - missed.length;
  return success({ successful_key_count: written, unsuccessful_keys: missed });
}

async function bulkDelete({ store }, request) {
  const keys = await request.json();
  if (keys.length > BULK_WRITE) return failure(400, 10012, "bulk delete: 'max 10000 keys'");
  await inTurns(keys, (key) => store.delete(key));
  return success({ successful_key_count: keys.length, unsuccessful_keys: [] });
}

// Some at once, in order, so that of two writes of one key in one call the later one stays.
async function inTurns(items, work) {
  const results = [];
  for (let first = 0; first < items.length; first += AT_ONCE) {
    results.push(...(await Promise.all(items.slice(first, first + AT_ONCE).map(work))));
  }
  return results;
}

// --- routes ---------------------------------------------------------------------------------------

async function values(place, request, query, key) {
  if (request.method === "GET") return attempt("get", () => readValue(place, key));
  if (request.method === "PUT") return attempt("put", () => writeValue(place, key, request, query));
  if (request.method === "DELETE") return attempt("remove key", () => deleteValue(place, key));
  return undefined;
}

async function bulk(place, request, action) {
  const routed = `${request.method} ${action ?? ""}`.trim();
  if (routed === "PUT") return attempt("bulk put", () => bulkWrite(place, request));
  if (routed === "POST get") return attempt("bulk get", () => bulkRead(place, request));
  // The second is marked as outdated, and wrangler still uses it.
  if (routed === "POST delete" || routed === "DELETE") {
    return attempt("bulk delete", () => bulkDelete(place, request));
  }
  return undefined;
}

export async function kv({ request, env, url, parts }) {
  const [id, what, ...rest] = parts;
  const query = url.searchParams;
  if (id === undefined && request.method === "GET") return listNamespaces(env, query);
  if (id === undefined && request.method === "POST") return createNamespace(env, request);
  const namespace = all(env).find((each) => each.id === id && each.used);
  if (!namespace) {
    return failure(404, 10013, `${what ?? "get namespace"}: 'namespace not found'`);
  }
  const place = { namespace, store: env[namespace.binding] };
  if (what === undefined) return oneNamespace(namespace, place.store, request);
  let answer;
  if (what === "keys" && request.method === "GET") answer = await listKeys(place, query);
  if (what === "values") answer = await values(place, request, query, rest.join("/"));
  if (what === "metadata" && request.method === "GET") {
    answer = await attempt("get metadata", () => readMetadata(place, rest.join("/")));
  }
  if (what === "bulk") answer = await bulk(place, request, rest[0]);
  return answer ?? failure(405, 10405, "Method not allowed");
}
