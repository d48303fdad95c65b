// Time travel of D1, which workerd does not have: states are kept as statements that make them anew.
import { failure, success } from "./answers.js";
import { now } from "./state.js";

const OBJECTS = `SELECT type, name, sql FROM sqlite_master WHERE sql IS NOT NULL
  AND name NOT LIKE 'sqlite!_%' ESCAPE '!' AND name NOT LIKE '!_cf!_%' ESCAPE '!' ORDER BY rowid`;

// Of each database, its states in the order of time: { bookmark, at, statements }.
const states = new Map();

const quoted = (name) => `"${name.replaceAll('"', '""')}"`;

// A bookmark's form is the service's; later ones sort after earlier ones.
function bookmarkOf(number) {
  const part = (value) => value.toString(16).padStart(8, "0");
  return `${part(number)}-${part(0)}-00004c6d-${"0".repeat(32)}`;
}

// How each row is inserted again: values as literals, since bytes and long integers can't be bound.
async function rowsOf(run, table) {
  const [{ rows: columns }] = await run([
    { sql: `SELECT name FROM pragma_table_info(?)`, params: [table] },
  ]);
  const names = columns.map(([name]) => quoted(name));
  const values = names.map((name) => `quote(${name})`).join(" || ',' || ");
  const [{ rows }] = await run([
    { sql: `SELECT ${values} FROM ${quoted(table)}`, params: [] },
  ]);
  return rows.map(([text]) => `INSERT INTO ${quoted(table)} (${names}) VALUES (${text})`);
}

async function keep(run, id) {
  const [{ rows }] = await run([{ sql: OBJECTS, params: [] }]);
  const isPlain = rows.every(([type, , sql]) => type !== "trigger" && !/^CREATE VIRTUAL/i.test(sql));
  const statements = [];
  for (const [type, name, sql] of isPlain ? rows : []) {
    statements.push(sql);
    if (type === "table") statements.push(...(await rowsOf(run, name)));
  }
  const known = states.get(id) ?? [];
  const state = { bookmark: bookmarkOf(known.length + 1), at: now(), isPlain, statements };
  states.set(id, [...known, state]);
  return state;
}

function stateAt(id, timestamp) {
  const at = Date.parse(timestamp);
  return (states.get(id) ?? []).findLast((state) => state.at <= at);
}

export async function bookmark({ run, id, query }) {
  const timestamp = query.get("timestamp");
  const state = timestamp === null ? await keep(run, id) : stateAt(id, timestamp);
  if (!state) return failure(400, 7400, "the emulator knows only moments that were bookmarked");
  return success({ bookmark: state.bookmark });
}

export async function restore({ run, id, query, empty }) {
  const wanted = query.get("bookmark");
  const found =
    wanted === null
      ? stateAt(id, query.get("timestamp"))
      : (states.get(id) ?? []).find((state) => state.bookmark === wanted);
  // What the service says to a wrong one is not known.
  if (!found) return failure(400, 7400, "The request is malformed: invalid bookmark");
  if (!found.isPlain) return failure(500, 7500, "the emulator restores no triggers or full text");
  const before = await keep(run, id);
  await empty();
  if (found.statements.length) await run(found.statements.map((sql) => ({ sql, params: [] })));
  return success({
    bookmark: found.bookmark,
    previous_bookmark: before.bookmark,
    message: `Restored database ${id} to bookmark ${found.bookmark}`,
  });
}
