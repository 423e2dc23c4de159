"""Live sessions, their pace, and the worker that generates their frames. No web framework here.

registry    all sessions of a server
session     one session: state, pace, recording        on the event loop
pacing      when a chunk is generated, a frame shown or dropped        pure
order       what a session wants from its next chunk
worker      gives sessions turns on the device
driver      carries out a session's orders        on the device's thread
inspector   the cache's ledger as messages        pure
services    what sessions share
"""
