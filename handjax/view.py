"""The hand in a browser: its numbers on sliders; its skin, spheres and joints in 3D; and its depth image.

    python -m handjax.view [--pose FILE or "26 numbers"] [--side left] [--mesh FILE] [--port 8080]
    python -m handjax.view --depth FILE --camera FX,FY,CX,CY [--unit MM] [--workdir RUN | --weights NPZ]

A depth image, given so or loaded on the page, is shown beside; the hand in it is found by a network or fitted to it, step by step.

The page is served to this machine alone, and neither comes from nor asks for anything in the network. To see it from another
machine, open a tunnel there, ssh -L 8080:localhost:8080 THIS_MACHINE, and http://localhost:8080 in its browser. Ctrl-C ends it.
"""

import contextlib
import io
import ipaddress
import json
import os
import signal
import socket
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float

from handjax.data.formats.depth import DEPTH_FORMATS
from handjax.data.formats.mesh import read_skin
from handjax.engine import cli, runtime
from handjax.fitting import tracker
from handjax.rigs import hand
from handjax.rigs import skinning as mesh
from handjax.viewer import hand as shown
from handjax.viewer import page as viewer


def read_hand(given: str, side: str) -> tuple[shown.Hand, Float[np.ndarray, "3"]]:
    """A hand and where it is, from --pose: a file of the viewer's own, or a pose alone."""
    center = np.asarray(shown.CENTER_XYZ, np.float32)
    if not given.endswith(".json"):
        return shown.hand_of(read_pose(given), side=side), center
    try:
        told = json.loads(Path(given).read_bytes())
        fingers = [told["fingers"][finger] for finger in hand.FINGERS]
        found = shown.hand_of(
            [told["pose"][name] for name in hand.POSE_NAMES], told["size"], fingers, told["side"]
        )
        center = np.asarray(told["center_xyz"], np.float32)
    except FileNotFoundError:
        raise FileNotFoundError(f"--pose {given}: no such file") from None
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise ValueError(
            f"--pose {given}: {error!r}; expected json as the viewer writes it, or 26 numbers (rad, mm)"
        ) from None
    numbers = np.concatenate(
        [found.pose.ravel(), found.fingers.ravel(), found.size.ravel(), center.ravel()]
    )
    if (
        found.size.shape
        or center.shape != (3,)
        or not np.all(np.abs(numbers) < 1e6)
        or center[2] < 2 * shown.WINDOW_MM / 3
    ):
        raise ValueError(
            f"--pose {given}: expected finite numbers, and a hand at least 200 mm before the camera"
        )
    return found, center


def read_pose(given: str) -> Float[np.ndarray, "26"]:
    """A pose from a file, .npy or text, or else from what is given itself."""
    try:
        if given.endswith(".npy"):
            with open(given, "rb") as file:
                return shown.check_pose(np.lib.format.read_array(file, allow_pickle=False).ravel())
        return shown.parse_pose(Path(given).read_text() if os.path.isfile(given) else given)
    except FileNotFoundError:
        raise FileNotFoundError(
            f"--pose {given}: no such file; give 26 numbers (rad, mm), or a .npy or text file of them"
        ) from None
    except ValueError as error:
        raise ValueError(
            f"--pose {given[:100]}: {error}; give 26 numbers (rad, mm), or a .npy or text file of them"
        ) from None


def numbers(flag: str, given: str, count: int) -> tuple[float, ...]:
    try:
        found = tuple(float(word) for word in given.replace(",", " ").split())
    except ValueError:
        found = ()
    if len(found) != count or not np.all(np.abs(found) < 1e6):
        raise ValueError(f"{flag} {given}: expected {count} numbers, with commas between them")
    return found


def check_port(host: str, port: int) -> None:
    """viser would take the next free port in silence, and with a host that is not ours try a thousand, then wait for ever."""
    if not 0 <= port < 65536:
        raise ValueError(f"--port {port}: expected 0 (a free one) to 65535")
    try:
        with socket.create_server(
            (host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET
        ):
            pass
    except OSError as error:
        raise ValueError(
            f"cannot listen on --host {host} --port {port}: {error.strerror}; give an address of this machine, or --port 0"
        ) from None


def parser() -> cli.Parser:
    flags = cli.Parser(prog="python -m handjax.view", description=__doc__)
    flags.add_argument(
        "--host",
        default="127.0.0.1",
        help="address to listen on (default 127.0.0.1: this machine alone)",
    )
    flags.add_argument("--port", type=int, default=8080, help="default 8080; 0: a free one")
    flags.add_argument(
        "--pose",
        metavar="FILE|NUMBERS",
        help="what to begin with: 26 numbers, rad and mm, or a .npy or text file of them, or .json that the viewer wrote",
    )
    flags.add_argument(
        "--side", choices=tuple(shown.SIDES), default="right", help="which hand (default: right)"
    )
    flags.add_argument(
        "--mesh",
        type=Path,
        metavar="FILE",
        help="a skin of your own: .npz, .obj or sphereHand's .pkl",
    )
    flags.add_argument(
        "--depth", type=Path, metavar="FILE", help="a depth image to begin with, PNG"
    )
    flags.add_argument("--camera", metavar="FX,FY,CX,CY", help="its intrinsics, px")
    flags.add_argument(
        "--unit", type=float, default=1.0, metavar="MM", help="what a 1 in it is, mm (default: 1)"
    )
    flags.add_argument(
        "--format",
        choices=tuple(DEPTH_FORMATS),
        default="png16",
        help="nyu: RGB, depth = G * 256 + B",
    )
    flags.add_argument(
        "--range",
        metavar="NEAR,FAR",
        default="200,900",
        help="where hands are, mm from it (default: 200,900)",
    )
    networks = flags.add_mutually_exclusive_group()
    networks.add_argument(
        "--workdir",
        type=Path,
        metavar="RUN",
        help="a run of configs/spherehand.py, whose network looks at depth images",
    )
    networks.add_argument(
        "--weights",
        type=Path,
        metavar="NPZ",
        help="or its weights (default: those that come with handjax)",
    )
    return flags


def main(argv: Sequence[str]) -> None:
    args = parser().parse_args(argv)
    if args.pose is None:
        start, center = (
            shown.hand_of(shown.START, side=args.side),
            np.asarray(shown.CENTER_XYZ, np.float32),
        )
    else:
        start, center = read_hand(args.pose, args.side)
    camera = viewer.Camera(
        numbers("--camera", args.camera, 4) if args.camera else (),
        args.unit,
        args.format,
        numbers("--range", args.range, 2),
    )
    if args.depth and not args.camera:
        raise ValueError(
            f"--depth {args.depth}: say what it was taken with, by --camera FX,FY,CX,CY"
        )
    path = args.workdir or args.weights
    network = tracker.network(path) if path else None
    check_port(args.host, args.port)
    skin = (
        mesh.hand_skin()
        if args.mesh is None
        else mesh.skin_from(*read_skin(args.mesh, bones=len(hand.HAND.bones)))
    )
    try:
        import viser
    except ImportError as error:
        raise ValueError(f"the viewer needs viser ({error}): pip install 'handjax[view]'") from None
    runtime.use_compile_cache()
    for ending in (signal.SIGINT, signal.SIGTERM):
        signal.signal(ending, signal.default_int_handler)
    with contextlib.redirect_stdout(io.StringIO()):
        server = viser.ViserServer(args.host, args.port, verbose=False)
    server.request_share_url = lambda: None  # the page may not open a way in from outside
    try:
        if args.port not in (0, server.get_port()):
            raise ValueError(
                f"--port {args.port} was taken while the viewer started; --port 0 takes a free one"
            )
        page = viewer.Page(server, skin, start, center, camera, network)
        if args.depth:
            page.load(args.depth, camera)
        if not ipaddress.ip_address(socket.getaddrinfo(args.host, None)[0][4][0]).is_loopback:
            print(f"--host {args.host}: whoever reaches this machine can open the page")
        host = f"[{args.host}]" if ":" in args.host else args.host
        print(f"the hand is at http://{host}:{server.get_port()} (Ctrl-C ends)", flush=True)
        page.run()
    except KeyboardInterrupt:
        pass
    finally:
        with contextlib.redirect_stdout(io.StringIO()):
            server.stop()


if __name__ == "__main__":
    cli.run(main)
