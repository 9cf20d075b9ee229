"""The lab's three nodes, for pyinfra."""

ca = ["node2"]
daemons = ["node3"]
clients = ["node1"]
