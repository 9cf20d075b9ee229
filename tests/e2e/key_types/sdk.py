"""Docker's SDK for Python asks a daemon for its version, with the files of the
working directory: as it is, and with the strict verification of X.509 that is
Python's default from 3.13 on.

    sdk.py DAEMON
"""

import ssl
import sys

import docker
from docker.tls import TLSConfig
from requests.adapters import HTTPAdapter


class Strict(HTTPAdapter):
    """urllib3 makes contexts of its own, which were not strict before 2.4."""

    def init_poolmanager(self, *arguments, **settings):
        context = ssl.create_default_context(cafile="ca.pem")
        context.verify_flags |= ssl.VERIFY_X509_STRICT
        super().init_poolmanager(*arguments, ssl_context=context, **settings)


def ask(adapter):
    tls = TLSConfig(client_cert=("cert.pem", "key.pem"), ca_cert="ca.pem", verify=True)
    client = docker.DockerClient(
        base_url=f"tcp://{sys.argv[1]}:2376", version="1.41", tls=tls, timeout=10
    )
    if adapter:
        client.api.mount("https://", adapter)
    assert "ApiVersion" in client.version()
    client.close()


ask(None)
ask(Strict())
