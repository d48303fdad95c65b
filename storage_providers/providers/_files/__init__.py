"""Documents as files: what `LocalFileProvider` is made of.

| module | does |
|---|---|
| `names` | file names of ids, scopes and collections |
| `layout` | where everything of a root lies |
| `format` | bytes of a file from a document, and back |
| `reader` | reads one document's file |
| `lock` | one writing process at a time |
| `writer` | durable, atomic changes to files |
| `commit` | batches of writes, from their conditions to the index |
| `backups` | what was replaced or deleted |
| `index` | the derived SQLite index |
| `scan` | finds files changed by hand |
"""
