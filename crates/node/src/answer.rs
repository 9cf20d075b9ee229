//! The answer of a node's script: records, framed so that no byte of a file, a name or a tool's
//! output can begin one.
//!
//! A record is a line of fields, separated by tabs. The prelude's `record` encodes a field that
//! holds anything but printable ASCII without the percent sign as `%` and hex. The output of calls
//! that ran as another account is one field of an `as` record: it is parsed separately, and trusted
//! only about that account's own files.

/// The line that begins every answer. Output of the login shell's start-up files comes before it.
pub(super) const MARKER: &str = "dtls-deploy answers";

/// The unread lines of an answer.
#[derive(Debug, Clone, Copy)]
pub(super) struct Lines<'a> {
    rest: &'a [u8],
}

impl<'a> Lines<'a> {
    /// What follows the marker; `None` if the script has not begun.
    pub(super) fn of_answer(output: &'a [u8]) -> Option<Self> {
        let mut lines = Self { rest: output };
        while let Some(line) = lines.next_line() {
            if line == MARKER.as_bytes() {
                return Some(lines);
            }
        }
        None
    }

    /// The lines that another account printed.
    pub(super) const fn of_account(said: &'a [u8]) -> Self {
        Self { rest: said }
    }

    /// The next complete line.
    pub(super) fn next_line(&mut self) -> Option<&'a [u8]> {
        let end = self.rest.iter().position(|byte| *byte == b'\n')?;
        let (line, rest) = self.rest.split_at(end);
        self.rest = rest.get(1..).unwrap_or_default();
        Some(line)
    }

    /// The beginning of the rest, for a message.
    pub(super) fn shown(&self) -> String {
        let first: Vec<u8> = self.rest.iter().copied().take(80).collect();
        String::from_utf8_lossy(&first).into_owned()
    }
}

/// The fields of a record, as the bytes that they were on the node; `None` if a field is not
/// encoded correctly.
pub(super) fn fields(line: &[u8]) -> Option<Vec<Vec<u8>>> {
    line.split(|byte| *byte == b'\t').map(decoded).collect()
}

fn decoded(field: &[u8]) -> Option<Vec<u8>> {
    let Some(hex) = field.strip_prefix(b"%") else {
        let is_plain = |byte: &u8| (b' '..=b'~').contains(byte) && *byte != b'%';
        return field.iter().all(is_plain).then(|| field.to_vec());
    };
    hex.chunks(2)
        .map(|pair| {
            let text = std::str::from_utf8(pair)
                .ok()
                .filter(|pair| pair.len() == 2)?;
            u8::from_str_radix(text, 16).ok()
        })
        .collect()
}

/// The fields as text. Bytes that are not UTF-8 are replaced: no path that was asked about has any.
pub(super) fn texts(fields: &[Vec<u8>]) -> Vec<String> {
    let text = |field: &Vec<u8>| String::from_utf8_lossy(field).into_owned();
    fields.iter().map(text).collect()
}

/// Whether this is a run's name as dtls-deploy forms it: nothing else is passed to a node as one.
pub(super) fn is_run_id(name: &str) -> bool {
    let is_usual = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-' | '@');
    !name.is_empty() && name.len() <= 200 && !name.starts_with('.') && name.chars().all(is_usual)
}

/// A field as the prelude encodes it.
#[cfg(test)]
pub(super) fn encoded(field: &[u8]) -> String {
    let hex = |text: String, byte: &u8| format!("{text}{byte:02x}");
    field.iter().fold(String::from("%"), hex)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::script::Script;
    use crate::shells::{SHELLS, run};

    /// What `record` prints in a shell for these fields, parsed.
    fn through(shell: &[&str], fields_of: &[Vec<Vec<u8>>]) -> Vec<Vec<Vec<u8>>> {
        use std::os::unix::ffi::OsStringExt as _;
        let directory = tempfile::tempdir().unwrap();
        let mut script = Script::default();
        let mut number = 0;
        for record in fields_of {
            let mut call = String::from("set --");
            for field in record {
                number += 1;
                let path = directory.path().join(number.to_string());
                std::fs::write(&path, field).unwrap();
                let path = path.into_os_string().into_vec();
                let path = String::from_utf8(path).unwrap();
                // A command substitution removes trailing newlines.
                script.statement(format!("v{number}=$(cat {path}; printf .)"));
                script.statement(format!("v{number}=${{v{number}%.}}"));
                call = format!("{call} \"$v{number}\"");
            }
            script.statement(call);
            script.statement("record value \"$@\"".to_owned());
        }
        let output = run(shell, script.text("test").expose()).stdout;
        let mut lines = Lines::of_answer(&output).expect("an answer");
        let mut records = Vec::new();
        while let Some(line) = lines.next_line() {
            let mut record = fields(line).expect("a record");
            let word = record.remove(0);
            if word == b"done" {
                break;
            }
            assert_eq!(word, b"value");
            records.push(record);
        }
        records
    }

    fn any_field() -> impl Strategy<Value = Vec<u8>> {
        // Shells cannot store a NUL in a variable.
        let word = prop::sample::select(vec![
            &b"\n"[..],
            b"\t",
            b"%",
            b"%0a",
            b"done\n",
            b"failed\tx\ty\n",
            b"file\t/etc/shadow\n",
            b"dtls-deploy answers\n",
            b"\xff\xfe",
            b"\x1b[2J",
            b"'",
            b"\\",
            b"e\xcc\x81",
            b"plain",
        ]);
        prop::collection::vec(
            prop_oneof![
                word.prop_map(<[u8]>::to_vec),
                prop::collection::vec(1..=255u8, 0..12)
            ],
            0..5,
        )
        .prop_map(|parts| parts.concat())
    }

    #[test]
    fn whatever_bytes_a_field_has_arrive_as_that_field_in_every_shell() {
        let mut runner = proptest::test_runner::TestRunner::new(ProptestConfig {
            cases: 12,
            ..ProptestConfig::default()
        });
        let records = prop::collection::vec(prop::collection::vec(any_field(), 1..4), 1..12);
        for shell in SHELLS {
            runner
                .run(&records, |records| {
                    prop_assert_eq!(through(shell, &records), records);
                    Ok(())
                })
                .unwrap();
        }
        // Each byte on its own as well.
        let every: Vec<Vec<Vec<u8>>> = (1..=255u8).map(|byte| vec![vec![byte]]).collect();
        for shell in SHELLS {
            assert_eq!(through(shell, &every), every, "{shell:?}");
        }
    }

    proptest! {
        /// No answer, however it is made, is anything but records or refused.
        #[test]
        fn bytes_that_are_no_record_are_refused(line in prop::collection::vec(any::<u8>(), 0..60)) {
            if let Some(fields) = fields(&line) {
                let again: Vec<u8> = fields
                    .iter()
                    .map(|field| encoded(field).into_bytes())
                    .collect::<Vec<_>>()
                    .join(&b'\t');
                prop_assert_eq!(super::fields(&again), Some(fields));
            }
        }
    }

    #[test]
    fn what_a_start_up_file_prints_is_no_answer() {
        let noisy = b"Welcome\nfailed\tshell\tno\n\ndtls-deploy answers\ndone\n";
        let mut lines = Lines::of_answer(noisy).unwrap();
        assert_eq!(lines.next_line(), Some(&b"done"[..]));
        assert!(Lines::of_answer(b"Welcome\ndone\n").is_none());
    }

    #[test]
    fn only_names_of_runs_are_names_of_runs() {
        assert!(is_run_id("20260101T000000Z-test@here-1"));
        for name in ["", ".", "..", "a/b", "a\nb", "a b", "done.$(id)", ".hidden"] {
            assert!(!is_run_id(name), "{name}");
        }
    }
}
