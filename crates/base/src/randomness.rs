//! The random number generator, made ready while something else is waited for.
//!
//! Called at the start of a run, and of the CA agent.

/// AWS-LC collects entropy of its own for some 20 ms at the first use in a process:
/// a thread does that, and the first that needs random bytes waits for what is left.
pub fn prepare() {
    // It ends by itself; without it the first use takes as long as it takes.
    let _ = std::thread::Builder::new().spawn(|| aws_lc_rs::rand::fill(&mut [0; 1]));
}
