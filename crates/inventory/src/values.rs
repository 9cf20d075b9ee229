//! The types of `dtls_` variables: convert the parsed tree to the values that the rest of the
//! program uses, and refuse impossible ones.
//!
//! [`super::variables`] names one of these types for each variable.

use pki::KeyType;

use super::convert::{Context, Convert, Found};
use super::generic::{bounded, in_range};
use super::names;
use crate::yaml::source::quoted;

/// How long before it expires a certificate is renewed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RenewBefore {
    pub days: u32,
}

/// What a client's account gets in addition to its files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClientEnv {
    /// `DOCKER_HOST`, `DOCKER_TLS_VERIFY`, `DOCKER_CERT_PATH` in the profile.
    Profile,
    /// A docker context for each daemon.
    Context,
}

pub(super) struct Boolean;

impl Convert for Boolean {
    type Output = bool;
    const EXPECTED: &'static str = "true or false";
    const SCHEMA: &'static str = r#"{"type": "boolean"}"#;

    fn convert(value: &Found, context: &mut Context) -> Option<bool> {
        value.boolean(context)
    }
}

bounded! {
    /// A number of days that a certificate can live.
    Days: u32, 1..=36_500, "a number of days", "a number of days from 1 to 36500"
}

bounded! {
    /// How long a node waits for a restart to be confirmed.
    ConfirmSeconds: u32, 10..=3600, "a number of seconds",
    "a number of seconds from 10 to 3600; a restart of docker takes up to 90"
}

bounded! {
    /// How many generations of old files a node keeps.
    GenerationCount: u32, 0..=100, "a number",
    "a number from 0 to 100; with 0 nothing is kept to go back to"
}

/// `30` or `30d`.
pub(super) struct Renewal;

impl Convert for Renewal {
    type Output = RenewBefore;
    const EXPECTED: &'static str = "a number of days, like 30 or 30d";
    const SCHEMA: &'static str = r#"{"oneOf": [{"type": "integer", "minimum": 1}, {"type": "string", "pattern": "^[1-9][0-9]*d$"}]}"#;

    fn convert(value: &Found, context: &mut Context) -> Option<Self::Output> {
        let text = value.text(Self::EXPECTED, context)?;
        let digits = text.strip_suffix('d').unwrap_or(text);
        let all_digits = !digits.is_empty() && digits.chars().all(|digit| digit.is_ascii_digit());
        let Some(days) = all_digits.then(|| digits.parse().ok()).flatten() else {
            return value.wrong_type(Self::EXPECTED, context);
        };
        let help = "a number of days from 1 to 36500";
        let days = in_range(days, 1..=36_500, value, help, context)?;
        Some(RenewBefore { days })
    }
}

/// The first word of the names of docker contexts.
pub(super) struct Zone;

impl Convert for Zone {
    type Output = String;
    const EXPECTED: &'static str = "a word";
    const SCHEMA: &'static str =
        r#"{"type": "string", "pattern": "^[a-zA-Z0-9][a-zA-Z0-9_.+-]*$"}"#;

    fn convert(value: &Found, context: &mut Context) -> Option<Self::Output> {
        let text = value.line(Self::EXPECTED, context)?;
        // What docker allows in the name of a context.
        let mut letters = text.chars();
        let is_fit = letters
            .next()
            .is_some_and(|first| first.is_ascii_alphanumeric())
            && letters.all(|letter| letter.is_ascii_alphanumeric() || "_.+-".contains(letter));
        if !is_fit {
            return value.refuse(
                format!("{} cannot begin the name of a docker context", quoted(text)),
                "letters, digits and `_.+-`, and a letter or a digit first",
                context,
            );
        }
        Some(text.to_owned())
    }
}

/// Whether the statements of a template are those of conditions.
fn has_conditions_alone(text: &str) -> bool {
    let statements = text.split("{%").skip(1);
    statements
        .map(|statement| statement.trim_start_matches(['-', '+']).trim_start())
        .all(|statement| {
            let ends = |end: char| !end.is_ascii_alphabetic();
            let word = statement.split(ends).next().unwrap_or_default();
            ["if", "elif", "else", "endif"].contains(&word)
        })
}

/// A Jinja template for a file's name; what it renders to is checked later.
pub(super) struct NameTemplate;

impl Convert for NameTemplate {
    type Output = String;
    const EXPECTED: &'static str = "a Jinja template for a file name";
    const SCHEMA: &'static str = r#"{"type": "string"}"#;

    fn convert(value: &Found, context: &mut Context) -> Option<String> {
        let text = value.line(Self::EXPECTED, context)?;
        // A part that is kept or repeated can be doubled until nothing is left of memory, by the
        // compiler already.
        let repeats = text.contains('*') || text.contains("%}") && !has_conditions_alone(text);
        if repeats {
            let message = format!(
                "{} may hold only variables and conditions",
                quoted(value.name)
            );
            return value.refuse(
                message,
                "`{{ … }}`, and `{% if … %}`, `{% elif … %}`, `{% else %}`, `{% endif %}`; no `*`",
                context,
            );
        }
        if let Err(error) = minijinja::Environment::new().template_from_str(text) {
            let reason = error.detail().unwrap_or("syntax error").to_owned();
            let message = format!("{} is not a valid template: {reason}", quoted(value.name));
            return value.refuse(
                message,
                "for example: '{{ inventory_hostname }}/{{ role }}-{{ kind }}.pem'",
                context,
            );
        }
        if text.starts_with('/') || text.split('/').any(|part| part == "..") {
            let message = format!("{} leads out of the directory of the CA", quoted(text));
            return value.refuse(
                message,
                "a name inside dtls_ca_dir, without a leading `/` and without `..`",
                context,
            );
        }
        let tells_apart = ["kind", "role", "key", "cert"]
            .iter()
            .any(|word| text.contains(word));
        if !text.contains('{') || !tells_apart {
            return value.refuse(
                format!("{} gives key and certificate one name", quoted(value.name)),
                "use {{ kind }} in it, and {{ role }} or {{ inventory_hostname }}",
                context,
            );
        }
        Some(text.to_owned())
    }
}

/// The type of a key.
pub(super) struct Key;

impl Convert for Key {
    type Output = KeyType;
    const EXPECTED: &'static str = "the type of a key";
    const SCHEMA: &'static str =
        r#"{"enum": ["ecdsa-p256", "ecdsa-p384", "rsa-2048", "rsa-3072", "rsa-4096", "ed25519"]}"#;

    fn convert(value: &Found, context: &mut Context) -> Option<KeyType> {
        const KNOWN: [&str; 6] = [
            "ecdsa-p256",
            "ecdsa-p384",
            "rsa-2048",
            "rsa-3072",
            "rsa-4096",
            "ed25519",
        ];
        let text = value.line(Self::EXPECTED, context)?;
        if let Some(key_type) = KNOWN.contains(&text).then(|| text.parse().ok()).flatten() {
            return Some(key_type);
        }
        let help = match names::nearest(text, KNOWN) {
            Some(near) => format!("did you mean {near}?"),
            None => format!("one of {}", KNOWN.join(", ")),
        };
        value.refuse(
            format!("there is no key type {}", quoted(text)),
            help,
            context,
        )
    }
}

/// What a client's account gets.
pub(super) struct ClientEnvironment;

impl Convert for ClientEnvironment {
    type Output = Vec<ClientEnv>;
    const EXPECTED: &'static str = "a list of profile and context";
    const SCHEMA: &'static str =
        r#"{"type": "array", "items": {"enum": ["profile", "context"]}, "uniqueItems": true}"#;

    fn convert(value: &Found, context: &mut Context) -> Option<Vec<ClientEnv>> {
        let mut seen = Vec::new();
        value.each(Self::EXPECTED, context, |item, context| {
            let text = item.line("profile or context", context)?;
            let kind = match text {
                "profile" => ClientEnv::Profile,
                "context" => ClientEnv::Context,
                _ => {
                    let help = names::nearest(text, ["profile", "context"]).map_or_else(
                        || "profile or context".to_owned(),
                        |near| format!("did you mean {near}?"),
                    );
                    let message = format!("a client's environment cannot be {}", quoted(text));
                    return item.refuse(message, help, context);
                }
            };
            if seen.contains(&kind) {
                return item.refuse(format!("{} is there twice", quoted(text)), "", context);
            }
            seen.push(kind);
            Some(kind)
        })
    }
}

/// The name of a daemon's host; that it is one is checked with all hosts known.
pub(super) struct HostName;

impl Convert for HostName {
    type Output = String;
    const EXPECTED: &'static str = "the name of a host in the group daemons";
    const SCHEMA: &'static str = r#"{"type": "string"}"#;

    fn convert(value: &Found, context: &mut Context) -> Option<Self::Output> {
        value.line(Self::EXPECTED, context).map(str::to_owned)
    }
}
