-- What @mastra/libsql 0.16.4 (with @mastra/core 0.24.9) makes of make.mjs, its tables of the agent store.
CREATE TABLE mastra_threads (id TEXT NOT NULL PRIMARY KEY, resourceId TEXT NOT NULL, title TEXT NOT NULL, metadata TEXT, createdAt TEXT NOT NULL, updatedAt TEXT NOT NULL);
INSERT INTO mastra_threads (id, resourceId, title, metadata, createdAt, updatedAt)
    VALUES ('t', 'u', 'Plants', '{"a":[1],"n":null}', '2026-03-01T10:00:00.000Z', '2026-11-30T23:48:59.043Z');
CREATE TABLE mastra_messages (id TEXT NOT NULL PRIMARY KEY, thread_id TEXT NOT NULL, content TEXT NOT NULL, role TEXT NOT NULL, type TEXT NOT NULL, createdAt TEXT NOT NULL, resourceId TEXT);
INSERT INTO mastra_messages (id, thread_id, content, role, type, createdAt, resourceId)
    VALUES ('m1', 't', '{"format":2,"parts":[{"type":"text","text":"{\"a\": 1}"}],"content":"{\"a\": 1}","metadata":{"k":1}}', 'user', 'v2', '2026-03-01T10:00:00.000Z', 'u');
INSERT INTO mastra_messages (id, thread_id, content, role, type, createdAt, resourceId)
    VALUES ('m2', 't', '{"format":2,"parts":[{"type":"text","text":"42"}]}', 'assistant', 'v2', '2026-03-01T10:00:00.000Z', 'u');
CREATE TABLE mastra_resources (id TEXT NOT NULL PRIMARY KEY, workingMemory TEXT, metadata JSONB, createdAt TEXT NOT NULL, updatedAt TEXT NOT NULL);
INSERT INTO mastra_resources (id, workingMemory, metadata, createdAt, updatedAt)
    VALUES ('u', '{"x": 1}', '{"b":"c"}', '2026-03-01T10:00:00.000Z', '2026-03-01T10:00:00.000Z');
CREATE TABLE mastra_workflow_snapshot ( workflow_name TEXT NOT NULL, run_id TEXT NOT NULL, resourceId TEXT, snapshot TEXT NOT NULL, createdAt TEXT NOT NULL, updatedAt TEXT NOT NULL, PRIMARY KEY (workflow_name, run_id) );
INSERT INTO mastra_workflow_snapshot (workflow_name, run_id, resourceId, snapshot, createdAt, updatedAt)
    VALUES ('w', 'r', 'u', '{"runId":"r","status":"suspended","context":{"s":{"output":[1,null]}},"value":{},"activePaths":[],"suspendedPaths":{},"waitingPaths":{},"serializedStepGraph":[],"timestamp":1}', '2026-11-30T23:48:59.046Z', '2026-11-30T23:48:59.046Z');
CREATE TABLE mastra_scorers (id TEXT NOT NULL PRIMARY KEY, scorerId TEXT NOT NULL, traceId TEXT, spanId TEXT, runId TEXT NOT NULL, scorer JSONB NOT NULL, preprocessStepResult JSONB, extractStepResult JSONB, analyzeStepResult JSONB, score FLOAT NOT NULL, reason TEXT, metadata JSONB, preprocessPrompt TEXT, extractPrompt TEXT, generateScorePrompt TEXT, generateReasonPrompt TEXT, analyzePrompt TEXT, reasonPrompt TEXT, input JSONB NOT NULL, output JSONB NOT NULL, additionalContext JSONB, runtimeContext JSONB, entityType TEXT, entity JSONB, entityId TEXT, source TEXT NOT NULL, resourceId TEXT, threadId TEXT, createdAt TEXT NOT NULL, updatedAt TEXT NOT NULL);
INSERT INTO mastra_scorers (id, scorerId, runId, scorer, score, reason, metadata, input, output, additionalContext, entityType, entity, entityId, source, createdAt, updatedAt)
    VALUES ('d6b525cf-7c3b-4f4d-951f-a2f5105e5980', 'tone', 'r', '{"id":"tone","name":"Tone"}', 0.5, 'ok', '{"z":1}', 42, 'plain', '{"c":1}', 'AGENT', '{"id":"bot"}', 'bot', 'TEST', '2026-11-30T23:48:59.071Z', '2026-11-30T23:48:59.071Z');
INSERT INTO mastra_scorers (id, scorerId, runId, scorer, score, reason, metadata, input, output, additionalContext, entityType, entity, entityId, source, createdAt, updatedAt)
    VALUES ('f49f2061-256f-49b3-a2f8-c324d94b673a', 'tone', 'r', '{"id":"tone","name":"Tone"}', 0.5, 'ok', '{"z":1}', '{"q":1}', '[1]', '{"c":1}', 'AGENT', '{"id":"bot"}', 'bot', 'TEST', '2026-11-30T23:48:59.074Z', '2026-11-30T23:48:59.074Z');
CREATE TABLE mastra_ai_spans ( traceId TEXT NOT NULL, spanId TEXT NOT NULL, parentSpanId TEXT, name TEXT NOT NULL, scope JSONB, spanType TEXT NOT NULL, attributes JSONB, metadata JSONB, links JSONB, input JSONB, output JSONB, error JSONB, startedAt TEXT NOT NULL, endedAt TEXT, createdAt TEXT NOT NULL, updatedAt TEXT, isEvent BOOLEAN NOT NULL, PRIMARY KEY (traceId, spanId) );
INSERT INTO mastra_ai_spans (traceId, spanId, name, scope, spanType, attributes, metadata, input, output, startedAt, endedAt, createdAt, updatedAt, isEvent)
    VALUES ('tr', 'sp', 'run', '{"core":"1"}', 'agent_run', '{"model":"m"}', '{"m":1}', 'plain', '{"x":[1]}', '2026-03-01T10:00:00.000Z', '2026-03-02T10:00:00.000Z', '2026-11-30T23:48:59.083Z', '2026-11-30T23:48:59.083Z', 0);
INSERT INTO mastra_ai_spans (traceId, spanId, parentSpanId, name, scope, spanType, attributes, metadata, input, output, startedAt, createdAt, updatedAt, isEvent)
    VALUES ('tr', 'sq', 'sp', 'run', '{"core":"1"}', 'agent_run', '{"model":"m"}', '{"m":1}', 42, '{"x":[1]}', '2026-03-01T10:00:00.000Z', '2026-11-30T23:48:59.084Z', '2026-11-30T23:48:59.084Z', 0);
