"""The protocol of ``/v1/stream``, version 1. Described for readers in docs/protocol.md.

One WebSocket carries one client's stream. Control travels both ways as JSON text messages: one object each, with a
field ``type``. Video travels to the client as binary messages: one frame each, behind a header of fixed size.

    messages    the JSON messages, their parsing and their JSON schema
    states      the states of a session, and every transition between them
    frames      the binary header
    problems    errors as clients see them

Everything here is pure: no sockets, no clocks, no web framework.
"""

VERSION = 1
"""Of the protocol: in ``hello``, in ``welcome`` and in the first byte of every frame."""
