//! One meaning, spelt in many ways.
//!
//! Writes machines with roles and variables as an inventory with other files and `-e` arguments.
//! A number selects the form, which never changes the meaning: nested
//! groups, hosts named in one place and grouped in another, ranges of one, variables of `all`,
//! of groups, of hosts, in files, by `-e`, with values of lower precedence that do not count,
//! booleans and numbers in every spelling, flow and block style, anchors.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use super::random::Random;

/// A machine as it is meant.
#[derive(Debug, Clone)]
pub struct Meant {
    /// Ends in a digit, for ranges of one.
    pub name: String,
    pub groups: Vec<&'static str>,
    pub variables: BTreeMap<String, Value>,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Value {
    Text(String),
    Flag(bool),
    Number(u32),
    List(Vec<String>),
    /// Encrypted with ansible-vault.
    Secret,
}

/// An inventory as it is written.
#[derive(Debug, Clone, Default)]
pub struct Spelt {
    /// By their paths beside each other; `inventory.yaml` is the inventory.
    pub files: BTreeMap<String, String>,
    pub extra: Vec<String>,
}

/// A tree of YAML.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Yaml {
    Nothing,
    Leaf(Value),
    Map(Vec<(String, Yaml)>),
}

#[derive(Default)]
struct Group {
    hosts: BTreeMap<String, BTreeMap<String, Value>>,
    children: BTreeSet<String>,
    variables: BTreeMap<String, Value>,
}

struct Speller<'a> {
    random: &'a mut Random,
    machines: &'a [Meant],
    groups: BTreeMap<String, Group>,
    /// Variables of files: `group_vars/NAME`, `host_vars/NAME`.
    beside: BTreeMap<String, BTreeMap<String, Value>>,
    extra: BTreeMap<String, Value>,
    anchors: BTreeMap<Yaml, String>,
}

/// Writes what is meant.
pub fn spell(machines: &[Meant], random: &mut Random) -> Spelt {
    let mut speller = Speller {
        random,
        machines,
        groups: BTreeMap::new(),
        beside: BTreeMap::new(),
        extra: BTreeMap::new(),
        anchors: BTreeMap::new(),
    };
    speller.place_hosts();
    speller.place_variables();
    speller.add_others();
    speller.wrap_groups();
    speller.write()
}

impl Speller<'_> {
    /// Each host in the groups of its roles, or in a group within them.
    fn place_hosts(&mut self) {
        for name in ["all", "ca", "daemons", "clients"] {
            self.groups.insert(name.to_owned(), Group::default());
        }
        for machine in self.machines {
            if self.random.one_in(3) {
                self.host_in("all", &machine.name);
            }
            for (number, role) in machine.groups.iter().enumerate() {
                if self.random.one_in(3) {
                    let inner = format!("{role}_of_{}", machine.name);
                    self.host_in(&inner, &machine.name);
                    let outer = self.groups.get_mut(*role).unwrap();
                    outer.children.insert(inner);
                } else {
                    self.host_in(role, &machine.name);
                }
                if number == 0 && self.random.one_in(4) {
                    self.host_in("rack", &machine.name);
                }
            }
            if machine.groups.is_empty() {
                self.host_in("spare", &machine.name);
            }
        }
    }

    fn host_in(&mut self, group: &str, host: &str) {
        let group = self.groups.entry(group.to_owned()).or_default();
        group.hosts.entry(host.to_owned()).or_default();
    }

    /// Every variable where it counts for just the machines that are meant to have it.
    fn place_variables(&mut self) {
        let machines = self.machines;
        let names: BTreeSet<&String> = machines.iter().flat_map(|of| of.variables.keys()).collect();
        for name in names {
            let values: BTreeSet<Option<&Value>> =
                machines.iter().map(|of| of.variables.get(name)).collect();
            let same = match values.iter().next() {
                Some(Some(value)) if values.len() == 1 => Some((*value).clone()),
                _ => None,
            };
            match same {
                Some(value) => self.place_for_all(name, &value),
                None => self.place_for_each(name),
            }
        }
    }

    fn place_for_all(&mut self, name: &str, value: &Value) {
        match self.random.below(6) {
            0 => {
                self.extra.insert(name.to_owned(), value.clone());
                // A wrong one that does not count.
                if let Value::Flag(flag) = value {
                    let all = self.groups.get_mut("all").unwrap();
                    all.variables.insert(name.to_owned(), Value::Flag(!flag));
                }
            }
            1 | 2 => {
                let all = self.groups.get_mut("all").unwrap();
                all.variables.insert(name.to_owned(), value.clone());
            }
            3 => {
                let all = self.beside.entry("group_vars/all".to_owned()).or_default();
                all.insert(name.to_owned(), value.clone());
            }
            4 => self.place_for_roles(name, value),
            _ => self.place_for_each(name),
        }
    }

    /// Of the groups of the roles, in the inventory or in a file; who has no role has it by
    /// itself.
    fn place_for_roles(&mut self, name: &str, value: &Value) {
        for role in ["ca", "daemons", "clients"] {
            if self.random.one_in(2) {
                let group = self.groups.get_mut(role).unwrap();
                group.variables.insert(name.to_owned(), value.clone());
            } else {
                let file = self.beside.entry(format!("group_vars/{role}")).or_default();
                file.insert(name.to_owned(), value.clone());
            }
        }
        for machine in self.machines.iter().filter(|of| of.groups.is_empty()) {
            self.place_for_one(&machine.name, name, value.clone());
        }
    }

    fn place_for_each(&mut self, name: &str) {
        for machine in self.machines {
            if let Some(value) = machine.variables.get(name) {
                self.place_for_one(&machine.name, name, value.clone());
            }
        }
    }

    fn place_for_one(&mut self, host: &str, name: &str, value: Value) {
        let holding = |group: &(&String, &mut Group)| group.1.hosts.contains_key(host);
        let mut places: Vec<(&String, &mut Group)> =
            self.groups.iter_mut().filter(holding).collect();
        match self.random.below(3) {
            0 => {
                let file = self.beside.entry(format!("host_vars/{host}")).or_default();
                file.insert(name.to_owned(), value);
            }
            // In a group that is this host's alone.
            1 => {
                let own = format!("only_{host}");
                let group = self.groups.entry(own).or_default();
                group.hosts.entry(host.to_owned()).or_default();
                group.variables.insert(name.to_owned(), value);
            }
            _ => {
                let place = self.random.below(places.len());
                let hosts = &mut places[place].1.hosts;
                hosts.get_mut(host).unwrap().insert(name.to_owned(), value);
            }
        }
    }

    /// Hosts of other people's, in none of our groups, with variables that we would not take
    /// and secrets that we do not need.
    fn add_others(&mut self) {
        if !self.random.one_in(3) {
            return;
        }
        let others = self.groups.entry("others".to_owned()).or_default();
        for (name, value) in [
            ("ansible_connection", Value::Text("winrm".to_owned())),
            ("ansible_become_method", Value::Text("runas".to_owned())),
            ("ansible_port", Value::Number(5986)),
            ("ansible_password", Value::Secret),
        ] {
            others.variables.insert(name.to_owned(), value);
        }
        self.host_in("others", "win1");
        let all = self.groups.get_mut("all").unwrap();
        all.variables
            .insert("other_password".to_owned(), Value::Secret);
    }

    /// Groups within others; none within itself.
    fn wrap_groups(&mut self) {
        let mut roles = vec!["ca", "daemons", "clients"];
        self.random.shuffle(&mut roles);
        let mut wrapped = BTreeSet::new();
        if self.random.one_in(2) {
            let outer = self.groups.entry("docker".to_owned()).or_default();
            for role in roles.iter().take(2) {
                outer.children.insert((*role).to_owned());
                wrapped.insert((*role).to_owned());
            }
            if self.random.one_in(2) {
                let site = self.groups.entry("site".to_owned()).or_default();
                site.children.insert("docker".to_owned());
                wrapped.insert("docker".to_owned());
            }
        }
        let inner: BTreeSet<String> = self
            .groups
            .values()
            .flat_map(|group| group.children.iter().cloned())
            .collect();
        let outer: Vec<String> = self
            .groups
            .keys()
            .filter(|name| *name != "all" && !inner.contains(*name))
            .cloned()
            .collect();
        self.groups.get_mut("all").unwrap().children.extend(outer);
    }

    fn write(mut self) -> Spelt {
        let mut spelt = Spelt::default();
        let root = Yaml::Map(vec![("all".to_owned(), self.group("all"))]);
        let text = self.block(&root, 0);
        spelt.files.insert("inventory.yaml".to_owned(), text);
        for (name, variables) in std::mem::take(&mut self.beside) {
            self.anchors.clear();
            self.write_beside(&name, &variables, &mut spelt);
        }
        for (name, value) in std::mem::take(&mut self.extra) {
            let text = match &value {
                Value::List(_) => format!("{{{name}: {}}}", self.leaf(&value)),
                Value::Flag(_) | Value::Number(_) if self.random.one_in(2) => {
                    format!("{{{name}: {}}}", self.leaf(&value))
                }
                Value::Flag(flag) => format!("{name}={}", self.flag_word(*flag)),
                Value::Text(text) => format!("{name}={text}"),
                Value::Number(number) => format!("{name}={number}"),
                Value::Secret => continue,
            };
            spelt.extra.push(text);
        }
        spelt
    }

    /// A file, one with another extension, or a directory of files.
    fn write_beside(&mut self, name: &str, of: &BTreeMap<String, Value>, spelt: &mut Spelt) {
        let variables = |part: &[(&String, &Value)]| {
            let entries = part.iter();
            Yaml::Map(
                entries
                    .map(|(name, value)| ((*name).clone(), Yaml::Leaf((*value).clone())))
                    .collect(),
            )
        };
        let mut all: Vec<(&String, &Value)> = of.iter().collect();
        self.random.shuffle(&mut all);
        if self.random.one_in(3) {
            let middle = self.random.below(all.len() + 1);
            let (first, second) = all.split_at(middle);
            for (file, part) in [("a.yml", first), ("b.yaml", second)] {
                if !part.is_empty() {
                    let text = self.block(&variables(part), 0);
                    spelt.files.insert(format!("{name}/{file}"), text);
                }
            }
            return;
        }
        let extension = *self.random.pick(&[".yml", ".yaml", ""]);
        let text = self.block(&variables(&all), 0);
        spelt.files.insert(format!("{name}{extension}"), text);
    }

    fn group(&mut self, name: &str) -> Yaml {
        let Some(group) = self.groups.remove(name) else {
            return Yaml::Nothing;
        };
        let mut parts = Vec::new();
        if !group.variables.is_empty() {
            parts.push(("vars".to_owned(), self.variables(&group.variables)));
        }
        if !group.hosts.is_empty() {
            let mut hosts: Vec<(String, Yaml)> = group
                .hosts
                .iter()
                .map(|(name, own)| (self.host_key(name), self.variables(own)))
                .collect();
            self.random.shuffle(&mut hosts);
            parts.push(("hosts".to_owned(), Yaml::Map(hosts)));
        }
        if !group.children.is_empty() {
            let mut names: Vec<&String> = group.children.iter().collect();
            self.random.shuffle(&mut names);
            let children = names
                .into_iter()
                .map(|name| (name.clone(), self.group(name)));
            parts.push(("children".to_owned(), Yaml::Map(children.collect())));
        }
        self.random.shuffle(&mut parts);
        Yaml::Map(parts)
    }

    fn variables(&mut self, of: &BTreeMap<String, Value>) -> Yaml {
        if of.is_empty() {
            return Yaml::Nothing;
        }
        let mut entries: Vec<(String, Yaml)> = of
            .iter()
            .map(|(name, value)| (name.clone(), Yaml::Leaf(value.clone())))
            .collect();
        self.random.shuffle(&mut entries);
        Yaml::Map(entries)
    }

    /// The name, or a range that stands for it alone.
    fn host_key(&mut self, name: &str) -> String {
        if !self.random.one_in(4) {
            return name.to_owned();
        }
        let (stem, digit) = name.split_at(name.len() - 1);
        format!("{stem}[{digit}:{digit}]")
    }

    fn leaf(&mut self, value: &Value) -> String {
        match value {
            Value::Flag(flag) => {
                let word = self.flag_word(*flag);
                match self.random.below(3) {
                    0 => format!("\"{word}\""),
                    1 => format!("'{word}'"),
                    _ => word,
                }
            }
            Value::Number(number) if self.random.one_in(3) => format!("\"{number}\""),
            Value::Number(number) => number.to_string(),
            Value::Text(text) => self.text(text),
            Value::Secret => "!vault '$ANSIBLE_VAULT;1.1;AES256'".to_owned(),
            Value::List(items) => {
                let items: Vec<String> = items.iter().map(|item| self.item(item)).collect();
                format!("[{}]", items.join(", "))
            }
        }
    }

    /// Of a list of names for certificates: what kind of name it is shows without a prefix.
    fn item(&mut self, item: &str) -> String {
        let bare = item.split_once(':').map_or(item, |(_, bare)| bare);
        let item = if self.random.one_in(2) { bare } else { item };
        self.text(item)
    }

    fn text(&mut self, text: &str) -> String {
        let plain = text
            .chars()
            .all(|letter| letter.is_ascii_alphanumeric() || "/._-".contains(letter));
        match self.random.below(3) {
            0 if plain => text.to_owned(),
            1 => format!("'{text}'"),
            _ => format!("\"{text}\""),
        }
    }

    fn flag_word(&mut self, flag: bool) -> String {
        let words: &[&str] = if flag {
            &["true", "yes", "True", "on", "TRUE", "Yes", "y", "t", "1"]
        } else {
            &["false", "no", "False", "off", "FALSE", "No", "n", "f", "0"]
        };
        (*self.random.pick(words)).to_owned()
    }

    fn block(&mut self, yaml: &Yaml, depth: usize) -> String {
        let Yaml::Map(entries) = yaml else {
            return self.inline(yaml);
        };
        let mut text = String::new();
        for (key, value) in entries {
            let key = self.key(key);
            write!(text, "{}{key}:", "  ".repeat(depth)).unwrap();
            match value {
                Yaml::Map(inner) if !inner.is_empty() => {
                    if let Some(known) = self.anchors.get(value) {
                        writeln!(text, " *{known}").unwrap();
                    } else if self.random.one_in(4) {
                        writeln!(text, " {}", self.inline(value)).unwrap();
                    } else {
                        let anchor = self.anchor(value);
                        let block = self.block(value, depth + 1);
                        write!(text, "{anchor}\n{block}").unwrap();
                    }
                }
                _ => writeln!(text, " {}", self.inline(value)).unwrap(),
            }
        }
        text
    }

    /// Now and then a mapping of variables is named, so that another may be it again.
    fn anchor(&mut self, value: &Yaml) -> String {
        let Yaml::Map(entries) = value else {
            return String::new();
        };
        let is_flat = entries
            .iter()
            .all(|(_, value)| matches!(value, Yaml::Leaf(_)));
        if !is_flat || !self.random.one_in(2) {
            return String::new();
        }
        let name = format!("v{}", self.anchors.len());
        self.anchors.insert(value.clone(), name.clone());
        format!(" &{name}")
    }

    fn inline(&mut self, yaml: &Yaml) -> String {
        match yaml {
            Yaml::Nothing => (*self.random.pick(&["", "{}", "null", "~"])).to_owned(),
            Yaml::Leaf(value) => self.leaf(value),
            Yaml::Map(entries) => {
                let parts: Vec<String> = entries
                    .iter()
                    .map(|(key, value)| match value {
                        Yaml::Nothing => format!("{}: {{}}", self.key(key)),
                        _ => format!("{}: {}", self.key(key), self.inline(value)),
                    })
                    .collect();
                format!("{{{}}}", parts.join(", "))
            }
        }
    }

    fn key(&mut self, key: &str) -> String {
        if key.contains('[') || self.random.one_in(8) {
            format!("\"{key}\"")
        } else {
            key.to_owned()
        }
    }
}
