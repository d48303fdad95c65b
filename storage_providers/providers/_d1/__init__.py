"""The SQL engine over D1, where every call counts and a batch of statements is one of them.

| module | does |
|---|---|
| `bound` | statements as D1 takes them: numbers inlined, at most 100 texts bound, limits checked |
| `database` | one database: what to send together, and what is known of its tables |
| `writing` | a batch of writes as one batch of statements, and its results |
| `asking` | reads and queries |
| `conflicts` | why a batch was refused |
| `declaring` | changing a declaration |
| `reaching` | REST API or binding |

D1 takes numbers as floating point and returns them so. So nothing but text is bound: numbers stand
in the statements, documents travel as JSON text, payloads as base64.

A batch of writes begins with a statement that keeps its token. A batch that is sent again because
its answer was lost fails on that, and so never happens twice. Then come the guards: statements that
fail on purpose when a condition does not hold, and say of which write.
"""
