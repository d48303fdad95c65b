-- What @mastra/cloudflare-d1 1.0.1 (with @mastra/core 1.71.0) makes of make.mjs, its tables of the agent store.
CREATE TABLE dev_mastra_threads (id TEXT NOT NULL PRIMARY KEY, resourceId TEXT NOT NULL, title TEXT NOT NULL, metadata TEXT, createdAt TIMESTAMP NOT NULL, updatedAt TIMESTAMP NOT NULL);
INSERT INTO dev_mastra_threads (id, resourceId, title, metadata, createdAt, updatedAt)
    VALUES ('t', 'u', 'Plants', '{"a":[1],"n":null}', '2026-03-01T10:00:00.000Z', '2026-11-30T23:49:11.431Z');
CREATE TABLE dev_mastra_messages (id TEXT NOT NULL PRIMARY KEY, thread_id TEXT NOT NULL, content TEXT NOT NULL, role TEXT NOT NULL, type TEXT NOT NULL, createdAt TIMESTAMP NOT NULL, resourceId TEXT);
INSERT INTO dev_mastra_messages (id, thread_id, content, role, type, createdAt, resourceId)
    VALUES ('m1', 't', '{"format":2,"parts":[{"type":"text","text":"{\"a\": 1}"}],"content":"{\"a\": 1}","metadata":{"k":1}}', 'user', 'v2', '2026-03-01T10:00:00.000Z', 'u');
INSERT INTO dev_mastra_messages (id, thread_id, content, role, type, createdAt, resourceId)
    VALUES ('m2', 't', '{"format":2,"parts":[{"type":"text","text":"42"}]}', 'assistant', 'v2', '2026-03-01T10:00:00.000Z', 'u');
CREATE TABLE dev_mastra_resources (id TEXT NOT NULL PRIMARY KEY, workingMemory TEXT, metadata TEXT, createdAt TIMESTAMP NOT NULL, updatedAt TIMESTAMP NOT NULL);
INSERT INTO dev_mastra_resources (id, workingMemory, metadata, createdAt, updatedAt)
    VALUES ('u', '{"x": 1}', '{"b":"c"}', '2026-03-01T10:00:00.000Z', '2026-03-01T10:00:00.000Z');
CREATE TABLE dev_mastra_workflow_snapshot (workflow_name TEXT, run_id TEXT, resourceId TEXT, snapshot TEXT, createdAt TIMESTAMP, updatedAt TIMESTAMP, UNIQUE (workflow_name, run_id));
INSERT INTO dev_mastra_workflow_snapshot (workflow_name, run_id, resourceId, snapshot, createdAt, updatedAt)
    VALUES ('w', 'r', 'u', '{"runId":"r","status":"suspended","context":{"s":{"output":[1,null]}},"value":{},"activePaths":[],"suspendedPaths":{},"waitingPaths":{},"serializedStepGraph":[],"timestamp":1}', '2026-11-30T23:49:11.476Z', '2026-11-30T23:49:11.476Z');
CREATE TABLE dev_mastra_scorers (id TEXT NOT NULL PRIMARY KEY, scorerId TEXT, traceId TEXT, spanId TEXT, runId TEXT, scorer TEXT, preprocessStepResult TEXT, extractStepResult TEXT, analyzeStepResult TEXT, score FLOAT, reason TEXT, metadata TEXT, preprocessPrompt TEXT, extractPrompt TEXT, generateScorePrompt TEXT, generateReasonPrompt TEXT, analyzePrompt TEXT, reasonPrompt TEXT, input TEXT, output TEXT, additionalContext TEXT, requestContext TEXT, entityType TEXT, entity TEXT, entityId TEXT, source TEXT, resourceId TEXT, threadId TEXT, organizationId TEXT, projectId TEXT, batchId TEXT, datasetId TEXT, datasetItemId TEXT, createdAt TIMESTAMP, updatedAt TIMESTAMP);
INSERT INTO dev_mastra_scorers (id, scorerId, runId, scorer, score, reason, metadata, input, output, additionalContext, entityType, entity, entityId, source, createdAt, updatedAt)
    VALUES ('5e1b5fb2-9e3a-4bf4-84ee-41a7da35438c', 'tone', 'r', '{"id":"tone","name":"Tone"}', 0.5, 'ok', '{"z":1}', '42', 'plain', '{"c":1}', 'AGENT', '{"id":"bot"}', 'bot', 'TEST', '2026-11-30T23:49:11.498Z', '2026-11-30T23:49:11.498Z');
INSERT INTO dev_mastra_scorers (id, scorerId, runId, scorer, score, reason, metadata, input, output, additionalContext, entityType, entity, entityId, source, createdAt, updatedAt)
    VALUES ('f8c458e6-97fa-40f2-ba1f-0f45c12699a7', 'tone', 'r', '{"id":"tone","name":"Tone"}', 0.5, 'ok', '{"z":1}', '{"q":1}', '[1]', '{"c":1}', 'AGENT', '{"id":"bot"}', 'bot', 'TEST', '2026-11-30T23:49:11.524Z', '2026-11-30T23:49:11.524Z');
