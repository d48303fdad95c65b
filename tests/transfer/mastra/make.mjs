// Writes what the tests import, by Mastra itself: into a LibSQL file, or as its D1 store would.
//
//   npm install @mastra/core@1.71.0 @mastra/libsql@1.23.1 @mastra/cloudflare-d1@1.0.1
//   node make.mjs libsql one.db    or    node make.mjs d1 one.db
//
// The .sql files beside it are dumps of the tables that are imported.
const [, , kind, path] = process.argv;

async function open() {
  if (kind === 'libsql') {
    const { LibSQLStore } = await import('@mastra/libsql');
    return new LibSQLStore({ id: 'x', url: `file:${path}` });
  }
  const { D1Store } = await import('@mastra/cloudflare-d1');
  const { createClient } = await import('@libsql/client');
  const database = createClient({ url: `file:${path}` });
  const query = async ({ sql, params }) => {
    const { rows } = await database.execute({ sql, args: params ?? [] });
    return { result: [{ results: rows.map(row => ({ ...row })) }] };
  };
  return new D1Store({ id: 'x', tablePrefix: 'dev_', client: { query } });
}

const store = await open();
await store.init();
// Earlier versions have every method on the store itself.
const domain = async name => (store.getStore ? await store.getStore(name) : store) ?? store;
const day = number => new Date(Date.UTC(2026, 2, number, 10));

const memory = await domain('memory');
const thread = { id: 't', resourceId: 'u', title: 'Plants', metadata: { a: [1], n: null } };
await memory.saveThread({ thread: { ...thread, createdAt: day(1), updatedAt: day(2) } });
const said = (id, role, text, more = {}) => ({
  id, threadId: 't', resourceId: 'u', role, type: 'v2', createdAt: day(1),
  content: { format: 2, parts: [{ type: 'text', text }], ...more },
});
await memory.saveMessages({
  format: 'v2',
  messages: [
    said('m1', 'user', '{"a": 1}', { content: '{"a": 1}', metadata: { k: 1 } }),
    said('m2', 'assistant', '42'),
  ],
});
const resource = { id: 'u', workingMemory: '{"x": 1}', metadata: { b: 'c' } };
await memory.saveResource({ resource: { ...resource, createdAt: day(1), updatedAt: day(1) } });

const snapshot = {
  runId: 'r', status: 'suspended', context: { s: { output: [1, null] } }, value: {},
  activePaths: [], suspendedPaths: {}, waitingPaths: {}, serializedStepGraph: [], timestamp: 1,
};
const workflows = await domain('workflows');
await workflows.persistWorkflowSnapshot({ workflowName: 'w', runId: 'r', resourceId: 'u', snapshot });

const scores = await domain('scores');
for (const [input, output] of [['42', 'plain'], [{ q: 1 }, [1]]]) {
  await scores.saveScore({
    scorerId: 'tone', entityId: 'bot', entityType: 'AGENT', runId: 'r', source: 'TEST',
    scorer: { id: 'tone', name: 'Tone' }, entity: { id: 'bot' }, score: 0.5, reason: 'ok',
    metadata: { z: 1 }, additionalContext: { c: 1 }, input, output,
  });
}

if (kind === 'libsql') {
  const traces = await domain('observability');
  const root = {
    traceId: 'tr', spanId: 'sp', parentSpanId: null, name: 'run', spanType: 'agent_run',
    isEvent: false, startedAt: day(1), endedAt: day(2), attributes: { model: 'm' },
    metadata: { m: 1 }, input: 'plain', output: { x: [1] }, scope: { core: '1' }, links: null,
    error: null,
  };
  const inner = { ...root, spanId: 'sq', parentSpanId: 'sp', input: '42', endedAt: null };
  for (const span of [root, inner]) {
    await (traces.createSpan ? traces.createSpan({ span }) : traces.createAISpan(span));
  }
}
