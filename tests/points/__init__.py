"""Crash points and interleavings: worker, supervisor, reaper, promoter and producer, step by step in one process.

`test_crash_points` walks every path of a job's life on a real server and lets the actor die, lose a reply, stand still
or come late at every single command in turn. `test_interleavings` lets Hypothesis put their steps and troubles into any
order. One oracle looks at the whole keyspace after each command. `RELIQ_INTERLEAVINGS=N` plays N new examples.
"""
