//! An alternative for machines without systemd: a crontab line.

use super::escape::cron as word;
use super::run_words;

/// What to do instead of `schedule install`. `None`: a path has a line break.
pub(super) fn advice(
    user: &str,
    passphrase: &str,
    program: &str,
    inventory: &str,
    arguments: &[String],
) -> Option<String> {
    let mut words = run_words(program, inventory);
    words.extend(arguments.iter().cloned());
    words.extend(["--ca-passphrase-file".to_owned(), passphrase.to_owned()]);
    let words: Option<Vec<String>> = words.iter().map(|plain| word(plain)).collect();
    // Spreads machines over the hour.
    let minute = inventory.bytes().map(u32::from).sum::<u32>() % 60;
    let file = shlex::try_quote(passphrase).ok()?;
    let (directory, _) = passphrase.rsplit_once('/')?;
    let directory = shlex::try_quote(directory).ok()?;
    Some(format!(
        "With cron: create the directory {directory} with mode 0700, put the CA's passphrase into {file} with mode 0600, both owned by {user}, and put this line into /etc/cron.d/dtls-deploy. \
         cron sends what a failed run said to {user} as mail.\n\n\
         {minute} 3 * * * {user} said=$({} 2>&1) || echo \"$said\"\n",
        words?.join(" ")
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_for_cron_survives_its_paths() {
        let arguments = ["--wait".to_owned(), "1800".to_owned()];
        let said = advice("root", "/etc/p", "/usr/bin/d", "/a b/50%.yaml", &arguments).unwrap();
        let line = said.lines().last().unwrap();
        assert!(line.contains(" 3 * * * root said=$(/usr/bin/d "), "{line}");
        assert!(
            line.contains("'/a b/50\\%.yaml' --no-defaults --wait 1800"),
            "{line}"
        );
        assert!(advice("root", "/etc/p", "/d", "/a\nb", &[]).is_none());
    }

    #[test]
    fn the_line_of_the_documentation_is_this_one() {
        let arguments = ["--wait".to_owned(), "1800".to_owned()];
        let said = advice(
            "root",
            "/etc/dtls-deploy/schedule/lab/ca-passphrase",
            "/usr/local/bin/dtls-deploy",
            "/srv/lab.yaml",
            &arguments,
        )
        .unwrap();
        let line = said.lines().last().unwrap();
        let page = include_str!("../../docs/schedule.md");
        assert!(page.lines().any(|of_page| of_page == line), "{line}");
    }
}
