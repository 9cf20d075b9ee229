//! What systemd has loaded of a unit, word by word.
//!
//! `systemctl show` prints the words of a command without quotes.

use serde_json::Value;

/// One command of a unit, as systemd has loaded it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LoadedCommand {
    pub path: String,
    pub arguments: Vec<String>,
    /// Names of `ExecStartEx`: `no-env-expand` and others.
    pub flags: Vec<String>,
}

/// What systemd reported; `None` for what it could not be asked about.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Loaded {
    /// The commands of `ExecStart`.
    pub commands: Option<Vec<LoadedCommand>>,
    /// `NAME=VALUE` of `Environment`.
    pub environment: Option<Vec<String>>,
    /// Paths of drop-ins, in systemd's order.
    pub drop_ins: Option<Vec<String>>,
}

impl LoadedCommand {
    /// Parses `{ path=PATH ; argv[]=WORD WORD ; ignore_errors=no ; ... }`, if no word contains a
    /// space and `ExecStart` has no prefix.
    pub(super) fn of_shown(shown: &str) -> Option<Self> {
        let (path, rest) = shown.strip_prefix("{ path=")?.split_once(" ; argv[]=")?;
        let (arguments, _) = rest.split_once(" ; ignore_errors=no ; ")?;
        Some(Self {
            path: path.to_owned(),
            arguments: arguments.split(' ').map(str::to_owned).collect(),
            flags: Vec::new(),
        })
    }
}

impl Loaded {
    /// Parses `NAME=VALUE NAME=VALUE`, if no value contains a space. systemctl writes
    /// `[unprintable]` for one that does.
    pub(super) fn environment_of_shown(shown: &str) -> Option<Vec<String>> {
        let variables: Vec<_> = shown.split_whitespace().map(str::to_owned).collect();
        let is_one = |variable: &String| variable.contains('=');
        variables.iter().all(is_one).then_some(variables)
    }

    /// Adds one property; false if it is unknown.
    pub(super) fn record(&mut self, property: &str, json: &str) -> bool {
        let value: Value = serde_json::from_str(json).unwrap_or_default();
        let data = value.get("data").and_then(Value::as_array);
        match property {
            "ExecStart" => self.commands = data.and_then(|list| all(list, command)),
            "Environment" => self.environment = data.and_then(|list| all(list, text)),
            "DropInPaths" => self.drop_ins = data.and_then(|list| all(list, text)),
            _ => return false,
        }
        true
    }
}

/// All items of a list or none: half a list is useless.
fn all<T>(list: &[Value], of: impl Fn(&Value) -> Option<T>) -> Option<Vec<T>> {
    list.iter().map(of).collect()
}

fn text(value: &Value) -> Option<String> {
    value.as_str().map(str::to_owned)
}

/// `(path, argv, flags, ...)` of `ExecStartEx`; before systemd 243, `ExecStart` has a boolean there
/// instead: whether failure is ignored.
fn command(value: &Value) -> Option<LoadedCommand> {
    let flags = match value.get(2)? {
        Value::Bool(true) => vec!["ignore-failure".to_owned()],
        Value::Bool(false) => Vec::new(),
        flags => all(flags.as_array()?, text)?,
    };
    Some(LoadedCommand {
        path: text(value.get(0)?)?,
        arguments: all(value.get(1)?.as_array()?, text)?,
        flags,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn busctls_answers_are_read() {
        let mut loaded = Loaded::default();
        let newer = r#"{"type":"a(sasasttttuii)","data":[["/usr/sbin/dockerd",["/usr/sbin/dockerd","-H","fd://","a b"],["ignore-failure"],0,0,0,0,44,0,0]]}"#;
        assert!(loaded.record("ExecStart", newer));
        let commands = loaded.commands.clone().unwrap();
        assert_eq!(commands[0].path, "/usr/sbin/dockerd");
        assert_eq!(commands[0].arguments.last().unwrap(), "a b");
        assert_eq!(commands[0].flags, ["ignore-failure"]);
        let older = newer.replace(r#"["ignore-failure"]"#, "true");
        assert!(loaded.record("ExecStart", &older));
        assert_eq!(loaded.commands, Some(commands));
        let drop_ins = r#"{"type":"as","data":["/etc/systemd/system/docker.service.d/10 a.conf"]}"#;
        assert!(loaded.record("DropInPaths", drop_ins));
        assert_eq!(
            loaded.drop_ins.clone().unwrap(),
            ["/etc/systemd/system/docker.service.d/10 a.conf"]
        );
        // Anything else is not an answer.
        for broken in ["", "{}", r#"{"data":[["/x",["/x",1],[]]]}"#] {
            assert!(loaded.record("ExecStart", broken));
            assert_eq!(loaded.commands, None, "{broken}");
        }
        assert!(!loaded.record("Other", "{}"));
    }

    /// The same words from systemctl's text.
    #[test]
    fn words_without_blanks_are_read_from_text() {
        let shown = "{ path=/usr/sbin/dockerd ; argv[]=/usr/sbin/dockerd -H fd:// $OPTS ; ignore_errors=no ; start_time=[n/a] ; stop_time=[n/a] ; pid=0 ; code=(null) ; status=0/0 }";
        let command = LoadedCommand::of_shown(shown).unwrap();
        assert_eq!(command.path, "/usr/sbin/dockerd");
        assert_eq!(
            command.arguments,
            ["/usr/sbin/dockerd", "-H", "fd://", "$OPTS"]
        );
        for other in ["", "{ path=/x }", &shown.replace("=no", "=yes")] {
            assert_eq!(LoadedCommand::of_shown(other), None, "{other}");
        }
        let environment = |shown| Loaded::environment_of_shown(shown);
        assert_eq!(environment(""), Some(Vec::new()));
        assert_eq!(
            environment("A=b C=--x=y"),
            Some(vec!["A=b".to_owned(), "C=--x=y".to_owned()])
        );
        assert_eq!(environment("A=b [unprintable]"), None);
    }
}
