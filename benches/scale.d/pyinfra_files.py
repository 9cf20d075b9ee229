"""Three files to each host, as somebody would write it who knows pyinfra."""

import os

from pyinfra import host
from pyinfra.operations import files

pairs = os.environ["SCALE_PAIRS"]
files.directory(path=".docker", mode="700")
files.put(src=f"{pairs}/ca.pem", dest=".docker/ca.pem", mode="444")
files.put(src=f"{pairs}/{host.name}-cert.pem", dest=".docker/cert.pem", mode="444")
files.put(src=f"{pairs}/{host.name}-key.pem", dest=".docker/key.pem", mode="400")
