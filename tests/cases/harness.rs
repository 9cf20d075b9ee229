//! Cases as tests: as much of the command line of libtest as cargo and nextest
//! use.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;

/// Ends by panicking where it fails.
pub struct Case {
    pub name: String,
    pub run: Box<dyn Fn()>,
}

impl Case {
    pub fn new(name: impl Into<String>, run: impl Fn() + 'static) -> Self {
        Self {
            name: name.into(),
            run: Box::new(run),
        }
    }
}

#[derive(Default)]
struct Arguments {
    list: bool,
    ignored: bool,
    exact: bool,
    filters: Vec<String>,
    skipped: Vec<String>,
}

impl Arguments {
    fn read() -> Self {
        let mut read = Self::default();
        let mut words = std::env::args().skip(1);
        while let Some(word) = words.next() {
            match word.as_str() {
                "--list" => read.list = true,
                "--ignored" => read.ignored = true,
                "--exact" => read.exact = true,
                "--skip" => read.skipped.extend(words.next()),
                "--format" | "--test-threads" | "--color" | "--logfile" => {
                    words.next();
                }
                option if option.starts_with('-') => {}
                _ => read.filters.push(word),
            }
        }
        read
    }

    fn chooses(&self, name: &str) -> bool {
        let fits = |word: &String| {
            if self.exact {
                name == word
            } else {
                name.contains(word.as_str())
            }
        };
        // No case is ignored.
        !self.ignored
            && (self.filters.is_empty() || self.filters.iter().any(fits))
            && !self.skipped.iter().any(fits)
    }
}

/// Lists or runs the cases that the command line chooses.
pub fn run(cases: &[Case]) -> ExitCode {
    let arguments = Arguments::read();
    let chosen: Vec<&Case> = cases
        .iter()
        .filter(|case| arguments.chooses(&case.name))
        .collect();
    if arguments.list {
        for case in chosen {
            println!("{}: test", case.name);
        }
        return ExitCode::SUCCESS;
    }
    let mut failed = Vec::new();
    for case in &chosen {
        if catch_unwind(AssertUnwindSafe(&case.run)).is_err() {
            println!("test {} ... FAILED", case.name);
            failed.push(&case.name);
        }
    }
    println!(
        "test result: {}. {} passed; {} failed; 0 ignored; 0 measured; {} filtered out",
        if failed.is_empty() { "ok" } else { "FAILED" },
        chosen.len() - failed.len(),
        failed.len(),
        cases.len() - chosen.len(),
    );
    ExitCode::from(u8::from(!failed.is_empty()))
}
