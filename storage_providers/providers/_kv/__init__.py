"""The driver for Workers KV: the seam of `_objects`, on namespaces.

| module | holds |
|---|---|
| `_kv.layout` | under which keys things are: `[{prefix}:][@{scope}:]{collection}:{id}` |
| `_kv.metadata` | what rides in a key's metadata, so that a listing of small documents is enough |
| `_kv.reaching` | which namespaces, and how they are reached: by id, by title, by a binding |
| `_kv.store` | `KVStore`: get, put, delete, list, all by bulk calls |
| `_kv.own` | what a store wrote itself lately, by which old answers are corrected |
| `_kv.naming` | the names of collections, from listings |
| `_kv.provisioning` | whether the namespaces are there, and making them |
"""
