"""Cloudflare's services: one client for its REST API, and the runtime's bindings.

| module | is |
|---|---|
| `client` | `CloudflareClient`: authentication, envelopes, pages, retries, the rate budget |
| `errors` | the one table from status, code and message to errors |
| `d1` | `D1Transport`, and D1 over REST |
| `kv` | `KVTransport`, and Workers KV over REST |
| `bindings` | the same two transports inside a Python Worker |
| `_http` | the only place that knows the HTTP library |

Providers stand on the two transports and never see an envelope.
"""
