"""What a tier runs next, as pure code: frames and times in, batches out. No threads, no sockets, no clock of its own.

`Scheduler` is the whole of it seen from outside; `Costs` is what it has learnt; a rule (`batching`) shapes batches.
"""
