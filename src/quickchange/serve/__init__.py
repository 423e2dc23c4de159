"""The studio in the browser: a server that is a client of the public Python API, and nothing else.

    protocol    what is said over the socket, and in which state            pure
    pacing      when a frame is generated, shown, dropped                   pure
    device      one thread that computes and gives streams turns
    turns       what the device does for one stream
    live        one stream: state, pace, recording
    hub         all streams: places, resuming, freeing
    encode      frames to H.264, VP8 or JPEG
    stream      /v1/stream
    rest        the other routes
    app         puts it together

FastAPI, uvicorn and the rest of the extra ``serve`` are imported here and nowhere else.
"""
