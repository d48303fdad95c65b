// Vectorize v2. A FAKE, written from the documentation: nothing local exists for it. It compares
// every vector, keeps all in memory and applies mutations after a while, as the service does.
// Error numbers other than 40023 are not verified.
import { failure, success } from "./answers.js";
import { score, truncated, matches, valueAt } from "./vectors.js";
import { now, state } from "./state.js";

const PRESETS = {
  "@cf/baai/bge-small-en-v1.5": 384,
  "@cf/baai/bge-base-en-v1.5": 768,
  "@cf/baai/bge-large-en-v1.5": 1024,
  "openai/text-embedding-ada-002": 1536,
  "cohere/embed-multilingual-v2.0": 768,
};
const DIMENSIONS = 1536;
const ID_BYTES = 64;
const METADATA_BYTES = 10_240;
const BATCH = 5000;
const FILTER_BYTES = 2048;
const METADATA_INDEXES = 10;

const bytes = (text) => new TextEncoder().encode(text).length;
const refused = (status, code, message) => failure(status, code, `vectorize.${message}`);

// --- indexes --------------------------------------------------------------------------------------

async function createIndex(request) {
  const { name, description = "", config = {} } = await request.json();
  const dimensions = config.dimensions ?? PRESETS[config.preset];
  if (state.vectorIndexes.has(name)) return refused(409, 40002, "index.duplicate_name");
  if (!(dimensions >= 1 && dimensions <= DIMENSIONS)) {
    return refused(400, 40001, "index.invalid_dimensions");
  }
  const made = new Date(now()).toISOString();
  const shown = {
    name,
    description,
    config: { dimensions, metric: config.metric ?? "cosine" },
    created_on: made,
    modified_on: made,
  };
  state.vectorIndexes.set(name, {
    shown,
    vectors: new Map(),
    waiting: [],
    fields: new Map(),
    processed: "",
    processedAt: null,
  });
  return success(shown);
}

// Applies the mutations whose time has come.
function catchUp(index) {
  while (index.waiting.length && index.waiting[0].at <= now()) {
    const mutation = index.waiting.shift();
    mutation.apply();
    index.processed = mutation.id;
    index.processedAt = new Date(mutation.at).toISOString();
  }
}

function later(index, apply) {
  const id = crypto.randomUUID();
  index.waiting.push({ id, at: now() + state.config.vectorizeDelayMs, apply });
  return success({ mutationId: id });
}

function information(index) {
  return success({
    dimensions: index.shown.config.dimensions,
    vectorCount: index.vectors.size,
    processedUpToDatetime: index.processedAt,
    processedUpToMutation: index.processed,
  });
}

// --- writing --------------------------------------------------------------------------------------

async function lines(request) {
  const type = request.headers.get("content-type") ?? "";
  if (type.includes("application/x-ndjson")) return (await request.text()).split("\n");
  if (!type.includes("multipart/form-data")) return undefined;
  const form = await request.formData();
  const part = form.get("vectors") ?? [...form.values()][0];
  return (typeof part === "string" ? part : await part.text()).split("\n");
}

function parsed(line) {
  try {
    const vector = JSON.parse(line);
    return typeof vector.id === "string" && Array.isArray(vector.values) ? vector : undefined;
  } catch {
    return undefined;
  }
}

function wrongVector(vector, dimensions) {
  const { id, values, metadata, namespace } = vector;
  if (values.length !== dimensions) {
    const lengths = `expected ${dimensions} dimensions, and got ${values.length} dimensions`;
    return refused(400, 40012, `upstream_error - invalid vector for id="${id}", ${lengths}`);
  }
  if (bytes(id) > ID_BYTES) return refused(400, 40008, "upstream_error - id too long");
  if (metadata && bytes(JSON.stringify(metadata)) > METADATA_BYTES) {
    return refused(400, 40009, "upstream_error - metadata too large");
  }
  if (namespace && bytes(namespace) > ID_BYTES) {
    return refused(400, 40010, "upstream_error - namespace too long");
  }
  return undefined;
}

function stored(vector, index) {
  return {
    id: vector.id,
    namespace: vector.namespace ?? null,
    metadata: vector.metadata ?? null,
    values: Array.from(Float32Array.from(vector.values)),
    // Only fields that were indexed when the vector came can be filtered by.
    indexed: new Set(index.fields.keys()),
  };
}

async function write(index, request, query, action) {
  const given = await lines(request);
  if (given === undefined) return refused(400, 40013, "unknown_content_type");
  const vectors = [];
  for (const [number, line] of given.filter((each) => each.trim()).entries()) {
    const vector = parsed(line);
    if (!vector && query.get("unparsable-behavior") === "discard") continue;
    if (!vector) {
      const where = `line Some(${number}) was not expected format`;
      const what = `failed to parse ${action} vectors request in ndjson format: ${where}`;
      return refused(400, 40023, `upstream_error - ${what}`);
    }
    const wrong = wrongVector(vector, index.shown.config.dimensions);
    if (wrong) return wrong;
    vectors.push(vector);
  }
  if (vectors.length > BATCH) return refused(400, 40011, "upstream_error - batch too large");
  return later(index, () => {
    for (const vector of vectors) {
      if (action === "insert" && index.vectors.has(vector.id)) continue;
      index.vectors.set(vector.id, stored(vector, index));
    }
  });
}

async function remove(index, request) {
  const { ids = [] } = await request.json();
  return later(index, () => ids.forEach((id) => index.vectors.delete(id)));
}

// --- reading --------------------------------------------------------------------------------------

async function byIds(index, request) {
  const { ids = [] } = await request.json();
  const found = ids.map((id) => index.vectors.get(id)).filter(Boolean);
  return success(found.map(({ indexed, ...vector }) => vector));
}

function shownMetadata(vector, wanted) {
  if (wanted === "all" && vector.metadata) return { metadata: vector.metadata };
  if (wanted !== "indexed" || !vector.metadata) return {};
  const fields = [...vector.indexed]
    .map((field) => [field, truncated(valueAt(vector.metadata, field))])
    .filter(([, value]) => value !== undefined);
  return { metadata: Object.fromEntries(fields) };
}

function wrongQuery(asked, { dimensions, vector, most, topK }) {
  const wrong = (code, message) => refused(400, code, `vector_query_error: ${message}`);
  if (!Array.isArray(vector) || vector.length !== dimensions) {
    const lengths = `expected ${dimensions} dimensions, and got ${vector?.length} dimensions`;
    return wrong(40006, `invalid query vector, ${lengths}`);
  }
  if (topK > most || topK < 1) return wrong(40025, `max top K is ${most}, but got ${topK}`);
  if (asked.filter === undefined) return undefined;
  const empty = Object.keys(asked.filter).length === 0;
  const long = bytes(JSON.stringify(asked.filter)) >= FILTER_BYTES;
  return empty || long ? wrong(40026, "invalid filter") : undefined;
}

async function search(index, request) {
  const asked = await request.json();
  const { dimensions, metric } = index.shown.config;
  const { topK = 5, returnValues = false, namespace, filter } = asked;
  const wanted = asked.returnMetadata === true ? "all" : asked.returnMetadata || "none";
  const vector = asked.vector ?? index.vectors.get(asked.vectorId)?.values;
  const most = returnValues || wanted === "all" ? 20 : 100;
  const wrong = wrongQuery(asked, { dimensions, vector, most, topK });
  if (wrong) return wrong;
  const hits = [];
  for (const each of index.vectors.values()) {
    if (namespace !== undefined && each.namespace !== namespace) continue;
    const fits = matches(each, filter);
    if (typeof fits === "string") return refused(400, 40026, fits);
    if (fits) hits.push({ each, score: score(metric, vector, each.values) });
  }
  const sign = metric === "cosine" ? -1 : 1;
  hits.sort((a, b) => sign * (a.score - b.score) || (a.each.id < b.each.id ? -1 : 1));
  const found = hits.slice(0, topK).map(({ each, score: value }) => ({
    id: each.id,
    score: value,
    ...(each.namespace && { namespace: each.namespace }),
    ...(returnValues && { values: each.values }),
    ...shownMetadata(each, wanted),
  }));
  return success({ count: found.length, matches: found });
}

function list(index, query) {
  const size = Math.min(Number(query.get("count") ?? 100), 1000);
  const cursor = query.get("cursor");
  const ids = [...index.vectors.keys()].sort().filter((id) => !cursor || id > atob(cursor));
  const page = ids.slice(0, size);
  const more = ids.length > size;
  const expires = new Date(now() + 3_600_000).toISOString();
  return success({
    count: page.length,
    totalCount: index.vectors.size,
    isTruncated: more,
    nextCursor: more ? btoa(page.at(-1)) : null,
    cursorExpirationTimestamp: more ? expires : null,
    vectors: page.map((id) => ({ id })),
  });
}

// --- metadata indexes -----------------------------------------------------------------------------

async function createField(index, request) {
  const { propertyName, indexType } = await request.json();
  if (index.fields.size >= METADATA_INDEXES) {
    return refused(400, 40017, "too_many_metadata_indexes");
  }
  return later(index, () => index.fields.set(propertyName, indexType));
}

async function deleteField(index, request) {
  const { propertyName } = await request.json();
  return later(index, () => index.fields.delete(propertyName));
}

function listFields(index) {
  const fields = [...index.fields];
  const metadataIndexes = fields.map(([propertyName, indexType]) => ({ propertyName, indexType }));
  return success({ metadataIndexes });
}

export async function vectorize({ request, url, parts }) {
  const [name, ...rest] = parts;
  const query = url.searchParams;
  if (name === undefined && request.method === "POST") return createIndex(request);
  if (name === undefined) return success([...state.vectorIndexes.values()].map((i) => i.shown));
  const index = state.vectorIndexes.get(name);
  if (!index) return refused(404, 40004, "index.not_found");
  catchUp(index);
  const routes = {
    GET: () => success(index.shown),
    DELETE: () => (state.vectorIndexes.delete(name), success({})),
    "GET info": () => information(index),
    "GET list": () => list(index, query),
    "POST insert": () => write(index, request, query, "insert"),
    "POST upsert": () => write(index, request, query, "upsert"),
    "POST delete_by_ids": () => remove(index, request),
    "POST get_by_ids": () => byIds(index, request),
    "POST query": () => search(index, request),
    "GET metadata_index/list": () => listFields(index),
    "POST metadata_index/create": () => createField(index, request),
    "POST metadata_index/delete": () => deleteField(index, request),
  };
  const routed = routes[`${request.method} ${rest.join("/")}`.trim()];
  return routed ? routed() : failure(405, 40405, "method not allowed");
}
