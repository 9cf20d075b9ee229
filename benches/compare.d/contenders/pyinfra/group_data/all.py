"""How every node is reached."""

ssh_user = "ubuntu"
ssh_strict_host_key_checking = "yes"
