//! `dtls-deploy man --to DIR`: writes manual pages, one for the program and one for each command,
//! from the same definitions as `--help`.

use std::path::{Path, PathBuf};

use clap::{Args, Command, CommandFactory as _};
use clap_mangen::Man;

use super::Cli;
use run::Exit;

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// Directory to write to; created if missing
    #[arg(long, value_name = "DIR")]
    to: PathBuf,
}

pub(super) fn main(arguments: &Arguments) -> Exit {
    let mut program = super::help::complete(Cli::command()).disable_help_subcommand(true);
    program.build();
    let written = std::fs::create_dir_all(&arguments.to)
        .and_then(|()| pages(&program, "dtls-deploy", &arguments.to));
    match written {
        Ok(()) => Exit::Fine,
        Err(error) => {
            base::output::error(&format!(
                "Error: the manual pages cannot be written to {}\nCaused by: {error}\n",
                arguments.to.display()
            ));
            Exit::Usage
        }
    }
}

/// The page of a command, and those of its subcommands.
fn pages(command: &Command, name: &str, directory: &Path) -> std::io::Result<()> {
    let page = Man::new(command.clone().display_name(name))
        .title(name.to_uppercase())
        .section("1")
        // A space: an empty field would be omitted, and the date would move into its place.
        .date(" ")
        .source(format!("dtls-deploy {}", env!("CARGO_PKG_VERSION")))
        .manual("dtls-deploy");
    page.generate_to(directory)?;
    for inner in command.get_subcommands() {
        if !inner.is_hide_set() {
            pages(inner, &format!("{name}-{}", inner.get_name()), directory)?;
        }
    }
    Ok(())
}
