//! The CA's part of a run and nothing else: what `dtls-deploy ca-agent` does, in
//! a program small enough to be sent to the CA node in no time.

fn main() -> std::process::ExitCode {
    pki::agent_main()
}
