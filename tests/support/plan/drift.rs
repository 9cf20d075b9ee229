//! What a case changes on a machine by hand, in the words of its `drift:`.

use node::facts::{FileFact, Holder, Listener, Owner, Space, Unheard};
use serde_json::Value;

use super::machine::{Item, Machine};

impl Machine {
    /// One entry of a case's `drift:`: a path and what someone did there, or
    /// one of the words below.
    pub fn drift(&mut self, what: &str, value: &Value, now: i64) {
        match (what, value) {
            ("unit", Value::Object(properties)) => {
                for (name, value) in properties {
                    self.unit
                        .insert(name.clone(), value.as_str().unwrap().to_owned());
                }
            }
            ("unheard", Value::Object(clients)) => {
                let clients = clients.iter();
                let unheard = clients.map(|(client, why)| (client.clone(), unheard(why)));
                self.unheard = unheard.collect();
            }
            ("rejected", Value::String(why)) => self.rejected = Some(why.clone()),
            ("socket_state", Value::String(state)) => self.socket_state.clone_from(state),
            ("command", Value::String(words)) => {
                self.command = Some(words.split(' ').map(str::to_owned).collect());
            }
            ("services", Value::Object(services)) => {
                for (name, properties) in services {
                    let properties = serde_json::from_value(properties.clone()).unwrap();
                    self.services.insert(name.clone(), properties);
                }
            }
            (
                "skew" | "resolved" | "addresses" | "own_addresses" | "nonlocal_bind" | "listeners"
                | "space" | "reached",
                value,
            ) => self.surroundings(what, value),
            ("systemd", Value::Bool(systemd)) => self.systemd = *systemd,
            ("tools", Value::Object(_)) => {
                self.tools = serde_json::from_value(value.clone()).unwrap();
            }
            ("account", Value::String(account)) => {
                self.account.clone_from(account);
                self.is_account_fixed = true;
            }
            ("containers", Value::Number(running)) => {
                self.engine.running = usize::try_from(running.as_u64().unwrap()).unwrap();
            }
            ("containers", Value::String(word)) if word == "unknown" => self.engine.unknown = true,
            ("live_restore_flag", Value::Bool(flag)) => self.engine.live_restore_flag = Some(*flag),
            ("sudo_records", Value::String(word)) => self.sudo_records = Some(word.clone()),
            ("unsettled", Value::String(how)) => self.unsettled = Some(how.clone()),
            ("bypassed", Value::Bool(bypassed)) => self.bypassed = *bypassed,
            ("swarm", Value::Bool(swarm)) => self.engine.swarm = *swarm,
            ("started", Value::String(_)) => self.restart("somebody else's", now),
            (path, Value::String(word)) if path.starts_with('/') => {
                let special = match word.as_str() {
                    "absent" => None,
                    "unreadable" => Some(FileFact::Unreadable),
                    "other" => Some(FileFact::Other),
                    "exposed" => Some(FileFact::Exposed),
                    word => panic!("{word} is not a state of a path"),
                };
                self.disk.remove(path);
                self.disk
                    .extend(special.map(|fact| (path.to_owned(), Item::Special(fact))));
            }
            (path, Value::Object(fields)) if path.ends_with('/') => {
                let path = path.trim_end_matches('/');
                let field = |name: &str| fields.get(name).and_then(Value::as_str);
                if let Some(to) = field("link") {
                    self.links.insert(path.to_owned(), to.to_owned());
                    return;
                }
                let mode = field("mode").map_or(0o755, octal);
                self.mkdir(path, field("owner").unwrap_or("root"), mode);
            }
            (path, Value::Object(fields)) if path.starts_with('/') => {
                if !self.disk.contains_key(path) {
                    self.write(path, "", now);
                }
                let copied = fields.get("copy_of").map(|from| {
                    self.stored(from.as_str().unwrap())
                        .expect("a file to copy")
                        .bytes
                        .clone()
                });
                let Some(Item::File(stored)) = self.disk.get_mut(path) else {
                    panic!("{path} is not a file");
                };
                stored.changed = now;
                stored.bytes = copied.unwrap_or_else(|| stored.bytes.clone());
                for (name, value) in fields {
                    let text = value.as_str().unwrap_or_default();
                    match name.as_str() {
                        "mode" => stored.mode = octal(text),
                        "owner" => text.clone_into(&mut stored.owner),
                        "content" => stored.bytes = text.as_bytes().to_vec(),
                        "append" => stored.bytes.extend(text.as_bytes()),
                        "link" => stored.link = true,
                        "copy_of" => {}
                        "binary" => stored.bytes = vec![0xff, 0xfe, 0x00, b'\n'],
                        // As `cp -p` or a backup tool leaves it.
                        "long_ago" => stored.changed = self.booted,
                        name => panic!("{name} is not a field of a file"),
                    }
                }
            }
            (what, value) => panic!("{what}: {value} is not a drift"),
        }
    }

    /// What surrounds the files: the clock, the network, the disk.
    fn surroundings(&mut self, what: &str, value: &Value) {
        match (what, value) {
            ("skew", Value::Number(seconds)) => self.skew = seconds.as_i64().unwrap(),
            ("resolved", Value::Object(_)) => {
                self.resolved = serde_json::from_value(value.clone()).unwrap();
            }
            ("addresses", Value::Array(addresses)) => {
                let network = self.network.get_or_insert_default();
                for address in addresses {
                    let address: std::net::IpAddr = address.as_str().unwrap().parse().unwrap();
                    let length = if address.is_ipv4() { 32 } else { 128 };
                    network.addresses.push((address, length));
                }
            }
            ("reached", value) => {
                self.reached = serde_json::from_value(value.clone()).unwrap();
            }
            ("own_addresses", value) => {
                self.own_addresses = serde_json::from_value(value.clone()).unwrap();
            }
            ("nonlocal_bind", Value::Bool(allowed)) => {
                self.network.get_or_insert_default().nonlocal_bind = *allowed;
            }
            // `10.0.0.12:2376: nc (process 7)`, or `daemon`, or `unknown`.
            ("listeners", Value::Object(listeners)) => {
                for (place, owner) in listeners {
                    let place: std::net::SocketAddr = place.parse().unwrap();
                    let owner = match owner.as_str().unwrap() {
                        "daemon" => Owner::Daemon,
                        "unknown" => Owner::Unknown,
                        process => {
                            let (name, rest) = process.split_once(" (process ").unwrap();
                            Owner::Other(Holder::Process {
                                name: name.to_owned(),
                                pid: rest.trim_end_matches(')').parse().unwrap(),
                            })
                        }
                    };
                    let network = self.network.get_or_insert_default();
                    network.listeners.push(Listener {
                        address: place.ip(),
                        port: place.port(),
                        owner,
                    });
                }
            }
            // KiB and inodes by directory.
            ("space", Value::Object(spaces)) => {
                for (directory, left) in spaces {
                    let space = Space {
                        size: left["size"].as_u64().unwrap_or(100_000),
                        free: left["free"].as_u64().unwrap(),
                        inodes: left["inodes"].as_u64(),
                        mount: "/mnt".to_owned(),
                    };
                    self.space.insert(directory.clone(), space);
                }
            }
            (what, value) => panic!("{what}: {value} is not a drift"),
        }
    }
}

fn octal(text: &str) -> u32 {
    u32::from_str_radix(text, 8)
        .unwrap_or_else(|_| panic!("{text:?} is not an octal mode in quotes"))
}

fn unheard(why: &Value) -> Unheard {
    match why.as_str() {
        Some("forbidden") => Unheard::Forbidden,
        Some("not resolved") => Unheard::NotResolved,
        _ => panic!("{why}"),
    }
}
