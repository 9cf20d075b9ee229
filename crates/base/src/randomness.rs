//! Prepares the random number generator while the program waits for something else.
//!
//! Called at the start of a run, and of the CA agent.

/// AWS-LC collects its own entropy for some 20 ms on first use in a process. A thread does that,
/// and the first user of random bytes waits for the rest.
pub fn prepare() {
    // The thread ends on its own; without it the first use just takes longer.
    let _ = std::thread::Builder::new().spawn(|| aws_lc_rs::rand::fill(&mut [0; 1]));
}
