// The D1 REST API on workerd's D1.
import { failure, success } from "./answers.js";
import { splitStatements } from "./sql.js";
import { bookmark, restore } from "./time_travel.js";

const STATEMENT_BYTES = 100_000;
const VALUE_BYTES = 2_000_000;
const PARAMETERS = 100;
const MOST_BYTES_OF_A_CHARACTER = 3;

const utf8 = new TextEncoder();
let databases;

function all(env) {
  const made = new Date().toISOString();
  databases ??= env.SETTINGS.d1.map((each) => ({ ...each, made }));
  return databases;
}

function described({ id, title, made }) {
  return {
    uuid: id,
    name: title,
    version: "production",
    created_at: made,
    num_tables: 0,
    file_size: 0,
    running_in_region: "WEUR",
    read_replication: { mode: "disabled" },
  };
}

// --- databases ------------------------------------------------------------------------------------

function listDatabases(env, query) {
  const name = query.get("name") ?? "";
  const shown = all(env).filter((each) => each.used && each.title.includes(name));
  const counts = { count: shown.length, total_count: shown.length };
  return success(shown.map(described), { result_info: { page: 1, per_page: 100, ...counts } });
}

async function createDatabase(env, request) {
  const { name } = await request.json();
  if (all(env).some((each) => each.used && each.title === name)) {
    return failure(400, 7502, `Database with name '${name}' already exists`);
  }
  const free = all(env).find((each) => !each.used);
  if (!free) return failure(400, 7406, "the emulator has no free database");
  Object.assign(free, { used: true, title: name });
  return success(described(free));
}

async function oneDatabase(env, database, request) {
  if (request.method !== "DELETE") return success(described(database));
  await emptyDatabase(env, database.id);
  database.used = false;
  return success(null);
}

const quoted = (name) => `"${name.replaceAll('"', '""')}"`;

// Drops everything that a program made; what the service itself keeps stays.
export async function emptyDatabase(env, id) {
  const database = all(env).find((each) => each.id === id);
  if (!database) return false;
  const store = env[database.binding];
  const [{ rows }] = await run(store, [
    {
      sql: `SELECT type, name, sql FROM sqlite_master
            WHERE type IN ('table', 'view') AND name NOT LIKE 'sqlite!_%' ESCAPE '!'
            AND name NOT LIKE '!_cf!_%' ESCAPE '!'`,
      params: [],
    },
  ]);
  const virtual = rows.filter(([, , sql]) => /^CREATE VIRTUAL/i.test(sql ?? ""));
  // A virtual table keeps its rows in tables of its own, which go with it.
  const shadow = (name) => virtual.some(([, owner]) => name.startsWith(`${owner}_`));
  const own = rows.filter((row) => virtual.includes(row) || !shadow(row[1]));
  if (own.length === 0) return true;
  const drops = own.map(([type, name]) => `DROP ${type} IF EXISTS ${quoted(name)}`);
  await run(store, [
    { sql: "PRAGMA defer_foreign_keys = ON", params: [] },
    ...drops.map((sql) => ({ sql, params: [] })),
  ]);
  return true;
}

// --- queries --------------------------------------------------------------------------------------

async function run(store, queries) {
  const { results } = await store.query({ queries });
  return results.map(({ data, meta }) => ({ columns: data.columns, rows: data.rows, meta }));
}

// The queries of a body, or the answer that refuses it.
function queriesOf(body) {
  const queries = [];
  for (const { sql, params = [] } of Array.isArray(body.batch) ? body.batch : [body]) {
    if (typeof sql !== "string") {
      const message = "The request is malformed: Required property 'sql' missing";
      return { wrong: failure(400, 7400, message) };
    }
    const statements = splitStatements(sql);
    if (statements.length > 1 && params.length) {
      // What the service does is not known; nobody should rely on it.
      return { wrong: failure(400, 7400, "parameters with several statements") };
    }
    const values = params.map((value) => (typeof value === "boolean" ? Number(value) : value));
    if (statements.length === 0) queries.push({ sql, params: values });
    for (const each of statements) queries.push({ sql: each, params: values });
  }
  return { queries };
}

// Limits of the service that workerd does not have by itself.
function overLimit({ sql, params }) {
  if (utf8.encode(sql).length > STATEMENT_BYTES) return "statement too long: SQLITE_TOOBIG";
  if (params.length > PARAMETERS) return "too many SQL variables at offset 0: SQLITE_ERROR";
  const long = (value) =>
    typeof value === "string" &&
    value.length * MOST_BYTES_OF_A_CHARACTER > VALUE_BYTES &&
    utf8.encode(value).length > VALUE_BYTES;
  return params.some(long) ? "string or blob too big: SQLITE_TOOBIG" : undefined;
}

function metaOf(meta) {
  const { duration, changes, last_row_id, changed_db, size_after, rows_read, rows_written } = meta;
  return {
    served_by: meta.served_by,
    served_by_region: "WEUR",
    served_by_colo: "AMS",
    served_by_primary: true,
    timings: { sql_duration_ms: meta.timings?.sql_duration_ms ?? duration },
    ...{ duration, changes, last_row_id, changed_db, size_after, rows_read, rows_written },
  };
}

function named({ columns, rows }) {
  return rows.map((row) => Object.fromEntries(columns.map((name, index) => [name, row[index]])));
}

async function query(store, request, raw) {
  let body;
  try {
    body = await request.json();
  } catch {
    return failure(400, 7400, "The request is malformed: invalid JSON");
  }
  const { queries, wrong } = queriesOf(body);
  if (wrong) return wrong;
  const refused = queries.map(overLimit).find(Boolean);
  if (refused) return failure(400, 7500, refused);
  try {
    const results = await run(store, queries);
    return success(
      results.map(({ columns, rows, meta }) => ({
        results: raw ? { columns, rows } : named({ columns, rows }),
        success: true,
        meta: metaOf(meta),
      })),
    );
  } catch (error) {
    return failure(400, 7500, String(error.message ?? error).replace(/^D1_ERROR: /, ""));
  }
}

export async function d1({ request, env, url, parts }) {
  const [id, what, action] = parts;
  const { method } = request;
  if (id === undefined && method === "GET") return listDatabases(env, url.searchParams);
  if (id === undefined && method === "POST") return createDatabase(env, request);
  // Only the database itself is also found by its name: wrangler asks for it so.
  const isIt = (each) => each.id === id || (what === undefined && each.title === id);
  const database = all(env).find((each) => each.used && isIt(each));
  if (!database) return failure(404, 7404, `The database ${id} could not be found`);
  if (what === undefined) return oneDatabase(env, database, request);
  if ((what === "query" || what === "raw") && method === "POST") {
    return query(env[database.binding], request, what === "raw");
  }
  const travel = {
    id,
    query: url.searchParams,
    run: (queries) => run(env[database.binding], queries),
    empty: () => emptyDatabase(env, id),
  };
  if (what === "time_travel" && action === "bookmark" && method === "GET") return bookmark(travel);
  if (what === "time_travel" && action === "restore" && method === "POST") return restore(travel);
  return failure(405, 7405, "Method not allowed");
}
