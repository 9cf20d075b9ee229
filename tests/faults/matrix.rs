//! The matrix of steps and faults: its cells, their results, and the report.
//!
//! Results are kept in `target/faults.state`, one line for each cell, from which an interrupted
//! matrix continues; the report is `target/faults.md`.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::Write as _;
use std::path::PathBuf;
use std::time::Instant;

use crate::cell::{self, Outcome};
use crate::fault::{self, Fault};
use crate::lab::Lab;
use crate::node::Node;
use crate::scenario::Scenario;
use crate::steps::{Step, steps};

/// How often a step is looked for, when runs go by without it.
const TRIES: usize = 3;

/// A lab on which cells are run, one after another.
pub struct Bench {
    pub lab: Lab,
    /// Every run asks for something that none before it has asked for.
    turn: usize,
}

pub struct Done {
    pub scenario: Scenario,
    pub fault: Fault,
    pub step: Step,
    pub outcome: Outcome,
}

impl Bench {
    pub fn new() -> Self {
        let mut bench = Self {
            lab: Lab::fresh(),
            turn: 0,
        };
        bench.begin();
        bench
    }

    fn begin(&mut self) {
        for name in ["node1", "node2", "node3"] {
            Node {
                lab: &self.lab,
                name,
            }
            .install_shims();
        }
        let turn = self.next();
        self.lab
            .deploy(&[&Scenario::Rotation.inventory(&self.lab, turn)]);
    }

    pub fn next(&mut self) -> usize {
        self.turn += 1;
        self.turn
    }

    /// All steps of a scenario: a turn that adds and one that removes have
    /// the same. Those that only look are every node's and every scenario's:
    /// they are taken once.
    pub fn steps(&mut self, scenario: Scenario) -> Vec<Step> {
        // The first turn brings the nodes to where the second one leaves them.
        let turn = self.next();
        cell::record(&self.lab, scenario, turn);
        let turn = self.next();
        let looking = steps(&cell::record_looking(&self.lab, scenario, turn));
        let mut found = steps(&cell::record(&self.lab, scenario, turn));
        if scenario != Scenario::WITH_LOOKING {
            found.retain(|step| !looking.contains(step));
        }
        assert!(
            found.len() > 5,
            "{}: the shim has seen only {found:?}",
            scenario.name()
        );
        found
    }

    pub fn run(&mut self, scenario: Scenario, fault: Fault, step: &Step) -> Outcome {
        let mut outcome = self.try_once(scenario, fault, step);
        for _ in 1..TRIES {
            if outcome
                .broken
                .first()
                .is_none_or(|why| why != cell::NOT_REACHED)
            {
                break;
            }
            outcome = self.try_once(scenario, fault, step);
        }
        if !outcome.broken.is_empty() {
            // The next cell must not pay for this one.
            self.lab.control(&["reset"]);
            self.begin();
            if fault.needs_small_file_systems() {
                self.mount(scenario);
            }
        }
        outcome
    }

    fn try_once(&mut self, scenario: Scenario, fault: Fault, step: &Step) -> Outcome {
        let turn = self.next();
        cell::run(&self.lab, scenario, turn, fault, step, fault::settle)
    }

    pub fn mount(&self, scenario: Scenario) {
        let name = scenario.node();
        fault::mount(
            &Node {
                lab: &self.lab,
                name,
            },
            scenario,
        );
    }

    pub fn unmount(&self, scenario: Scenario) {
        let name = scenario.node();
        fault::unmount(
            &Node {
                lab: &self.lab,
                name,
            },
            scenario,
        );
    }

    /// The cells that `wanted` names, and says how they went.
    pub fn cells(
        &mut self,
        scenarios: &[Scenario],
        wanted: impl Fn(Scenario, Fault, usize, &Step) -> bool,
        mut report: impl FnMut(&Done),
    ) {
        for &scenario in scenarios {
            let found = self.steps(scenario);
            for is_mounted in [false, true] {
                let cells: Vec<(Fault, &Step)> = Fault::ALL
                    .into_iter()
                    .filter(|fault| fault.needs_small_file_systems() == is_mounted)
                    .flat_map(|fault| {
                        found
                            .iter()
                            .enumerate()
                            .map(move |(i, step)| (fault, i, step))
                    })
                    .filter(|(fault, index, step)| wanted(scenario, *fault, *index, step))
                    .map(|(fault, _, step)| (fault, step))
                    .collect();
                if cells.is_empty() {
                    continue;
                }
                if is_mounted {
                    self.mount(scenario);
                }
                for (fault, step) in cells {
                    let begun = Instant::now();
                    let outcome = self.run(scenario, fault, step);
                    println!(
                        "{:>5.1} s  {} / {} / {}: {}{}",
                        begun.elapsed().as_secs_f32(),
                        scenario.name(),
                        fault.name(),
                        step.label(),
                        outcome.what,
                        if outcome.broken.is_empty() {
                            String::new()
                        } else {
                            format!("\n         BROKEN: {}", outcome.broken.join("\n         "))
                        }
                    );
                    report(&Done {
                        scenario,
                        fault,
                        step: step.clone(),
                        outcome,
                    });
                }
                if is_mounted {
                    self.unmount(scenario);
                }
            }
        }
    }
}

/// What is known of each cell, kept in a file.
pub struct Known {
    path: PathBuf,
    cells: BTreeMap<(String, String, String), (String, String)>,
    /// Steps in the order in which they were first seen.
    order: Vec<(String, String)>,
}

fn target(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("target")
        .join(name)
}

fn one_line(text: &str) -> String {
    text.replace(['\t', '\n'], " ")
}

impl Known {
    pub fn open(is_fresh: bool) -> Self {
        let path = target("faults.state");
        if is_fresh {
            let _ = std::fs::remove_file(&path);
        }
        let mut known = Self {
            path,
            cells: BTreeMap::new(),
            order: Vec::new(),
        };
        let text = std::fs::read_to_string(&known.path).unwrap_or_default();
        for line in text.lines() {
            let fields: Vec<&str> = line.split('\t').collect();
            if let [scenario, fault, step, what, broken] = fields.as_slice() {
                known.keep(scenario, fault, step, what, broken);
            }
        }
        known
    }

    fn keep(&mut self, scenario: &str, fault: &str, step: &str, what: &str, broken: &str) {
        let place = (scenario.to_owned(), step.to_owned());
        if !self.order.contains(&place) {
            self.order.push(place);
        }
        self.cells.insert(
            (scenario.to_owned(), step.to_owned(), fault.to_owned()),
            (what.to_owned(), broken.to_owned()),
        );
    }

    fn name(step: &Step) -> String {
        one_line(&format!("{} #{}", step.text, step.occurrence))
    }

    pub fn has(&self, scenario: Scenario, fault: Fault, step: &Step) -> bool {
        self.cells.contains_key(&(
            scenario.name().to_owned(),
            Self::name(step),
            fault.name().to_owned(),
        ))
    }

    pub fn add(&mut self, done: &Done) {
        let (scenario, fault) = (done.scenario.name(), done.fault.name());
        let step = Self::name(&done.step);
        let what = one_line(&done.outcome.what);
        let broken = one_line(&done.outcome.broken.join("; "));
        let mut file = std::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(&self.path)
            .unwrap();
        writeln!(file, "{scenario}\t{fault}\t{step}\t{what}\t{broken}").unwrap();
        self.keep(scenario, fault, &step, &what, &broken);
    }

    pub fn broken(&self) -> Vec<String> {
        self.cells
            .iter()
            .filter(|(_, (_, broken))| !broken.is_empty())
            .map(|((scenario, step, fault), (_, broken))| {
                format!("{scenario} / {fault} / {step}: {broken}")
            })
            .collect()
    }

    /// The matrix as Markdown; also written to `target/faults.md`.
    pub fn table(&self) -> String {
        let mut text = String::new();
        let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
        for scenario in Scenario::ALL {
            let steps: Vec<&String> = self
                .order
                .iter()
                .filter(|(of, _)| of == scenario.name())
                .map(|(_, step)| step)
                .collect();
            if steps.is_empty() {
                continue;
            }
            let _ = writeln!(
                text,
                "\n## {}, {} steps on {}\n",
                scenario.name(),
                steps.len(),
                scenario.node()
            );
            let names: Vec<&str> = Fault::ALL.into_iter().map(Fault::name).collect();
            let _ = writeln!(
                text,
                "| step | {} |\n|---|{}",
                names.join(" | "),
                "---|".repeat(names.len())
            );
            for step in steps {
                let short: String = step.chars().take(100).collect();
                let _ = write!(text, "| `{}` |", short.replace('|', "\\|"));
                for fault in &names {
                    let key = (
                        scenario.name().to_owned(),
                        step.clone(),
                        (*fault).to_owned(),
                    );
                    let cell = match self.cells.get(&key) {
                        None => String::new(),
                        Some((what, broken)) => {
                            let kind = what.split(" (").next().unwrap_or_default();
                            *counts
                                .entry(if broken.is_empty() { kind } else { "broken" })
                                .or_default() += 1;
                            if broken.is_empty() {
                                kind.to_owned()
                            } else {
                                format!("**{kind}: broken**")
                            }
                        }
                    };
                    let _ = write!(text, " {cell} |");
                }
                text.push('\n');
            }
        }
        let counted: Vec<String> = counts
            .iter()
            .map(|(what, count)| format!("{count} {what}"))
            .collect();
        let head = format!(
            "# Failures at every step\n\n{} steps, {} kinds of failure, {} cells: {}\n",
            self.order.len(),
            Fault::ALL.len(),
            self.cells.len(),
            counted.join(", ")
        );
        let mut text = head + &text;
        for broken in self.broken() {
            let _ = writeln!(text, "\n- {broken}");
        }
        std::fs::write(target("faults.md"), &text).unwrap();
        text
    }
}
