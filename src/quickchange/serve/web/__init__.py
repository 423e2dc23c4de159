"""HTTP and WebSocket: everything that knows the web framework.

app           puts the server together
routes        the HTTP routes
connection    ``/v1/stream``, one client at one socket
guard         what stands before every route and socket
errors        HTTP answers for errors
oneshot       whole videos, in turns with the live sessions
"""
