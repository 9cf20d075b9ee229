//! Inventory: Ansible YAML in, hosts with typed settings out.
