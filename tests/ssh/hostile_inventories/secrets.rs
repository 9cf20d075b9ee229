//! Files that must never be shown, and the ways in which an inventory leads to
//! them.

use std::fs;
use std::path::Path;

use super::scene::Scene;

/// What people have in their homes. Each line that is a secret has CANARY in
/// it, or is long enough to be told from any message.
pub const SECRETS: &[(&str, &str)] = &[
    (
        "an OpenSSH key",
        "-----BEGIN OPENSSH PRIVATE KEY-----\nb3BlbnNzaC1rZXktdjEAAAAABG5vbmUAAAAEbm9uZQAAAAAAAAABAAAAMwCANARYa\nAAAAC3NzaC1lZDI1NTE5AAAAIKCANARYBANARYCANARYQ==\n-----END OPENSSH PRIVATE KEY-----\n",
    ),
    (
        "a traditional key",
        "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-128-CBC,0123456789ABCDEF0CANARY\n\nMIIEpAIBAAKCAQEACANARYCANARYCANARY0123456789\n-----END RSA PRIVATE KEY-----\n",
    ),
    (
        "a netrc",
        "machine api.example.org\n  login CANARYlogin\n  password CANARYpassword\n",
    ),
    (
        "a shadow",
        "root:$y$j9T$CANARYsalt$CANARYhash.:19700:0:99999:7:::\ndaemon:*:19700:0:99999:7:::\n",
    ),
    (
        "a passwd",
        "root:x:0:0:CANARY:/root:/bin/bash\nCANARYuser:x:1000:1000::/home/x:/bin/sh\n",
    ),
    ("a group", "root:x:0:\nCANARYgroup:x:1000:\n"),
    (
        "AWS credentials",
        "[default]\naws_access_key_id = CANARYKEYID\naws_secret_access_key = CANARYSECRET\n",
    ),
    (
        "git credentials",
        "https://CANARYuser:CANARYtoken@github.example\n",
    ),
    (
        "a pgpass",
        "db.example:5432:prod:CANARYuser:CANARYpassword\n",
    ),
    (
        "an environment",
        "export AWS_SECRET=CANARYSECRET\nexport TOKEN='CANARYTOKEN: x'\n",
    ),
    ("a my.cnf", "[client]\nuser=root\npassword=\"CANARY: x\"\n"),
    (
        "a PuTTY key",
        "PuTTY-User-Key-File-3: ssh-ed25519\nEncryption: none\nComment: CANARYcomment\nPublic-Lines: 2\nAAAAC3NzaCANARY1lZDI1NTE5\nAAAAICANARY\nPrivate-Lines: 1\nCANARYPRIVATE\n",
    ),
    (
        "a PGP key",
        "-----BEGIN PGP PRIVATE KEY BLOCK-----\nVersion: GnuPG v2\n\nlQOYBFCANARYCANARY\n=CANA\n-----END PGP PRIVATE KEY BLOCK-----\n",
    ),
    (
        "a vault",
        "$ANSIBLE_VAULT;1.1;AES256\n36396639CANARY3964\n3030CANARY30\n",
    ),
    (
        "a list",
        "- CANARYone\n- {CANARYtwo: CANARYthree}\n- !CANARYtag four\n",
    ),
    (
        "a list of keys",
        "- CANARYname: x\n  CANARYname: twice\n- *CANARYalias\n",
    ),
    ("a tagged text", "!CANARYtag CANARYtext\n"),
    ("bytes", "CANARY\u{0}CANARY\u{1b}[31m\u{ff}\n"),
    ("a number", "1234567890123456CANARY\n"),
];

/// A way that leads to a secret.
pub struct Way {
    pub name: &'static str,
    /// As opposed to when a host is connected to.
    pub is_read_with_the_inventory: bool,
    /// Puts it there, and gives the words that each command needs for it.
    pub prepare: fn(&Scene, &Path, &str) -> String,
}

macro_rules! way {
    ($name:literal, |$scene:ident, $secret:ident, $text:ident| $body:expr) => {
        Way {
            name: $name,
            is_read_with_the_inventory: true,
            #[allow(unused_variables)]
            prepare: |$scene: &Scene, $secret: &Path, $text: &str| {
                $body;
                String::new()
            },
        }
    };
}

pub const WAYS: &[Way] = &[
    way!("the inventory, by a link", |scene, secret, text| {
        std::fs::remove_file(scene.path("i/inventory.yaml")).unwrap();
        scene.link(secret.to_str().unwrap(), "i/inventory.yaml");
    }),
    way!("the inventory itself", |scene, secret, text| scene
        .write("i/inventory.yaml", text)),
    way!("group_vars, by a link", |scene, secret, text| scene
        .link(secret.to_str().unwrap(), "i/group_vars/all.yaml")),
    way!("group_vars, by a relative link", |scene, secret, text| {
        scene.link("../../home/secret", "i/group_vars/all")
    }),
    way!("group_vars itself", |scene, secret, text| scene
        .write("i/group_vars/all", text)),
    way!(
        "group_vars, a directory by a link",
        |scene, secret, text| {
            scene.link(scene.path("home").to_str().unwrap(), "i/group_vars");
            // A group of the file's name.
            let inventory = scene.read("i/inventory.yaml");
            scene.write(
                "i/inventory.yaml",
                &format!("{inventory}secret: {{hosts: {{a: }}}}\n"),
            );
        }
    ),
    way!(
        "group_vars, a file in a directory",
        |scene, secret, text| {
            scene.write("i/group_vars/all/one.yml", "own: 1\n");
            scene.link(secret.to_str().unwrap(), "i/group_vars/all/two.yml");
        }
    ),
    way!(
        "group_vars, a file itself in a directory",
        |scene, secret, text| {
            scene.write("i/group_vars/all/two.yml", text);
        }
    ),
    way!("host_vars, by a link", |scene, secret, text| scene
        .link(secret.to_str().unwrap(), "i/host_vars/b.json")),
    way!("host_vars itself", |scene, secret, text| scene
        .write("i/host_vars/b", text)),
    Way {
        name: "-e @FILE",
        is_read_with_the_inventory: true,
        prepare: |_, secret, _| format!("-e @{}", secret.display()),
    },
    Way {
        name: "-e @FILE, by a link",
        is_read_with_the_inventory: true,
        prepare: |scene, secret, _| {
            scene.link(secret.to_str().unwrap(), "i/extra.yaml");
            format!("-e @{}", scene.path("i/extra.yaml").display())
        },
    },
    Way {
        name: "a playbook, by a link",
        is_read_with_the_inventory: true,
        prepare: |scene, secret, _| {
            scene.link(secret.to_str().unwrap(), "i/play.yaml");
            scene.path("i/play.yaml").display().to_string()
        },
    },
    Way {
        name: "a playbook itself",
        is_read_with_the_inventory: true,
        prepare: |_, secret, _| secret.display().to_string(),
    },
    Way {
        name: "a key file",
        is_read_with_the_inventory: false,
        prepare: |scene, secret, _| {
            let path = secret.display();
            scene.inventory(&format!("ansible_ssh_private_key_file: {path}"));
            String::new()
        },
    },
    Way {
        name: "known_hosts",
        is_read_with_the_inventory: false,
        prepare: |scene, secret, _| {
            let path = secret.display();
            scene.inventory(&format!(
                "ansible_ssh_common_args: -o UserKnownHostsFile={path}"
            ));
            String::new()
        },
    },
    Way {
        name: "an SSH configuration",
        is_read_with_the_inventory: false,
        prepare: |scene, secret, _| {
            fs::copy(secret, scene.path("home/ssh-config")).unwrap();
            "--ssh-config CONFIG".to_owned()
        },
    },
];

/// A piece of a secret that is in what was printed.
pub fn shown<'a>(secret: &'a str, printed: &str) -> Option<&'a str> {
    let pieces = secret.split(['\n', ' ', ':', '=', '{', '}', '\'', '"']);
    let mut pieces = pieces.filter(|piece| piece.contains("CANARY") || piece.len() > 40);
    pieces.find(|piece| printed.contains(piece))
}
