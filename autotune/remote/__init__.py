"""Measuring elsewhere: a server owns a target and evaluates for others; a search shares its configs among servers.

| module | what |
|---|---|
| `messages`, `spaces` | our values as the messages of `protos/measurement.proto`, and back |
| `address`, `credentials` | where a server is, and how both sides prove who they are |
| `queue`, `station`, `service`, `server` | the server |
| `loop`, `connection`, `member`, `pool` | the client; `autotune.targets.remote` makes a target of it |
| `commands`, `status`, `packages` | `autotune serve` and `autotune servers status` |

Everything that imports gRPC is imported when it is needed, for the package is an extra.
"""
