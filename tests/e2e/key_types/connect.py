"""A handshake with a server, verified strictly or not.

    connect.py HOST PORT CA strict|lenient
"""

import socket
import ssl
import sys

host, port, authority, how = sys.argv[1:]
context = ssl.create_default_context(cafile=authority)
if how == "strict":
    # What Python does by itself from 3.13 on.
    assert context.verify_flags & ssl.VERIFY_X509_STRICT
else:
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
with socket.create_connection((host, int(port)), timeout=10) as connection:
    context.wrap_socket(connection, server_hostname=host).close()
