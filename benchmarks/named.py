"""The command line of files with several measurements: those that are named are taken, each is a line of JSON."""

import argparse
import json
from collections.abc import Callable, Mapping
from typing import Any


def take_named(description: str | None, measurements: Mapping[str, Callable[[], dict[str, Any]]]) -> None:
    """Takes the measurements that the command line names, and prints each as soon as it is done."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="+", choices=measurements, metavar="NAME", help=", ".join(measurements))
    for name in parser.parse_args().names:
        print(json.dumps({"measured": name, **measurements[name]()}), flush=True)
