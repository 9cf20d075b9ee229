//! A unit file as a diff may show it: its listeners and TLS settings.
//!
//! Other values, especially `Environment=`, may be secrets.

use super::own::is_own_comment;
use super::syntax::{is_comment, lines_and_comments, split_words, unquote, variable_of};

/// Flags whose values are shown.
const SHOWN: [&str; 8] = [
    "-H",
    "--host",
    "--tls",
    "--tlsverify",
    "--tlscacert",
    "--tlscert",
    "--tlskey",
    "--containerd",
];
/// Settings whose values are shown: what a socket listens on.
const STREAM: &str = "ListenStream";

/// The text with `mask` in the place of every other value and comment.
#[must_use]
pub fn shown(text: &str, mask: &str) -> String {
    let mut shown = String::new();
    for line in lines_and_comments(text) {
        match line.split_once('=') {
            _ if is_heading(&line) || is_own_comment(&line) => shown.push_str(&line),
            _ if is_comment(&line) => {
                shown.push_str("# ");
                shown.push_str(mask);
            }
            Some((name, value)) if is_name(name.trim()) => {
                let (name, value) = (name.trim(), value.trim());
                shown.push_str(name);
                shown.push('=');
                match name {
                    _ if value.is_empty() => {}
                    STREAM => shown.push_str(value),
                    "ExecStart" => shown.push_str(&command(value, mask)),
                    _ => shown.push_str(mask),
                }
            }
            _ => shown.push_str(mask),
        }
        shown.push('\n');
    }
    shown
}

/// A command line, word by word.
fn command(line: &str, mask: &str) -> String {
    let words = split_words(line);
    let mut is_value_shown = true;
    let mut shown = Vec::new();
    for word in &words {
        let plain = unquote(word);
        let (flag, value) = match plain.split_once('=') {
            Some((flag, value)) => (flag, Some(value)),
            None => (plain, None),
        };
        let attached = plain.starts_with("-H");
        if !plain.starts_with('-') {
            let is_variable = variable_of(word).is_some_and(|name| is_name(&name));
            shown.push(if is_value_shown || is_variable {
                word.clone()
            } else {
                mask.to_owned()
            });
            is_value_shown = false;
        } else if SHOWN.contains(&flag) || attached {
            is_value_shown = value.is_none() && !["--tls", "--tlsverify"].contains(&flag);
            shown.push(word.clone());
        } else {
            is_value_shown = false;
            shown.push(match value {
                Some(_) => format!("{flag}={mask}"),
                // One letter, and its value behind it: -lSECRET.
                None if !plain.starts_with("--") && plain.chars().count() > 2 => {
                    let flag: String = plain.chars().take(2).collect();
                    format!("{flag}{mask}")
                }
                None => plain.to_owned(),
            });
        }
    }
    shown.join(" ")
}

fn is_heading(line: &str) -> bool {
    let inner = line
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'));
    inner.is_some_and(is_name)
}

/// What a variable or a setting can be called; `$x-secret` is no variable alone.
fn is_name(name: &str) -> bool {
    let fits = |letter: char| letter.is_ascii_alphanumeric() || letter == '_';
    !name.is_empty() && name.chars().all(fits)
}

#[cfg(test)]
mod tests {
    use super::shown;

    #[test]
    fn what_is_ours_is_shown_and_every_other_value_is_not() {
        let text = "# token canary\n[Service]\nEnvironment=\"HTTP_PROXY=http://u:canary@p\" B=canary\nEnvironmentFile=-/etc/default/docker\nExecStart=\nExecStart=/usr/sbin/dockerd -H fd:// --host=tcp://a:2376 --tlsverify \\\n --tlscacert=/x/ca.pem --containerd /run/c.sock --log-opt splunk-token=canary --log-opt=t=canary --label canary -lcanary '--registry-mirror=http://canary' $DOCKER_OPTS ${MORE} $a-canary --debug canary\ncanary\n[Socket]\nListenStream=2375\n";
        assert_eq!(
            shown(text, "***"),
            "# ***\n[Service]\nEnvironment=***\nEnvironmentFile=***\nExecStart=\nExecStart=/usr/sbin/dockerd -H fd:// --host=tcp://a:2376 --tlsverify --tlscacert=/x/ca.pem --containerd /run/c.sock --log-opt *** --log-opt=*** --label *** -l*** --registry-mirror=*** $DOCKER_OPTS ${MORE} *** --debug ***\n***\n[Socket]\nListenStream=2375\n"
        );
    }

    #[test]
    fn a_change_of_our_comments_is_a_difference() {
        let own = crate::unit::own::marked("[Service]\nNice=1\n");
        let edited = own.replace("Nice=1", "Nice=2");
        assert_eq!(shown(&own, "***").lines().count(), 3);
        let unmarked = crate::unit::own::unmarked(&edited);
        assert_ne!(shown(&edited, "***"), shown(&unmarked, "***"));
        let hosts = "# \"hosts\" in daemon.json before dtls-deploy: unix:///a\n";
        assert_eq!(shown(hosts, "***"), hosts);
    }
}
