//! What is being done on a node when the fault occurs.
//!
//! A scenario gives nodes that are as declared something to do, with an inventory for it. Every use
//! asks for a different change than the previous one, so that the lab need not be reset between two
//! cells.

use crate::lab::Lab;
use crate::node::Node;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Scenario {
    /// New certificate, daemon.json and drop-in of a daemon that serves.
    Rotation,
    /// The first deployment to a daemon that has only its local socket.
    First,
    /// A client's new certificate, in its directory and in its context.
    Client,
    /// The CA node's part in a rotation, its program pushed again.
    Authority,
}

impl Scenario {
    pub const ALL: [Self; 4] = [Self::Rotation, Self::First, Self::Client, Self::Authority];

    /// The one whose steps include those that only look.
    pub const WITH_LOOKING: Self = Self::Rotation;

    pub fn name(self) -> &'static str {
        match self {
            Self::Rotation => "rotation",
            Self::First => "first",
            Self::Client => "client",
            Self::Authority => "authority",
        }
    }

    /// The node on which the fault happens.
    pub fn node(self) -> &'static str {
        match self {
            Self::Rotation | Self::First => "node3",
            Self::Client => "node1",
            Self::Authority => "node2",
        }
    }

    /// Directories whose file system can be full or read-only.
    pub fn directories(self) -> &'static [&'static str] {
        match self {
            Self::Rotation | Self::First => {
                &["/etc/docker", "/etc/systemd/system", "/var/lib/dtls-deploy"]
            }
            Self::Client => &["/home/ubuntu"],
            Self::Authority => &["/etc/dtls-deploy", "/var/lib/dtls-deploy"],
        }
    }

    /// The inventory that asks for something the nodes do not have yet.
    pub fn inventory(self, lab: &Lab, turn: usize) -> String {
        let is_odd = turn % 2 == 1;
        let mut variables = format!(
            "dtls_extra_sans: ['DNS:turn{turn}.example']\ndtls_confirm_within: 20\ndtls_client_env: [profile, context]\n"
        );
        if self == Self::Client {
            // One turn's difference must not reach the daemon.
            variables = variables.replace(&format!("turn{turn}"), "client");
            if is_odd {
                let path = lab.inventory(&variables);
                let text = std::fs::read_to_string(&path).unwrap();
                let own = "        node1:\n          dtls_key_type: ecdsa-p384\n";
                std::fs::write(&path, text.replace("        node1:\n", own)).unwrap();
                return path;
            }
        } else {
            // Another drop-in each time, with as many ports.
            let port = if is_odd { 2399 } else { 2398 };
            let listen = format!("['tcp://0.0.0.0:2376', 'tcp://127.0.0.1:{port}']");
            variables = format!("{variables}dtls_listen: {listen}\n");
        }
        lab.inventory(&variables)
    }

    /// Takes back what the turn before has made, as far as the turn needs it.
    pub fn prepare(self, lab: &Lab) {
        let node = Node {
            lab,
            name: self.node(),
        };
        match self {
            // dockerd means the same by it: tlsverify says more.
            Self::Rotation => {
                node.sh("sed -i 's/\"tls\": true/\"tls\": false/' /etc/docker/daemon.json");
            }
            // What is not there cannot be removed: the names of a mount point
            // stay, their contents go.
            Self::First => {
                node.sh(
                    "rm -rf /etc/docker/tls /etc/docker/daemon.json /etc/systemd/system/docker.service.d /var/lib/dtls-deploy/* /var/lib/dtls-deploy/.[a-z]*; systemctl daemon-reload; systemctl reset-failed docker.service docker.socket; systemctl restart docker.service",
                );
            }
            Self::Client => {}
            Self::Authority => {
                node.sh("rm -rf /var/lib/dtls-deploy/bin");
            }
        }
    }

    /// The files that change, for the question whether the set is whole.
    pub fn files(self, lab: &Lab) -> Vec<String> {
        let node = Node {
            lab,
            name: self.node(),
        };
        let found = match self {
            Self::Rotation | Self::First | Self::Authority => {
                return [
                    "/etc/docker/tls/ca.pem",
                    "/etc/docker/tls/cert.pem",
                    "/etc/docker/tls/key.pem",
                    "/etc/docker/daemon.json",
                    "/etc/systemd/system/docker.service.d/50-dtls-deploy.conf",
                ]
                .map(str::to_owned)
                .to_vec();
            }
            Self::Client => node.sh("find /home/ubuntu/.docker -type f ! -path '*/.dtls-deploy.*'"),
        };
        found.lines().map(str::to_owned).collect()
    }
}
