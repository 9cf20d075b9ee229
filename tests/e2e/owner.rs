//! Two inventories that name the same daemon.

use crate::lab::Lab;

/// The lab's inventory with a CA and client files of its own.
fn zone(lab: &Lab, name: &str) -> String {
    let variables = format!(
        "dtls_ca_dir: /etc/dtls-deploy/{name}\ndtls_client_dir: ~/.docker/{name}\ndtls_zone: {name}\n"
    );
    let text = std::fs::read_to_string(lab.inventory(&variables)).unwrap();
    lab.file(&format!("{name}.yaml"), &text)
}

#[test]
fn a_daemon_of_another_inventory_is_left_alone_until_it_is_taken_over() {
    let lab = Lab::fresh();
    let (first, second) = (zone(&lab, "first"), zone(&lab, "second"));
    lab.deploy(&[&first]);
    let state = "systemctl show docker -p InvocationID; cat /var/lib/dtls-deploy/owner; sha256sum /etc/docker/tls/* /etc/docker/daemon.json";
    let before = lab.exec("node3", state);
    assert!(
        before.contains("inventory first.yaml\nca node2:/etc/dtls-deploy/first\n")
            && before.contains("\nauthority "),
        "{before}"
    );

    // The second has no CA yet, and the daemon holds a certificate of one.
    let refused = lab.run(&[&second]);
    assert_eq!(refused.code, 4, "{}\n{}", refused.stdout, refused.stderr);
    assert_eq!(lab.exec("node3", state), before);
    let refused = lab.run(&[&second, "--new-ca"]);
    assert_eq!(refused.code, 4, "{}\n{}", refused.stdout, refused.stderr);
    let said = "its docker belongs to another inventory: it was set up from first.yaml, whose CA is node2:/etc/dtls-deploy/first";
    assert!(refused.stdout.contains(said), "{}", refused.stdout);
    assert_eq!(lab.exec("node3", state), before);
    let doctor = lab.run(&["doctor", &second]);
    assert!(
        doctor.stdout.contains("belongs to another inventory"),
        "{}",
        doctor.stdout
    );

    lab.deploy(&[&second, "-e", "dtls_take_over=true"]);
    assert!(lab.exec("node3", state).contains("inventory second.yaml\n"));
    // From now on it is the other way round, and nobody has to say it again.
    lab.deploy(&[&second]);
    assert_eq!(lab.run(&["remove", &first]).code, 4);
    lab.deploy(&["remove", &second]);
    assert_eq!(
        lab.exec(
            "node3",
            "ls -A /var/lib/dtls-deploy 2>/dev/null | grep owner || echo none"
        ),
        "none"
    );
}
