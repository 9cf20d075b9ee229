//! A unit, as the node reports it.

use std::collections::BTreeMap;

use super::{Loaded, LoadedCommand};

/// What systemd reports about the daemon's unit; a node with an init script reports the same
/// properties.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct UnitFact {
    pub properties: BTreeMap<String, String>,
    pub environment_files: Vec<String>,
    /// Drop-ins in the administrator's directory, whether or not systemd has read them.
    pub on_disk: Vec<String>,
    /// What systemd has loaded word by word, if its bus can be used.
    pub loaded: Loaded,
}

impl UnitFact {
    fn property(&self, name: &str) -> &str {
        self.properties.get(name).map_or("", String::as_str)
    }

    #[must_use]
    pub fn is_loaded(&self) -> bool {
        self.property("LoadState") == "loaded"
    }

    #[must_use]
    pub fn is_masked(&self) -> bool {
        self.property("LoadState") == "masked"
    }

    #[must_use]
    pub fn active_state(&self) -> &str {
        self.property("ActiveState")
    }

    #[must_use]
    pub fn invocation(&self) -> &str {
        self.property("InvocationID")
    }

    #[must_use]
    pub fn fragment(&self) -> Option<&str> {
        Some(self.property("FragmentPath")).filter(|path| !path.is_empty())
    }

    /// The init script, if systemd does not run.
    #[must_use]
    pub fn script(&self) -> Option<&str> {
        self.fragment()
            .filter(|path| path.starts_with("/etc/init.d/"))
    }

    /// Drop-ins in the order in which systemd applies them.
    #[must_use]
    pub fn drop_ins(&self) -> Vec<&str> {
        match &self.loaded.drop_ins {
            Some(paths) => paths.iter().map(String::as_str).collect(),
            None => self.property("DropInPaths").split_whitespace().collect(),
        }
    }

    /// Names the drop-ins in `directory` by that path, which is a link to `real`: systemd names
    /// them by their real path.
    pub(super) fn name_as_linked(&mut self, directory: &str, real: &str) {
        let linked = |path: &str| match path.strip_prefix(real) {
            Some(name) if name.starts_with('/') => format!("{directory}{name}"),
            _ => path.to_owned(),
        };
        if let Some(shown) = self.properties.get_mut("DropInPaths") {
            let paths: Vec<String> = shown.split(' ').map(linked).collect();
            *shown = paths.join(" ");
        }
        for path in self.loaded.drop_ins.iter_mut().flatten() {
            *path = linked(path);
        }
    }

    /// `ExecStart` as systemctl shows it, with its words joined by spaces.
    #[must_use]
    pub fn shown_command(&self) -> Option<&str> {
        Some(self.property("ExecStart")).filter(|shown| !shown.is_empty())
    }

    /// Uses systemctl's output as what systemd has loaded: the node has checked that no word
    /// contains a space.
    pub(super) fn words_are_plain(&mut self) {
        self.loaded.commands =
            LoadedCommand::of_shown(self.property("ExecStart")).map(|one| vec![one]);
        self.loaded.environment = Loaded::environment_of_shown(self.property("Environment"));
    }

    /// Drop-ins as systemd will apply them once it reads them again: by name, in any directory
    /// (systemd.unit(5)).
    #[must_use]
    pub fn all_drop_ins(&self) -> Vec<&str> {
        let mut paths = self.drop_ins();
        for path in &self.on_disk {
            if !paths.contains(&path.as_str()) {
                paths.push(path);
            }
        }
        paths.sort_by_key(|path| path.rsplit('/').next());
        paths
    }

    /// The unit files on disk differ from what systemd has loaded.
    #[must_use]
    pub fn needs_reload(&self) -> bool {
        self.property("NeedDaemonReload") == "yes"
    }

    /// Nothing starts it at boot: it is not enabled, and no other unit wants it.
    #[must_use]
    pub fn waits_for_somebody(&self) -> bool {
        let wanted = ["WantedBy", "RequiredBy"];
        self.property("UnitFileState") == "disabled"
            && wanted.iter().all(|name| self.property(name).is_empty())
    }

    /// It starts at boot.
    #[must_use]
    pub fn is_enabled(&self) -> bool {
        self.property("UnitFileState").starts_with("enabled")
    }

    /// When the daemon's process was started, in seconds since boot.
    #[must_use]
    pub fn started(&self) -> Option<f64> {
        let microseconds: u64 = self
            .property("ExecMainStartTimestampMonotonic")
            .parse()
            .ok()?;
        #[allow(clippy::cast_precision_loss)] // exact below 2^53 µs, 285 years
        Some(microseconds as f64 / 1e6).filter(|seconds| *seconds > 0.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn drop_ins_behind_a_link_have_the_links_path() {
        let shown = "/srv/dd/10-a.conf /srv/dd2/b.conf /run/srv/dd/c.conf";
        let mut unit = UnitFact::default();
        unit.properties
            .insert("DropInPaths".to_owned(), shown.to_owned());
        let named = [
            "/etc/systemd/system/docker.service.d/10-a.conf",
            "/srv/dd2/b.conf",
            "/run/srv/dd/c.conf",
        ];
        let mut asked = unit.clone();
        asked.loaded.drop_ins = Some(shown.split(' ').map(str::to_owned).collect());
        for mut unit in [unit, asked] {
            unit.name_as_linked("/etc/systemd/system/docker.service.d", "/srv/dd");
            assert_eq!(unit.drop_ins(), named);
        }
    }
}
