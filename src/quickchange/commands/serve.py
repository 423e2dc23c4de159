"""``quickchange serve``: the studio in the browser, and its API."""

from __future__ import annotations

import argparse
import ipaddress
import logging
import os
import socket
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from quickchange.commands.loading import DEVICE_HELP, MODEL_HELP, check_threads, model_folder, open_studio
from quickchange.errors import InputError

if TYPE_CHECKING:
    from quickchange.serve.sessions.registry import SessionRegistry
    from quickchange.serve.settings import Settings

TOKEN_VARIABLE = "QUICKCHANGE_TOKEN"
GRACE_SECONDS = 5


def add_parser(commands: Any) -> None:
    """Register the command with argparse's ``commands``."""
    parser = commands.add_parser(
        "serve",
        help="the studio in the browser: change clothes live",
        description="Serve the studio page and its API. Only this machine can reach it unless --host says otherwise.",
        allow_abbrev=False,
    )
    parser.add_argument("--model", type=Path, help=MODEL_HELP)
    parser.add_argument("--host", default="127.0.0.1", help="address to listen at (default: %(default)s)")
    parser.add_argument("--port", type=int, default=8000, help="0 takes a free one (default: %(default)s)")
    parser.add_argument("--device", default="auto", help=DEVICE_HELP)
    parser.add_argument("--threads", type=int, help="CPU threads to compute with (default: one core is left for the "
                        "server and a browser on this machine)")  # fmt: skip
    parser.add_argument(
        "--token", help=f"asked of every route and socket (default: ${TOKEN_VARIABLE}, else none; kept off the log)"
    )
    parser.add_argument("--ahead", type=float, default=250, metavar="MS", help="how far to generate in front of the "
                        "screen, milliseconds (default: %(default)g)")  # fmt: skip
    parser.add_argument("--max-sessions", type=int, metavar="N", help="streams at a time (default: what memory and "
                        "speed allow, measured)")  # fmt: skip
    parser.add_argument("--resume-seconds", type=float, default=30, metavar="S", help="how long a stream waits for a "
                        "lost viewer (default: %(default)g)")  # fmt: skip
    parser.add_argument("--allow-host", action="append", default=[], metavar="NAME", help="another name under which "
                        "this server is reached, as in the Host header; any number of these")  # fmt: skip
    parser.add_argument("--allow-origin", action="append", default=[], metavar="URL", help="a web page elsewhere that "
                        "may use the API; any number of these")  # fmt: skip
    parser.add_argument("--recordings", type=Path, metavar="FOLDER", help="keep recordings there (default: they go "
                        "with their session)")  # fmt: skip
    parser.add_argument("--c2pa-certificate", type=Path, metavar="PEM", help="certificate chain to sign what is "
                        "generated with")  # fmt: skip
    parser.add_argument("--c2pa-key", type=Path, metavar="PEM", help="its private key (ES256)")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Serve until interrupted. Raises InputError for what the user has to put right."""
    settings = make_settings(args)
    model = model_folder(args.model)
    if settings.certificate is not None and settings.key is not None:
        from quickchange.media.provenance import check_signer

        check_signer(settings.certificate, settings.key)

    import uvicorn

    from quickchange.engine.threads import usable_cores
    from quickchange.serve.protocol.messages import MAX_MESSAGE_BYTES
    from quickchange.serve.web.app import create_app

    # Threads that compute wait for each other: one core is left to the browser, the encoder and the socket.
    most = max(1, usable_cores() - 1)
    app = create_app(
        lambda: open_studio(model, args.device, args.threads, most=most, warm=True), model.resolve().name, settings
    )
    config = uvicorn.Config(
        app,
        host=args.host,
        port=args.port,
        log_level="warning",
        access_log=False,  # a token may stand in the first request's line
        ws_max_size=2 * MAX_MESSAGE_BYTES,
        ws_per_message_deflate=False,  # video does not get smaller
        timeout_graceful_shutdown=GRACE_SECONDS,
        server_header=False,
    )
    server = uvicorn.Server(config)
    failure: list[Exception] = []

    def failed(error: Exception) -> None:
        failure.append(error)
        server.should_exit = True

    def ready(registry: SessionRegistry) -> None:
        port = server.servers[0].sockets[0].getsockname()[1]
        host = f"[{args.host}]" if ":" in args.host else args.host
        link = f"http://{host}:{port}/" + (f"?token={settings.token}" if settings.token else "")
        shown = registry.services.model
        what = f"{shown.name} on {shown.device}, places: {registry.capacity}"
        sys.stdout.write(f"{link}  ({what}; Ctrl-C stops it)\n")
        sys.stdout.flush()

    app.state.server.failed, app.state.server.ready = failed, ready
    # uvicorn calls a socket that was refused with an HTTP answer a fault of the application, at every one.
    logging.getLogger("uvicorn.error").addFilter(lambda r: "without completing handshake" not in r.getMessage())
    sys.stderr.write(f"loading and warming up {model.name} ...\n")
    if settings.token is None and not _loopback(args.host):
        sys.stderr.write("quickchange: warning: anyone who reaches this machine can use the studio; see --token\n")
    try:
        server.run()
    except SystemExit as error:  # uvicorn's way of saying that the address is taken, or none of this machine's
        raise InputError(f"cannot listen at {args.host} port {args.port}; choose another --host or --port") from error
    except KeyboardInterrupt:  # how one stops it: uvicorn has closed everything by now
        pass
    if failure:
        raise failure[0]
    return 0


def make_settings(args: argparse.Namespace) -> Settings:
    """Checked settings from the command line.

    Raises:
        InputError: a value that cannot be used.
    """
    from quickchange.serve.settings import Settings

    if not 0 <= args.port <= 65535:
        raise InputError(f"--port is {args.port}; it must be between 0 and 65535")
    if not 0 <= args.ahead <= 10_000:
        raise InputError(f"--ahead is {args.ahead:g} ms; it must be between 0 and 10000")
    if args.max_sessions is not None and args.max_sessions < 1:
        raise InputError(f"--max-sessions is {args.max_sessions}; it must be at least 1")
    if not 0 <= args.resume_seconds <= 3600:
        raise InputError(f"--resume-seconds is {args.resume_seconds:g}; it must be between 0 and 3600")
    check_threads(args.threads)
    if (args.c2pa_certificate is None) != (args.c2pa_key is None):
        raise InputError("--c2pa-certificate and --c2pa-key belong together; give both or neither")
    for option, path in (("--c2pa-certificate", args.c2pa_certificate), ("--c2pa-key", args.c2pa_key)):
        if path is not None and not path.is_file():
            raise InputError(f"{option} {path}: no such file")
    if args.recordings is not None and (args.recordings.is_file() or not args.recordings.parent.is_dir()):
        raise InputError(f"--recordings {args.recordings} is not a folder, nor can it become one")
    token = args.token if args.token is not None else os.environ.get(TOKEN_VARIABLE)
    if token is not None and (len(token) < 16 or not token.isascii() or not token.isprintable() or " " in token):
        raise InputError("--token must have at least 16 printable ASCII characters and no space")
    return Settings(
        token=token,
        ahead=args.ahead / 1000,
        max_sessions=args.max_sessions,
        resume_seconds=args.resume_seconds,
        hosts=(*Settings().hosts, args.host, socket.gethostname(), *args.allow_host),
        origins=tuple(args.allow_origin),
        recordings=args.recordings,
        certificate=args.c2pa_certificate,
        key=args.c2pa_key,
    )


def _loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
