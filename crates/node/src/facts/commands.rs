//! Commands for an operator about docker on a node.

use super::{NodeFacts, UnitFact};

impl NodeFacts {
    fn script_name<'a>(&'a self, unit: &'a str) -> Option<&'a str> {
        self.unit
            .as_ref()
            .and_then(UnitFact::script)
            .map(|_| unit.strip_suffix(".service").unwrap_or(unit))
    }

    /// Shows docker's state and its last output.
    #[must_use]
    pub fn look_command(&self, unit: &str) -> String {
        match self.script_name(unit) {
            Some(name) => format!("service {name} status; tail -n 30 /var/log/{name}.log"),
            None => format!("systemctl status {unit}; journalctl -u {unit} -n 30"),
        }
    }

    /// Restarts docker.
    #[must_use]
    pub fn restart_command(&self, unit: &str) -> String {
        match self.script_name(unit) {
            Some(name) => format!("service {name} restart"),
            None => format!("systemctl restart {unit}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_init_script_has_no_systemctl() {
        let mut facts = NodeFacts::default();
        assert_eq!(
            facts.restart_command("docker.service"),
            "systemctl restart docker.service"
        );
        let mut unit = UnitFact::default();
        let script = "/etc/init.d/docker".to_owned();
        unit.properties.insert("FragmentPath".to_owned(), script);
        facts.unit = Some(unit);
        assert_eq!(
            facts.restart_command("docker.service"),
            "service docker restart"
        );
        assert_eq!(
            facts.look_command("docker.service"),
            "service docker status; tail -n 30 /var/log/docker.log"
        );
    }
}
