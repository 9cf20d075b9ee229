//! Mutated input: each parser of text that comes from elsewhere gets it for a bounded
//! time. A parser must neither panic nor hang, and must keep what it promises of its
//! results.
//!
//! `make fuzz` runs these for minutes (`FUZZ_SECONDS`, per target); every test
//! run for a moment. Inputs are real ones with random changes: there is no
//! guidance by coverage, for which a nightly compiler would be needed. An input
//! that fails is kept in target/fuzz, and `FUZZ_INPUT=FILE` tries it again.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]
#![allow(
    clippy::missing_panics_doc,
    clippy::must_use_candidate,
    clippy::arithmetic_side_effects
)]

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// In an ordinary test run, for each target.
const MOMENT: Duration = Duration::from_secs(1);
/// No input of this size may take longer.
const LONGEST: Duration = Duration::from_secs(20);
/// Larger inputs only take longer.
const LARGEST: usize = 64 << 10;

/// What parsers treat specially.
const TOKENS: &[&str] = &[
    "\0",
    "\n",
    "\r\n",
    "\u{feff}",
    "\u{202e}",
    "{{",
    "}}",
    "{%",
    "%}",
    "'",
    "\"",
    "\\",
    "$",
    "${",
    "%",
    "<<: *a",
    "&a ",
    "*a",
    "!vault |",
    "!unsafe ",
    "---\n",
    "...",
    "[",
    "]",
    "{",
    "}",
    ":",
    ": ",
    "- ",
    "#",
    "~",
    "null",
    "-1",
    "0",
    "1e999",
    "99999999999999999999",
    "[01:99]",
    "-----BEGIN ",
    "-----END ",
    "=",
    "@revoked ",
    "@cert-authority ",
    "|1|",
    "\u{1b}[31m",
    "-H",
    "ExecStart=",
];

/// Numbers that differ each time; `xorshift64*`. Never used for a key.
struct Chance(u64);

impl Chance {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }

    /// Below `end`; 0 for an empty range.
    fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.next() >> 33).unwrap() % end.max(1)
    }

    fn one_of<'a, T>(&mut self, all: &'a [T]) -> &'a T {
        &all[self.below(all.len())]
    }

    fn range(&mut self, length: usize) -> std::ops::Range<usize> {
        let (one, other) = (self.below(length + 1), self.below(length + 1));
        one.min(other)..one.max(other)
    }

    /// One of the seeds with some changes.
    fn input(&mut self, seeds: &[Vec<u8>]) -> Vec<u8> {
        let mut bytes = self.one_of(seeds).clone();
        for _ in 0..=self.below(6) {
            let place = self.below(bytes.len() + 1);
            match self.below(7) {
                0 if place < bytes.len() => bytes[place] ^= 1 << self.below(8),
                1 if place < bytes.len() => bytes[place] = self.next().to_le_bytes()[7],
                2 => drop(bytes.drain(self.range(bytes.len()))),
                3 => {
                    let part = bytes[self.range(bytes.len())].to_vec();
                    bytes.splice(place..place, part);
                }
                4 => {
                    let other = self.one_of(seeds);
                    let part = other[self.range(other.len())].to_vec();
                    bytes.splice(place..place, part);
                }
                _ => {
                    let token = self.one_of(TOKENS).bytes();
                    bytes.splice(place..place, token);
                }
            }
            bytes.truncate(LARGEST);
        }
        bytes
    }
}

/// Gives `target` inputs until the time is over.
pub fn run(name: &str, seeds: &[Vec<u8>], target: impl Fn(&[u8])) {
    assert!(!seeds.is_empty(), "{name} has nothing to begin with");
    let keep = |input: &[u8], what: &str| -> ! {
        let directory =
            Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../..")).join("target/fuzz");
        let path = directory.join(format!("{name}-{:016x}", number(input)));
        std::fs::create_dir_all(&directory).unwrap();
        std::fs::write(&path, input).unwrap();
        panic!(
            "{name} {what}; try it again with FUZZ_INPUT={}",
            path.display()
        );
    };
    let attempt = |input: &[u8]| {
        let begun = Instant::now();
        if catch_unwind(AssertUnwindSafe(|| target(input))).is_err() {
            keep(input, "panicked");
        }
        if begun.elapsed() > LONGEST {
            keep(input, "takes too long");
        }
    };
    if let Some(path) = std::env::var_os("FUZZ_INPUT") {
        return attempt(&std::fs::read(path).unwrap());
    }
    for seed in seeds {
        attempt(seed);
    }
    let asked = std::env::var("FUZZ_SECONDS").ok();
    let budget = asked.as_ref().map_or(MOMENT, |seconds| {
        Duration::from_secs(seconds.parse().unwrap())
    });
    // An ordinary run always tries the same; a long one something new.
    let start = asked.map_or(1, |_| random());
    let (mut chance, begun, mut count) = (Chance(start | 1), Instant::now(), 0);
    while begun.elapsed() < budget {
        attempt(&chance.input(seeds));
        count += 1;
    }
    // The output of a test.
    #[allow(clippy::print_stdout)]
    {
        println!("{name}: {count} inputs in {budget:?}");
    }
}

fn random() -> u64 {
    std::hash::BuildHasher::hash_one(&std::hash::RandomState::new(), ())
}

/// The same for the same input.
fn number(input: &[u8]) -> u64 {
    use std::hash::{DefaultHasher, Hash as _, Hasher as _};
    let mut hasher = DefaultHasher::new();
    input.hash(&mut hasher);
    hasher.finish()
}

/// Every file below a folder of this repository.
pub fn files(folder: &str) -> Vec<Vec<u8>> {
    fn collect(directory: &Path, found: &mut Vec<Vec<u8>>) {
        let mut paths: Vec<PathBuf> = std::fs::read_dir(directory)
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .collect();
        paths.sort();
        for path in paths {
            if path.is_dir() {
                collect(&path, found);
            } else if !path.to_string_lossy().contains(".snap") {
                found.push(std::fs::read(path).unwrap());
            }
        }
    }
    let mut found = Vec::new();
    collect(
        &Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../..")).join(folder),
        &mut found,
    );
    found
}

pub fn texts(texts: &[&str]) -> Vec<Vec<u8>> {
    texts.iter().map(|text| text.as_bytes().to_vec()).collect()
}
