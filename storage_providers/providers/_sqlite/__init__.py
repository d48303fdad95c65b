"""The SQL engine on Python's `sqlite3`, for `SQLiteProvider` and the index beside local files.

| module | does |
|---|---|
| `session` | one connection and what may be asked of it |
| `worker` | the thread that owns a connection; group commit |
| `rows` | documents from rows |
| `errors` | what is raised for SQLite's errors |
"""
