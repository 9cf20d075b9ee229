//! What processes show of themselves while the tool runs.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Everything that processes show of themselves while the tool runs. The
/// nodes' processes are visible from here.
pub struct Watch {
    stop: Arc<AtomicBool>,
    thread: std::thread::JoinHandle<(BTreeSet<String>, u64)>,
}

impl Watch {
    /// Looks for these texts until it is finished.
    pub fn start(texts: &[&str]) -> Self {
        let texts: Vec<String> = texts.iter().map(|text| (*text).to_owned()).collect();
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            let mut seen = BTreeSet::new();
            let mut looks = 0;
            while !stopped.load(Ordering::Relaxed) {
                looks += 1;
                for entry in std::fs::read_dir("/proc").unwrap().flatten() {
                    let name = entry.file_name();
                    if !name
                        .to_string_lossy()
                        .starts_with(|first: char| first.is_ascii_digit())
                    {
                        continue;
                    }
                    for file in ["cmdline", "environ"] {
                        if let Ok(bytes) = std::fs::read(entry.path().join(file)) {
                            let text = String::from_utf8_lossy(&bytes).replace('\0', "\n");
                            if texts.iter().any(|secret| text.contains(secret.as_str())) {
                                let process = std::fs::read_to_string(entry.path().join("comm"))
                                    .unwrap_or_default();
                                seen.insert(format!("{} {file}", process.trim()));
                            }
                        }
                    }
                }
            }
            (seen, looks)
        });
        Self { stop, thread }
    }

    /// Who showed one of them where, and how often was looked.
    pub fn finish(self) -> (BTreeSet<String>, u64) {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().unwrap()
    }
}
