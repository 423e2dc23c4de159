"""The studio in the browser: a server that is a client of the public Python API, and nothing else.

    protocol    what is said over the socket, and in which state            pure
    pacing      when a chunk is generated, a frame shown or dropped         pure
    inspector   the KV cache's books as messages                            pure
    device      one thread that computes and gives streams turns
    turns       what the device does for one stream
    live        one stream: state, pace, recording
    hub         all streams: places, resuming, freeing
    stream      /v1/stream, one viewer at one socket
    rest        the other routes; oneshot: whole videos in turns with the streams
    guard       names, origins, token, sizes and rates; problems: errors as clients see them
    encode      frames to H.264, VP8 or JPEG; recording: to MP4
    uploads     pictures of a viewer's own; catalogue: the bundled ones
    app         puts it together
    client      a viewer without a screen, for scripts and tests
    static/     the page

FastAPI, uvicorn and the rest of the extra ``serve`` are imported here and nowhere else.
"""
