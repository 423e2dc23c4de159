"""The studio in the browser: a server that is a client of the public Python API.

    protocol     messages, states, frames and problems        pure
    sessions     live sessions, their pace, and the device's worker        no web framework
    web          routes, the socket, the guard
    page         the page in the browser

    settings     of a server
    catalogue    the bundled pictures; uploads: a client's own
    encode       frames to H.264, VP8 or JPEG; recording: to MP4
    metrics      counters for Prometheus
    client       a client without a screen, for scripts and tests

FastAPI, uvicorn and the rest of the extra ``serve`` are imported here and nowhere else.
"""
