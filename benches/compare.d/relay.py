"""A cable that takes its time: delays every Ethernet frame between two interfaces.

In: two interfaces, and on standard input a line with the delay of one way, in milliseconds, whenever it changes; each
is answered by `ok`. It ends with its standard input. `benches/compare --latency` puts it between the controller and the
lab's bridge.

Frames and not TCP streams are delayed, so that connecting, slow start and acknowledgements take as long as they would.
The kernel's netem would do the same, but not every kernel has it.
"""

import os
import select
import socket
import sys
import time
from collections import deque

# From <linux/if_packet.h> and <asm/socket.h>; Python does not name them.
SOL_PACKET = 263
PACKET_VNET_HDR = 15
PACKET_IGNORE_OUTGOING = 23
SO_SNDBUFFORCE = 32
SO_RCVBUFFORCE = 33
ETH_P_ALL = 3
# The header that PACKET_VNET_HDR adds, and a frame before segmentation.
LARGEST = 10 + 14 + 65536
BUFFER = 32 << 20


def tap(interface):
    """A socket on all frames of the interface.

    Checksums and segmentation are left to hardware that is not there; the header says what is left to do, and is handed
    on with the frame.
    """
    tapped = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL))
    tapped.setsockopt(SOL_PACKET, PACKET_VNET_HDR, 1)
    tapped.setsockopt(SOL_PACKET, PACKET_IGNORE_OUTGOING, 1)
    tapped.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, BUFFER)
    tapped.setsockopt(socket.SOL_SOCKET, SO_SNDBUFFORCE, BUFFER)
    tapped.bind((interface, 0))
    tapped.setblocking(False)
    return tapped


def main():
    # A cable does not wait for a processor.
    os.nice(-20)
    one, other = tap(sys.argv[1]), tap(sys.argv[2])
    # Where to, and the frames that are on their way with the time of their arrival.
    ways = {one: (other, deque()), other: (one, deque())}
    delay = 0.0
    while True:
        now = time.monotonic()
        wait = None
        for to, frames in ways.values():
            while frames and frames[0][0] <= now:
                to.send(frames.popleft()[1])
            if frames:
                wait = min(wait or 3600.0, frames[0][0] - now)
        readable, _, _ = select.select([one, other, sys.stdin], [], [], wait)
        for source in readable:
            if source is sys.stdin:
                line = os.read(sys.stdin.fileno(), 64)
                if not line:
                    return
                delay = float(line) / 1000
                print("ok", flush=True)
                continue
            try:
                while True:
                    frame = source.recv(LARGEST)
                    ways[source][1].append((time.monotonic() + delay, frame))
            except BlockingIOError:
                pass


main()
