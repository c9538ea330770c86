"""Found by every Python that has this folder in PYTHONPATH: forbids the network, and notes who asked for it.

What is noted stays noted where a library catches the error and goes on.
"""

import os
import socket
import sys
import traceback

LOOKED_UP = ("socket.getaddrinfo", "socket.gethostbyname", "socket.gethostbyaddr", "socket.getnameinfo")
PROBE = "_has_ipv6"  # urllib3, as it is loaded, looks whether there is IPv6, and asks nobody
FAMILIES = (socket.AF_INET, socket.AF_INET6)


def forbid(event: str, given: tuple) -> None:
    """Refuse sockets of the internet, loopback included, and the look-up of names."""
    if event in LOOKED_UP or (event == "socket.__new__" and given[1] in FAMILIES):
        stack = traceback.extract_stack(limit=8)
        if PROBE not in [frame.name for frame in stack]:
            with open(os.environ["ASKED_FOR_THE_NETWORK"], "a") as file:
                file.write(f"{event} {given[1:]}\n{''.join(traceback.format_list(stack))}\n")
        raise OSError(f"the network is forbidden here: {event}")


sys.addaudithook(forbid)
