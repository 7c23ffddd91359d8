"""``serve``: music over HTTP, and the studio page; its keys, and what it keeps as files."""

import argparse
import re
from pathlib import Path
from typing import TYPE_CHECKING

from descant.apps.cli.options import (
    add_common_options,
    add_model_options,
    at_least_one,
    number,
    whole_number,
)
from descant.apps.cli.outputs import check_outside, note, show
from descant.apps.cli.parser import Commands, Parser
from descant.errors import InvalidRequest, MissingExtra

if TYPE_CHECKING:
    from descant.apps.server.config import ClusterConfig, ServerConfig
    from descant.apps.server.keys import KeyFile

HOST, PORT, QUOTA_GIB = "127.0.0.1", 8_765, 10.0
EXPORT_FORMATS = ("flac", "wav", "mp3", "ogg", "opus", "m4a")
DEFAULT_SCOPES = ("read", "generate", "listen")
_HOST_NAME = re.compile(r"[A-Za-z0-9._-]+|[0-9A-Fa-f:.]+", re.ASCII)
_CLUSTER = re.compile(r"local|auto|(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+):\d{1,5}", re.ASCII)
_ORIGIN = re.compile(r"https?://[^/\s]+", re.ASCII)


def cluster_address(text: str) -> str:
    """``local``, ``auto`` or the address of a cluster's head."""
    if not _CLUSTER.fullmatch(text):
        raise argparse.ArgumentTypeError(
            f"{text!r:.100} is not local, auto or HOST:PORT, such as head.example:6379; ray:// cannot be used"
        )
    return text


def add_commands(commands: Commands) -> None:
    """Adds ``serve``, ``serve keys`` and ``serve export``."""
    help = "make music for a browser and for other programs over HTTP, and keep what was made"
    parser = commands.add("serve", help, "descant serve --open", run=serve)
    parser.add_argument("--host", default=HOST, metavar="ADDRESS", help=f"where to listen (default: {HOST})")
    parser.add_argument("--port", type=whole_number, default=PORT, metavar="N", help=f"(default: {PORT})")
    parser.add_argument("--open", action="store_true", help="open the page in a browser")
    parser.add_argument(
        "--quota-gib",
        type=number,
        default=QUOTA_GIB,
        metavar="N",
        help=f"room for what is kept; the oldest audio goes first, codes stay (default: {QUOTA_GIB:g})",
    )
    parser.add_argument(
        "--allowed-host", action="append", default=[], metavar="NAME", help="another name of this server"
    )
    parser.add_argument(
        "--allow-origin",
        action="append",
        default=[],
        metavar="ORIGIN",
        help="another site whose pages may change things",
    )
    parser.add_argument("--no-studio", action="store_true", help="serve programs only, no page")
    parser.add_argument(
        "--cluster",
        type=cluster_address,
        metavar="WHERE",
        help="compute in replicas of Ray Serve: local starts Ray on this machine, auto joins the Ray that runs here, "
        "HOST:PORT the cluster with this head, which this machine has joined",
    )
    parser.add_argument(
        "--replicas", type=at_least_one, default=1, metavar="N", help="replicas of the model in --cluster (default: 1)"
    )
    _add_folder_options(parser)
    add_model_options(parser)
    add_common_options(parser)
    group = Commands(parser, "serve_command", is_required=False)
    _add_keys(group.group("keys", "who may use a server that others can reach"))
    _add_export(group)


def serve(arguments: argparse.Namespace) -> None:
    """Serves until it is stopped."""
    require_server()
    config = config_of(arguments)
    _check_model(arguments)
    from descant.apps.server.run import run

    run(config, is_opened=arguments.open, note=note)


def add_key(arguments: argparse.Namespace) -> None:
    """Makes a key and prints its token, which is shown only now."""
    scopes = DEFAULT_SCOPES if arguments.scope is None else tuple(arguments.scope.split(","))
    key, token = _key_file(arguments).add(arguments.name, scopes)
    show({"id": key.id, "name": key.name, "scopes": list(key.scopes), "token": token}, [token], arguments.json)
    if not arguments.json:
        note("this is the only time that the key is shown; send it as Authorization: Bearer KEY")


def list_keys(arguments: argparse.Namespace) -> None:
    """Lists the keys."""
    keys = _key_file(arguments).keys()
    lines = [
        f"{key.name}  {','.join(key.scopes)}  {key.created_at[:10]}{'  revoked' if key.revoked_at else ''}"
        for key in keys
    ]
    fields = ("id", "name", "scopes", "created_at", "revoked_at")
    show({"keys": [{name: getattr(key, name) for name in fields} for key in keys]}, lines, arguments.json)


def revoke_key(arguments: argparse.Namespace) -> None:
    """Ends a key, at once."""
    key = _key_file(arguments).revoke(arguments.name)
    show({"id": key.id, "name": key.name, "revoked_at": key.revoked_at}, [f"{key.name} is revoked"], arguments.json)


def export(arguments: argparse.Namespace) -> None:
    """Writes all clips with readable names."""
    from descant.apps.server.export import export as write_all_clips

    check_outside("DIR", arguments.folder, server=_folder(arguments))
    files = write_all_clips(_folder(arguments), Path(arguments.folder).expanduser(), arguments.format)
    show({"files": [str(path) for path in files]}, [str(path) for path in files], arguments.json)


def require_server() -> None:
    """Raises `MissingExtra` if the web framework is not installed."""
    try:
        import fastapi  # noqa: F401
        import prometheus_client  # noqa: F401
        import python_multipart  # noqa: F401
        import uvicorn  # noqa: F401
    except ImportError as error:
        raise MissingExtra('the service needs a web framework: pip install "descant[serve]"') from error


def config_of(arguments: argparse.Namespace) -> "ServerConfig":
    """The server that the options describe."""
    from descant.apps.server.adapter_names import FOLDER
    from descant.apps.server.config import GIB, ServerConfig, engine_command

    if not 0 <= arguments.port <= 65_535:
        raise InvalidRequest(f"--port {arguments.port}: allowed are 0 to 65535; 0 takes a free one")
    if not 0 < arguments.quota_gib <= 1e6:
        raise InvalidRequest(f"--quota-gib {arguments.quota_gib:g}: must be above 0")
    for name in arguments.allowed_host:
        if not _HOST_NAME.fullmatch(name):
            raise InvalidRequest(f"--allowed-host {name!r:.100}: give a name without a port, such as music.example")
    for origin in arguments.allow_origin:
        if not _ORIGIN.fullmatch(origin):
            raise InvalidRequest(f"--allow-origin {origin!r:.100}: give an origin such as https://music.example")
    return ServerConfig(
        folder=_folder(arguments),
        engine=engine_command(arguments.model, arguments.device, arguments.precision, _folder(arguments) / FOLDER),
        keys=_key_file(arguments).path,
        model=arguments.model,
        host=arguments.host,
        port=arguments.port,
        quota_bytes=round(arguments.quota_gib * GIB),
        allowed_hosts=tuple(arguments.allowed_host),
        allowed_origins=tuple(arguments.allow_origin),
        has_studio=not arguments.no_studio,
        cluster=_cluster(arguments),
    )


def _add_keys(group: Commands) -> None:
    add = group.add("add", "make a key and print it", "descant serve keys add phone", run=add_key)
    add.add_argument("name", metavar="NAME", help="whom or what it is for")
    add.add_argument(
        "--scope",
        metavar="LIST",
        help=f"what it may do: read, generate, listen, admin, joined by commas (default: {','.join(DEFAULT_SCOPES)})",
    )
    revoke = group.add("revoke", "end a key, at once", "descant serve keys revoke phone", run=revoke_key)
    revoke.add_argument("name", metavar="NAME", help="of the key, or its id")
    for parser in (add, group.add("list", "list the keys", "descant serve keys list", run=list_keys), revoke):
        _add_folder_options(parser)
        add_common_options(parser)


def _add_export(group: Commands) -> None:
    help = "write all that the server keeps as files with readable names, and their recipes"
    parser = group.add("export", help, "descant serve export music/", run=export)
    parser.add_argument("folder", metavar="DIR", help="where to write; nothing there is replaced")
    parser.add_argument("--format", choices=EXPORT_FORMATS, default="flac", help="of the audio (default: flac)")
    _add_data_option(parser)
    add_common_options(parser)


def _add_folder_options(parser: Parser) -> None:
    _add_data_option(parser)
    parser.add_argument("--keys", metavar="FILE", help="the file with the keys (default: keys.json in --data)")


def _add_data_option(parser: Parser) -> None:
    parser.add_argument(
        "--data", metavar="DIR", help="where all is kept (default: $DESCANT_HOME/studio, or the user's folder for data)"
    )


def _check_model(arguments: argparse.Namespace) -> None:
    """Refuses what the engine would refuse, before anything is served. The devices of a cluster are not known here."""
    from descant.checkpoints.names import config_of as model_config
    from descant.devices import select_device, select_precision

    model_config(arguments.model)
    if arguments.cluster is None:
        select_precision(arguments.precision, select_device(arguments.device))


def _cluster(arguments: argparse.Namespace) -> "ClusterConfig | None":
    """The replicas that the options describe; None for an engine in a process of this machine."""
    from functools import partial

    from descant.apps.server.adapter_names import FOLDER
    from descant.apps.server.config import ClusterConfig
    from descant.apps.server.engine.program import run_engine

    if arguments.cluster is None:
        if arguments.replicas > 1:
            raise InvalidRequest(f"--replicas {arguments.replicas}: needs --cluster, such as --cluster local")
        return None
    if ":" in arguments.device:
        raise InvalidRequest(f"--device {arguments.device}: Ray chooses the GPU of each replica; give cuda")
    from descant.apps.server.cluster.ray_serve import require_ray

    require_ray()
    # Replicas run in other folders.
    model = str(Path(arguments.model).absolute()) if Path(arguments.model).exists() else arguments.model
    engine = partial(
        run_engine,
        model=model,
        device=arguments.device,
        precision=arguments.precision,
        adapters=_folder(arguments).absolute() / FOLDER,
    )
    return ClusterConfig(
        address=arguments.cluster,
        replicas=arguments.replicas,
        engine=engine,
        device=arguments.device,
        threads=arguments.threads,
    )


def _folder(arguments: argparse.Namespace) -> Path:
    from descant.apps.server.config import default_folder

    return default_folder() if arguments.data is None else _path("--data", arguments.data)


def _key_file(arguments: argparse.Namespace) -> "KeyFile":
    from descant.apps.server.keys import KeyFile

    return KeyFile(_folder(arguments) / "keys.json" if arguments.keys is None else _path("--keys", arguments.keys))


def _path(option: str, text: str) -> Path:
    if "\0" in text:
        raise InvalidRequest(f"{option} {text!r:.100}: that is no path")
    return Path(text).expanduser()
