//! The table of variables: a new variable is one entry here.
//!
//! It defines the typed structures of hosts, the checks of names and types, the suggestions for
//! misspelt names, the reference and the schema.

use std::collections::BTreeMap;
use std::path::PathBuf;

use base::secret::Secret;
use docker::tls::{ClientMode, ConfigStyle, DaemonMode};
use pki::{KeyType, Permitted, San, Subject};
use policy::OwnRole;

use super::assigned::Variables;
use super::batch_values::{BatchSize, FailPercentage, Serial, default_serial};
use super::certificate_values::{
    CaSubject, ExactSans, Listen, ListenList, NameConstraints, SanList,
};
use super::convert::{Context, Convert, Found};
use super::daemon_values::{ClientModeName, ConfigStyleName, DaemonModeName, Scope, VerifyScope};
use super::generic::Optional;
use super::guard_values::{FULL, RoleName, Roles};
use super::identity_values::{Identities, WrittenIdentity};
use super::kinds::{BecomeMethod, ConnectionKind, ShellType};
use super::path_values::{Directory, DropIn, FileNames, Files, HomeDirectory, Unit};
use super::reach::{
    Account, Address, Becoming, HostKeySwitch, KeyFile, Password, Port, Seconds, Shell,
    SshArguments, Superuser, Transport,
};
use super::ssh_options::WrittenOptions;
use super::values::{
    Boolean, ClientEnv, ClientEnvironment, ConfirmSeconds, Days, GenerationCount, HostName, Key,
    NameTemplate, RenewBefore, Renewal, Zone,
};
use super::window_values::{MaintenanceWindow, Window};

/// The hosts that a variable has an effect on. It may be set for any host and any group; if set
/// only for a host where it has no effect, a warning is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReadBy {
    Every,
    Ca,
    Daemons,
    Clients,
}

/// One entry of the table.
#[derive(Debug, Clone, Copy)]
pub struct Variable {
    pub name: &'static str,
    /// Older names of the same variable, in Ansible's order.
    pub aliases: &'static [&'static str],
    /// What is allowed, as it completes "… must be".
    pub expected: &'static str,
    /// What is allowed, as a JSON schema.
    pub schema: &'static str,
    /// The default in YAML; empty if there is none.
    pub default: &'static str,
    /// Its description.
    pub doc: &'static str,
    pub read_by: ReadBy,
    pub(super) check: fn(&Found, &mut Context),
}

macro_rules! variables {
    ($(#[$meta:meta])* $visible:vis struct $structure:ident, $table:ident;
     $( $(#[doc = $doc:literal])+
        $name:literal $(| $alias:literal)* => $field:ident: $type:ty = $default:expr,
        $written:literal, $convert:ty, $read_by:ident; )+) => {
        $(#[$meta])*
        $visible struct $structure {
            $( $(#[doc = $doc])+ $visible $field: $type, )+
        }

        impl Default for $structure {
            fn default() -> Self {
                Self { $( $field: $default, )+ }
            }
        }

        impl $structure {
            /// A host's variables, with defaults for those that are not set.
            pub(super) fn read(variables: &Variables, context: &mut Context) -> Self {
                Self { $(
                    $field: variables
                        .read::<$convert>(&[$name $(, $alias)*], context)
                        .unwrap_or_else(|| $default),
                )+ }
            }
        }

        const $table: &[Variable] = &[ $( Variable {
            name: $name,
            aliases: &[$($alias),*],
            expected: <$convert as Convert>::EXPECTED,
            schema: <$convert as Convert>::SCHEMA,
            default: $written,
            doc: concat!($($doc, "\n"),+),
            read_by: ReadBy::$read_by,
            check: |found, context| { <$convert as Convert>::convert(found, context); },
        }, )+ ];
    };
}

variables! {
    /// The `dtls_` variables of one host.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub struct Settings, SETTINGS;

    /// The directory on the CA node that holds the CA.
    "dtls_ca_dir" => ca_dir: String = "/etc/dtls-deploy/ca".to_owned(),
        "/etc/dtls-deploy/ca", Directory, Ca;
    /// The subject of the CA's certificate. Without a CN, dtls-deploy makes one from the
    /// inventory's file name and the number of the CA's generation.
    "dtls_ca_subject" => ca_subject: Subject = Subject::default(), "{}", CaSubject, Ca;
    /// The type of the keys: of the CA's own key, and of those of daemons and clients.
    "dtls_key_type" => key_type: KeyType = KeyType::EcdsaP256, "ecdsa-p256", Key, Every;
    /// How many days the certificate of a daemon or client is valid.
    "dtls_validity_days" => validity_days: u32 = 365, "365", Days, Every;
    /// How many days the CA's own certificate is valid.
    "dtls_ca_validity_days" => ca_validity_days: u32 = 3650, "3650", Days, Ca;
    /// Limits a new CA to the names and addresses of this inventory's hosts (X.509 name
    /// constraints), so that its key is useless for any other name. `true` allows only these; a
    /// list, such as `[example.com, 10.0.0.0/24]`, also allows domains and networks for future
    /// hosts.
    "dtls_ca_name_constraints" => ca_name_constraints: Option<Vec<Permitted>> = None, "false", NameConstraints, Ca;
    /// Whether `rotate`, and therefore a schedule, replaces the CA automatically when a new one
    /// is due: if certificates cannot be renewed for long enough any more, if the CA has
    /// expired, or if it issued a revoked certificate.
    "dtls_auto_ca_rollover" => auto_ca_rollover: bool = false, "false", Boolean, Ca;
    /// How many days before its expiry a certificate is renewed. If not set, it is renewed
    /// after two thirds of its validity period.
    "dtls_renew_before" => renew_before: Option<RenewBefore> = None, "", Optional<Renewal>, Every;
    /// The name of an issued file, relative to `dtls_ca_dir`: a Jinja template that can use
    /// `inventory_hostname` (NAME@HOST for an identity), `role` (daemon or client) and `kind`
    /// (key or cert).
    "dtls_issued_name" => issued_name: String = "{{ inventory_hostname }}/{{ role }}-{{ kind }}.pem".to_owned(),
        "'{{ inventory_hostname }}/{{ role }}-{{ kind }}.pem'", NameTemplate, Every;
    /// Whether the keys of daemons and clients stay on the CA node after they are delivered and
    /// checked.
    "dtls_keep_issued_keys" => keep_issued_keys: bool = false, "false", Boolean, Every;
    /// The directory of the daemon's three files.
    "dtls_daemon_dir" => daemon_dir: String = "/etc/docker/tls".to_owned(),
        "/etc/docker/tls", Directory, Daemons;
    /// The account that owns `dtls_daemon_dir`, if it is not root. This account can become root
    /// on the host, because it can change which CA dockerd trusts.
    "dtls_daemon_dir_trusted_owner" => daemon_dir_trusted_owner: Option<String> = None, "", Account, Daemons;
    /// The names of the daemon's three files.
    "dtls_daemon_files" => daemon_files: Files = Files::default(),
        "{ca: ca.pem, cert: cert.pem, key: key.pem}", FileNames, Daemons;
    /// The directory of the client's three files: ca.pem, cert.pem and key.pem. A leading ~/ is
    /// the home directory of the account on the node.
    "dtls_client_dir" => client_dir: String = "~/.docker".to_owned(), "~/.docker", HomeDirectory, Clients;
    /// What a client checks and shows. `tlsverify`: it checks the daemon and shows a
    /// certificate. `tlsverify-ca`: it checks the daemon and has no certificate. `tls-cert`: it
    /// shows a certificate to any server. `tls`: neither. With the last two, Docker does not
    /// check the daemon.
    "dtls_client_mode" => client_mode: ClientMode = ClientMode::TlsVerify, "tlsverify", ClientModeName, Clients;
    /// Further identities of a client host besides its own, by name: users or jobs, each with
    /// its own certificate and directory (`dir`, `owner`, `mode`, `role`, `key_type`,
    /// `validity_days`, `renew_before`, `context`, `absent`).
    "dtls_identities" => identities: Vec<WrittenIdentity> = Vec::new(), "{}", Identities, Clients;
    /// The addresses on which the daemon listens for TLS.
    "dtls_listen" => listen: Vec<Listen> = vec![Listen {
            text: "tcp://0.0.0.0:2376".to_owned(), host: "0.0.0.0".to_owned(), port: 2376,
        }],
        "['tcp://0.0.0.0:2376']", ListenList, Daemons;
    /// Whether the daemon also listens on its local socket.
    "dtls_local_socket" => local_socket: bool = true, "true", Boolean, Daemons;
    /// Which clients the daemon accepts. `tlsverify`: clients with a certificate of the CA.
    /// `tls`: everyone who can connect, and who is then root on the host.
    "dtls_daemon_mode" => daemon_mode: DaemonMode = DaemonMode::TlsVerify, "tlsverify", DaemonModeName, Daemons;
    /// Must be `true` if `dtls_daemon_mode` is `tls`.
    "dtls_i_understand_anyone_can_connect" => anyone_can_connect: bool = false, "false", Boolean, Daemons;
    /// Whether the daemon gets a guard: a program that dockerd asks about each request, and that
    /// decides by the certificate, its role, the method and the path. See docs/guard.md. `false`
    /// removes it again. If not set, none is installed, and one that is there stays.
    "dtls_guard" => guard: Option<bool> = None, "", Optional<Boolean>, Daemons;
    /// The role of certificates that the guard does not know, such as those of hosts that are
    /// not in the inventory. If not set, they are rejected.
    "dtls_guard_default" => guard_default: Option<String> = None, "", Optional<RoleName>, Daemons;
    /// Your own roles: what each one may request. It must be the same for all daemons.
    "dtls_roles" => roles: BTreeMap<String, OwnRole> = BTreeMap::new(), "{}", Roles, Daemons;
    /// What the client's certificate may do on daemons that have a guard: `full` (root on the
    /// daemon's host), `read`, `logs`, or a role of `dtls_roles`.
    "dtls_role" => role: String = FULL.to_owned(), "full", RoleName, Clients;
    /// Whether this inventory takes over a daemon that another inventory has set up.
    "dtls_take_over" => take_over: bool = false, "false", Boolean, Daemons;
    /// Where the daemon's TLS settings are. `daemon_json`: in /etc/docker/daemon.json. `flags`:
    /// on dockerd's command line, in the drop-in.
    "dtls_config_style" => config_style: ConfigStyle = ConfigStyle::DaemonJson, "daemon_json", ConfigStyleName, Daemons;
    /// The exact list of names and addresses in the daemon's certificate. It replaces all those
    /// that dtls-deploy knows.
    "dtls_sans" => sans: Option<Vec<San>> = None, "", Optional<ExactSans>, Daemons;
    /// Names and addresses in the daemon's certificate in addition to those that dtls-deploy
    /// knows.
    "dtls_extra_sans" => extra_sans: Vec<San> = Vec::new(), "[]", SanList, Daemons;
    /// Whether the certificate also contains every address of the daemon's host, except
    /// link-local and temporary addresses and those of Docker's own networks.
    "dtls_own_addresses" => own_addresses: bool = false, "false", Boolean, Daemons;
    /// What the client's account gets in addition to its files: variables in its profile, a
    /// Docker context for each daemon, or both. Deploying removes the one that is no longer listed.
    "dtls_client_env" => client_env: Vec<ClientEnv> = vec![ClientEnv::Context],
        "[context]", ClientEnvironment, Clients;
    /// A prefix for the names of the client's Docker contexts, `ZONE-DAEMON`, so that several
    /// inventories can share the client.
    "dtls_zone" => zone: Option<String> = None, "", Optional<Zone>, Clients;
    /// The daemon to which the client's profile points.
    "dtls_default_daemon" => default_daemon: Option<String> = None, "", Optional<HostName>, Clients;
    /// Which daemons are checked from a client. `full`: all of them. `sample`: one or more, so
    /// that every daemon is checked from some client, and its rejections once. `own`: only the
    /// client's own certificate, with its `dtls_default_daemon` or the first daemon. If not
    /// set: `full` for up to 100 pairs of a client and a daemon, `sample` for more.
    "dtls_verify" => verify: Option<VerifyScope> = None, "", Optional<Scope>, Clients;
    /// The name of the systemd drop-in.
    "dtls_dropin" => dropin: String = "50-dtls-deploy.conf".to_owned(),
        "50-dtls-deploy.conf", DropIn, Daemons;
    /// The systemd service of the daemon. Without systemd, the init script of that name.
    "dtls_unit" => unit: String = "docker.service".to_owned(), "docker.service", Unit, Daemons;
    /// The number of seconds within which a restarted daemon must be confirmed. After that, its
    /// node restores the old files.
    "dtls_confirm_within" => confirm_within: u32 = 120, "120", ConfirmSeconds, Daemons;
    /// How many generations of replaced files a node keeps for `rollback`. They contain old
    /// keys.
    "dtls_keep_generations" => keep_generations: u32 = 3, "3", GenerationCount, Every;
    /// How many daemons restart at the same time: a number, a percentage, or a list with the
    /// size of each batch, of which the last one repeats. It must be the same for all daemons.
    "dtls_serial" => serial: Vec<BatchSize> = default_serial(), "[1, 10%, 25%, 100%]", Serial, Daemons;
    /// What percentage of a batch may fail before no further batch starts. It must be the same
    /// for all daemons.
    "dtls_max_fail_percentage" => max_fail_percentage: u8 = 0, "0", FailPercentage, Daemons;
    /// Turns `live-restore` on, so that containers keep running while their daemon restarts.
    /// `false` leaves daemon.json as it is.
    "dtls_live_restore" => live_restore: bool = false, "false", Boolean, Daemons;
    /// When `rotate` may restart the daemon: days of the week and hours, in the time zone of
    /// the machine that runs dtls-deploy unless `UTC` follows. If not set, at any time.
    "dtls_maintenance_window" => maintenance_window: Option<MaintenanceWindow> = None, "", Optional<Window>, Daemons;
}

variables! {
    /// The connection variables of one host, before they are put together.
    #[derive(Debug)]
    pub(super) struct ConnectionVariables, CONNECTION;

    /// How dtls-deploy connects to the host.
    "ansible_connection" => kind: Option<ConnectionKind> = None, "ssh", Transport, Every;
    /// The address to connect to. If not set, the host's name.
    "ansible_host" | "ansible_ssh_host" => address: Option<String> = None, "", Address, Every;
    /// The port of the host's sshd.
    "ansible_port" | "ansible_ssh_port" => port: Option<u16> = None, "", Port, Every;
    /// The account to log in with.
    "ansible_user" | "ansible_ssh_user" => user: Option<String> = None, "", Account, Every;
    /// The password to log in with.
    "ansible_password" | "ansible_ssh_pass" | "ansible_ssh_password" =>
        password: Option<Secret> = None, "", Password, Every;
    /// The private key to log in with: a file on the machine that runs dtls-deploy.
    "ansible_ssh_private_key_file" | "ansible_private_key_file" =>
        key_file: Option<PathBuf> = None, "", KeyFile, Every;
    /// SSH options. Supported are `-o` with `ProxyJump`, `StrictHostKeyChecking=yes`, `Port`,
    /// `IdentityFile` and `IdentitiesOnly`, and `-J`, `-p` and `-i`. `UserKnownHostsFile` and
    /// options that only tune the connection (`-C`, `ControlMaster`, ...) have no effect. Any
    /// other option is an error.
    "ansible_ssh_common_args" => common_arguments: WrittenOptions = WrittenOptions::default(),
        "''", SshArguments, Every;
    /// More SSH options. Those of `ansible_ssh_common_args` take precedence.
    "ansible_ssh_extra_args" => extra_arguments: WrittenOptions = WrittenOptions::default(),
        "''", SshArguments, Every;
    /// More SSH options. They take precedence over those of the two other variables.
    "ansible_ssh_args" => arguments: WrittenOptions = WrittenOptions::default(),
        "''", SshArguments, Every;
    /// `true` requires a check of the host's key, whatever `~/.ssh/config` says. `false` has no
    /// effect: an inventory cannot turn the check off.
    "ansible_host_key_checking" | "ansible_ssh_host_key_checking" =>
        host_key_checking: bool = false, "", HostKeySwitch, Every;
    /// The number of seconds that a connection attempt may take.
    "ansible_timeout" | "ansible_ssh_timeout" => timeout: Option<u64> = None, "", Optional<Seconds>, Every;
    /// Whether dtls-deploy acts as root on the host. If not set: yes for the CA, for daemons,
    /// and for clients with identities of other accounts.
    "ansible_become" => becomes: Option<bool> = None, "", Optional<Boolean>, Every;
    /// The account to become: only root is supported.
    "ansible_become_user" | "ansible_sudo_user" => become_user: Option<String> = None, "root", Superuser, Every;
    /// How to become root.
    "ansible_become_method" => become_method: Option<BecomeMethod> = None, "sudo", Becoming, Every;
    /// The password for sudo.
    "ansible_become_password" | "ansible_become_pass" | "ansible_sudo_pass" =>
        become_password: Option<Secret> = None, "", Password, Every;
    /// The type of shell on the host.
    "ansible_shell_type" => shell: Option<ShellType> = None, "sh", Shell, Every;
}

/// Every variable that has a meaning here.
pub fn table() -> impl Iterator<Item = &'static Variable> {
    SETTINGS.iter().chain(CONNECTION)
}

/// The entry of a name, an older name of it included.
pub(super) fn find(name: &str) -> Option<&'static Variable> {
    table().find(|variable| variable.name == name || variable.aliases.contains(&name))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::{Settings, table};
    use crate::assigned::Variables;
    use crate::convert::Context;
    use crate::environment::Environment;
    use crate::other_variables::{REFUSED, WITHOUT_MEANING};
    use crate::yaml;
    use crate::yaml::problems::Problems;

    /// The documented default is the one that applies.
    #[test]
    fn written_defaults_are_the_defaults() {
        let mut written = String::new();
        for variable in super::SETTINGS {
            if !variable.default.is_empty() {
                let line = format!("{}: {}\n", variable.name, variable.default);
                written.push_str(&line);
            }
        }
        let mut problems = Problems::default();
        let source = problems.sources.add("defaults", written.clone());
        let node = yaml::parse(source, &written, &mut problems).unwrap();
        let environment = Environment::of_process();
        let mut context = Context {
            problems: &mut problems,
            environment: &environment,
        };
        let mut variables = Variables::default();
        variables.define(&node, "defaults", &mut context);
        let read = Settings::read(&variables, &mut context);
        assert!(!problems.has_errors(), "{:?}", problems.finish());
        assert_eq!(read, Settings::default());
    }

    #[test]
    fn every_name_stands_for_one_thing() {
        let mut seen = BTreeSet::new();
        let names = table().flat_map(|variable| {
            [variable.name]
                .into_iter()
                .chain(variable.aliases.iter().copied())
        });
        for name in names
            .chain(REFUSED.iter().map(|(name, _)| *name))
            .chain(WITHOUT_MEANING.iter().copied())
        {
            assert!(seen.insert(name), "{name} is there twice");
        }
    }

    #[test]
    fn every_schema_is_json_and_every_entry_is_explained() {
        for variable in table() {
            serde_json::from_str::<serde_json::Value>(variable.schema).unwrap();
            assert!(variable.doc.trim().ends_with('.'), "{}", variable.name);
            assert!(!variable.expected.is_empty(), "{}", variable.name);
        }
    }
}
