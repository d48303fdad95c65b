// R2's REST API for buckets and objects. Its S3 API is Miniflare's own and does not pass here.
import { failure, success } from "./answers.js";

const MADE = "2026-01-01T00:00:00.000Z";

function binding(env, name) {
  const bucket = env.SETTINGS.r2.find((each) => each.name === name);
  return bucket && env[bucket.binding];
}

function described(name) {
  return { name, creation_date: MADE, location: "WEUR", storage_class: "Standard" };
}

async function list(bucket, query) {
  const listed = await bucket.list({
    prefix: query.get("prefix") ?? undefined,
    delimiter: query.get("delimiter") ?? undefined,
    cursor: query.get("cursor") ?? undefined,
    startAfter: query.get("start_after") ?? undefined,
    limit: Number(query.get("per_page") ?? 1000),
    include: ["httpMetadata", "customMetadata"],
  });
  const objects = listed.objects.map((object) => ({
    key: object.key,
    etag: object.etag,
    size: object.size,
    last_modified: object.uploaded.toISOString(),
    http_metadata: object.httpMetadata,
    custom_metadata: object.customMetadata,
    storage_class: "Standard",
  }));
  const cursor = listed.truncated ? listed.cursor : "";
  const { truncated, delimitedPrefixes } = listed;
  const result_info = { is_truncated: truncated, cursor, delimited: delimitedPrefixes };
  return success(objects, { result_info });
}

async function read(bucket, key) {
  const object = await bucket.get(key);
  if (!object) return failure(404, 10007, "The specified key does not exist.");
  const headers = new Headers();
  object.writeHttpMetadata(headers);
  headers.set("etag", object.httpEtag);
  headers.set("last-modified", object.uploaded.toUTCString());
  return new Response(object.body, { headers });
}

async function write(bucket, key, request) {
  const body = await request.arrayBuffer();
  const object = await bucket.put(key, body, { httpMetadata: request.headers });
  const { etag, version, uploaded } = object;
  const size = String(object.size);
  return success({ key, etag, size, version, uploaded, storage_class: "Standard" });
}

export async function r2({ request, env, url, parts }) {
  const [name, what, ...key] = parts;
  const { method } = request;
  if (name === undefined && method === "GET") {
    const buckets = env.SETTINGS.r2.map((bucket) => described(bucket.name));
    return success({ buckets }, { result_info: { cursor: "", per_page: 1000 } });
  }
  const bucket = binding(env, name);
  if (!bucket) return failure(404, 10006, "The specified bucket does not exist.");
  if (what === undefined && method === "GET") return success(described(name));
  if (what === "objects") {
    if (key.length === 0 && method === "GET") return list(bucket, url.searchParams);
    const path = key.join("/");
    if (method === "GET") return read(bucket, path);
    if (method === "PUT") return write(bucket, path, request);
    if (method === "DELETE") {
      await bucket.delete(path);
      return success({ key: path });
    }
  }
  return failure(405, 10405, "Method not allowed");
}

export async function emptyBucket(env, name, prefix) {
  const bucket = binding(env, name);
  if (!bucket) return false;
  let listed;
  do {
    listed = await bucket.list({ prefix });
    if (listed.objects.length) await bucket.delete(listed.objects.map(({ key }) => key));
  } while (listed.truncated);
  return true;
}
