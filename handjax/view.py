"""handjax view: the hand in a browser.

    handjax view [--pose FILE|NUMBERS] [--side left] [--mesh FILE] [--port 8080]
    handjax view --depth FILE --camera FX,FY,CX,CY [--workdir RUN | --weights NPZ]
    handjax view --play INPUT [--camera FX,FY,CX,CY] [--keep DIR]

The page shows the 26 parameters of the hand on sliders, its skin, spheres and joints in 3D, and its
depth image. A depth image given here or loaded on the page is shown next to it; a network finds the
hand in it, or it is fitted step by step.

--play takes a depth recording (.bag, .db3), or with --camera a folder of depth images, as handjax
predict video does. The hand network follows the hand while it plays and the sliders follow it;
where it errs, stop, move them or fit from there, and with --keep the frame and the hand are labels
for handjax bench real and configs/handnet.py:own.

The page listens on localhost only and loads nothing from the network. To see it from another
machine, open a tunnel there: ssh -L 8080:localhost:8080 THIS_MACHINE, and http://localhost:8080 in
its browser. Ctrl-C ends it.
"""

import argparse
import contextlib
import io
import ipaddress
import logging
import signal
import socket
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from handjax.data.cameras import HELP, depth_range, read_camera
from handjax.data.formats.depth import DEPTH_FORMATS
from handjax.data.formats.mesh import read_skin
from handjax.engine import cli, runtime
from handjax.fitting import sphere_network
from handjax.fitting.depth_cube import RANGE_MM
from handjax.prediction.frames import open_source
from handjax.prediction.hand_depth import HandDepthPredictor
from handjax.rigs import hand, skinning
from handjax.viewer.files import read_hand
from handjax.viewer.fit import DepthCamera
from handjax.viewer.hand import SIDES, START
from handjax.viewer.kept_frames import KeptFrames
from handjax.viewer.page import Page
from handjax.viewer.playback import HandTracker, Playback

if TYPE_CHECKING:
    import viser


def parser() -> cli.Parser:
    """The flags of `handjax view`."""
    flags = cli.Parser(prog="handjax view", description=__doc__)
    add = flags.add_argument
    add(
        "--host",
        default="127.0.0.1",
        help="address to listen on (default: 127.0.0.1, this machine only)",
    )
    add("--port", type=int, default=8080, help="port; 0: a free one (default: 8080)")
    add(
        "--pose",
        metavar="FILE|NUMBERS",
        help="initial pose: 26 numbers in rad and mm, a .npy or text file of them, or a .json file "
        "written by the viewer",
    )
    add("--side", choices=tuple(SIDES), default="right", help="handedness (default: right)")
    add("--mesh", type=Path, metavar="FILE", help="your own skin: .npz, .obj or sphereHand's .pkl")
    add("--depth", type=Path, metavar="FILE", help="a depth image to load, PNG")
    add("--play", metavar="INPUT", help="a recording or a folder of depth images to play")
    add("--keep", type=Path, metavar="DIR", help="folder for frames whose hands you have placed")
    add("--camera", default="", metavar="CAMERA", help=HELP)
    add("--unit", type=float, default=1.0, metavar="MM", help="mm per unit of the file (1)")
    add(
        "--format",
        choices=tuple(DEPTH_FORMATS),
        default="png16",
        help="format of the PNG file; nyu: RGB, depth = G * 256 + B (default: png16)",
    )
    near, far = RANGE_MM
    add(
        "--range",
        metavar="NEAR,FAR",
        help=f"where hands are, mm from the camera (default: {near:g},{far:g}; with --play, where "
        "the hand network looks)",
    )
    networks = flags.add_mutually_exclusive_group()
    networks.add_argument(
        "--workdir",
        type=Path,
        metavar="RUN",
        help="run of configs/spherehand.py whose network is used on depth images",
    )
    networks.add_argument(
        "--weights",
        type=Path,
        metavar="NPZ",
        help="weights of the network (default: the included network)",
    )
    return flags


def main(argv: Sequence[str]) -> None:
    """Serve the viewer until it is interrupted; ValueError and OSError are invalid input."""
    args = parser().parse_args(argv)
    pose = " ".join(map(str, START)) if args.pose is None else args.pose
    start, center = read_hand(pose, args.side)
    range_mm = depth_range("--range", args.range) if args.range else RANGE_MM
    camera = DepthCamera(args.camera, args.unit, args.format, range_mm)
    if args.camera:
        read_camera(args.camera)  # raises if it is not one
    elif args.depth:
        raise ValueError(f"--depth {args.depth}: name its camera by --camera FX,FY,CX,CY")
    playback = _playback(args)
    path = args.workdir or args.weights
    network = sphere_network.load(path) if path else None
    check_port(args.host, args.port)
    skin = (
        skinning.hand_skin()
        if args.mesh is None
        else skinning.bind_mesh(*read_skin(args.mesh, bones=len(hand.HAND.bones)))
    )
    server = start_server(args.host, args.port)
    try:
        if args.port not in (0, server.get_port()):
            raise ValueError(
                f"--port {args.port} was taken while the viewer started; --port 0 takes a free one"
            )
        page = Page(server, skin, start, center, camera, network, playback)
        if args.depth:
            page.load(args.depth, camera)
        if not ipaddress.ip_address(socket.getaddrinfo(args.host, None)[0][4][0]).is_loopback:
            print(f"--host {args.host}: anyone who can reach this machine can open the page")
        host = f"[{args.host}]" if ":" in args.host else args.host
        print(f"the hand is at http://{host}:{server.get_port()} (Ctrl-C ends)", flush=True)
        page.run()
    except KeyboardInterrupt:
        pass
    finally:
        with contextlib.redirect_stdout(io.StringIO()):
            server.stop()


def _playback(args: argparse.Namespace) -> Playback | None:
    """What --play plays; ValueError and OSError for flags that do not go together."""
    if args.play is None:
        if args.keep:
            raise ValueError(f"--keep {args.keep}: it is for frames of --play")
        return None
    if args.depth:
        raise ValueError("--depth and --play both load depth: give one")
    if args.play == "-":
        raise ValueError("--play -: expected a recording or a folder, which can be played again")
    source = open_source(args.play, True, args.unit)
    predictor = HandDepthPredictor.included()
    if args.range:
        predictor.range_mm = depth_range("--range", args.range)
    camera = read_camera(args.camera) if args.camera else None
    if camera is None and next(iter(source.frames())).camera is None:
        raise ValueError(f"--play {args.play}: name its camera by --camera FX,FY,CX,CY")
    kept = KeptFrames(args.keep) if args.keep else None
    return Playback(source, camera, HandTracker(predictor), kept)


def check_port(host: str, port: int) -> None:
    """ValueError if the address cannot be listened on.

    viser would silently take the next free port, and with a foreign address try a thousand ports
    and then wait forever.
    """
    if not 0 <= port < 65536:
        raise ValueError(f"--port {port}: expected 0 (a free one) to 65535")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        with socket.create_server((host, port), family=family):
            pass
    except OSError as error:
        raise ValueError(
            f"cannot listen on --host {host} --port {port}: {error.strerror}; "
            "give an address of this machine, or --port 0"
        ) from None


def start_server(host: str, port: int) -> "viser.ViserServer":
    """A viser server that ends on SIGINT and SIGTERM; ValueError if viser is not installed."""
    try:
        import viser
    except ImportError as error:
        raise ValueError(f"the viewer needs viser ({error}): pip install 'handjax[view]'") from None
    runtime.use_compile_cache()
    runtime.tell_compiling()
    for ending in (signal.SIGINT, signal.SIGTERM):
        signal.signal(ending, signal.default_int_handler)
    # A request that is no GET, such as HEAD, is refused; it deserves no traceback.
    logging.getLogger("websockets.server").addFilter(
        lambda record: record.msg != "opening handshake failed"
    )
    with contextlib.redirect_stdout(io.StringIO()):
        server = viser.ViserServer(host, port, verbose=False)
    # The page may not open a tunnel to the internet.
    setattr(server, "request_share_url", lambda verbose=True: None)  # noqa: B010
    return server


if __name__ == "__main__":
    cli.run(main)
