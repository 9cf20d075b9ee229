//! Pages and examples: their commands are command lines of the program, their
//! YAML is what it claims to be, their links lead somewhere, and the site is
//! built from them.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use inventory::{Environment, MemoryFiles, load};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

pub fn files_in(folder: &str, ending: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(root().join(folder)).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files_in(
                path.strip_prefix(root()).unwrap().to_str().unwrap(),
                ending,
            ));
        } else if path.to_str().unwrap().ends_with(ending) {
            found.push(path);
        }
    }
    found.sort();
    found
}

fn pages() -> Vec<PathBuf> {
    let mut pages = files_in("docs", ".md");
    pages.push(root().join("README.md"));
    pages.push(root().join("CONTRIBUTING.md"));
    pages
}

pub fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The blocks of a page with this word behind the fence.
fn blocks<'a>(text: &'a str, language: &str) -> Vec<&'a str> {
    let parts: Vec<&str> = text.split("```").collect();
    let inside = parts.iter().skip(1).step_by(2);
    inside
        .filter_map(|block| block.split_once('\n'))
        .filter(|(word, _)| *word == language)
        .map(|(_, block)| block)
        .collect()
}

/// The words of a line that calls the program, up to where the shell takes over.
fn command_of(line: &str) -> Option<Vec<String>> {
    let line = line
        .trim()
        .trim_start_matches("- ")
        .trim_start_matches("$ ");
    let line = line.split(" #").next().unwrap_or_default();
    let words: Vec<String> = shlex::split(line)?
        .into_iter()
        .take_while(|word| !word.starts_with(['|', '>', '<', '&', ';']))
        .collect();
    let is_program = |word: &String| word == "dtls-deploy" || word.ends_with("/dtls-deploy");
    let begin = words.iter().position(is_program)?;
    let before = words.get(..begin)?;
    let is_call = before.is_empty() || before == ["sudo"] || before.ends_with(&["run".to_owned()]);
    is_call.then(|| {
        let arguments = words.iter().skip(begin + 1).cloned();
        std::iter::once("dtls-deploy".to_owned())
            .chain(arguments)
            .collect()
    })
}

/// What is wrong with a command. A word that is neither a command nor a file's
/// name would be taken for an inventory.
fn mistake(words: &[String]) -> Option<String> {
    let first = words.get(1).map_or("", String::as_str);
    if !first.starts_with('-') && !first.contains('.') {
        let help = Command::new(env!("CARGO_BIN_EXE_dtls-deploy"))
            .args([first, "--help"])
            .output()
            .unwrap();
        let usage = format!("Usage: dtls-deploy {first}");
        if !String::from_utf8_lossy(&help.stdout).contains(&usage) {
            return Some(format!("{first} is no command"));
        }
    }
    dtls_deploy::cli::check(words).err()
}

#[test]
fn commands_in_pages_are_command_lines() {
    let mut texts: Vec<(PathBuf, String)> = Vec::new();
    for path in pages() {
        let text = read(&path);
        texts.extend(
            blocks(&text, "")
                .iter()
                .map(|block| (path.clone(), (*block).to_owned())),
        );
    }
    let mut count = 0;
    for (path, text) in texts {
        for words in text.lines().filter_map(command_of) {
            if let Some(mistake) = mistake(&words) {
                panic!("{}: {}\n{mistake}", path.display(), words.join(" "));
            }
            count += 1;
        }
    }
    assert!(count >= 50, "only {count} commands were found");
}

/// A mistake in a page would be found.
#[test]
fn a_wrong_command_is_found() {
    for line in [
        "dtls-deploy rotate inventory.yaml --client-only",
        "sudo dtls-deploy schedul status",
        "$ dtls-deploy status",
        "dtls-deploy rotate i.yaml --wait soon   # a comment",
    ] {
        let words = command_of(line).unwrap();
        assert!(mistake(&words).is_some(), "{line}");
    }
    assert_eq!(command_of("install dtls-deploy"), None);
}

#[test]
fn inventories_in_pages_are_inventories() {
    let mut count = 0;
    for path in pages() {
        for yaml in blocks(&read(&path), "yaml") {
            if !yaml.contains("all:\n") || !yaml.contains("children:") {
                continue;
            }
            let files = MemoryFiles([("/i/inventory.yaml".into(), yaml.into())].into());
            let environment = Environment {
                home: Some("/home/operator".into()),
                user: Some("operator".to_owned()),
                directory: "/i".into(),
                files: Arc::new(files),
                untrusted: false,
            };
            let loaded = load(Path::new("inventory.yaml"), &[], &environment);
            assert!(loaded.is_ok(), "{}: {yaml}\n{loaded:?}", path.display());
            count += 1;
        }
    }
    assert!(count >= 3, "{count}");
}

/// The name that a heading has as the target of a link.
fn anchor(heading: &str) -> String {
    let kept = heading.trim().to_lowercase();
    let kept = kept
        .chars()
        .filter(|c| c.is_alphanumeric() || " -_".contains(*c));
    kept.collect::<String>().replace(' ', "-")
}

#[test]
fn links_lead_somewhere_and_every_page_is_in_the_contents() {
    let contents = read(&root().join("packaging/mkdocs.yml"));
    let mut linked = BTreeSet::new();
    for path in pages() {
        let text = read(&path);
        for part in text.split("](").skip(1) {
            let link = part.split(')').next().unwrap();
            if link.starts_with("http") {
                continue;
            }
            let (file, place) = link.split_once('#').unwrap_or((link, ""));
            let target = match file {
                "" => path.clone(),
                file => path.parent().unwrap().join(file),
            };
            assert!(target.exists(), "{}: {link}", path.display());
            if !place.is_empty() {
                let text = read(&target);
                let headings = text.lines().filter(|line| line.starts_with('#'));
                let found = headings
                    .map(|line| anchor(line.trim_start_matches('#')))
                    .any(|name| name == place);
                assert!(found, "{}: {link}", path.display());
            }
            linked.insert(target);
        }
    }
    assert!(linked.len() >= 20, "{linked:?}");
    for page in files_in("docs", ".md") {
        let name = page.file_name().unwrap().to_str().unwrap();
        assert!(
            contents.contains(&format!("- {name}\n")),
            "{name} is not in packaging/mkdocs.yml"
        );
    }
}

/// What a shell prints that runs a line of a page, with another place for the state of a node.
fn on_a_node(shell: &[&str], line: &str, state: &Path) -> (String, String) {
    let line = line.replace("/var/lib/dtls-deploy", state.to_str().unwrap());
    let output = Command::new(shell[0])
        .args(&shell[1..])
        .args(["-c", &line])
        .current_dir(state)
        .output()
        .expect("apt-get install dash bash busybox");
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (text(output.stdout), text(output.stderr))
}

/// Pasted on a node with and without something to undo, from the page as it is.
#[test]
fn loops_for_an_emergency_are_right_in_every_shell() {
    let page = read(&root().join("docs/emergency.md"));
    let lines = page
        .lines()
        .filter_map(|line| line.strip_prefix("node3$ sudo sh -c "));
    let lines: Vec<String> = lines
        .map(|line| shlex::split(line).unwrap().remove(0))
        .collect();
    assert_eq!(lines.len(), 2, "{lines:?}");
    let restore = blocks(&page, "")
        .into_iter()
        .find(|block| block.contains("<manifest"));
    let restore = restore.unwrap().split_once("number=0").unwrap().1;
    let restore = restore.split_once("systemctl").unwrap().0;
    for shell in [&["dash"][..], &["bash"], &["busybox", "ash"]] {
        let state = tempfile::tempdir().unwrap();
        let state = state.path();
        for directory in ["", "armed", "armed/run1"] {
            std::fs::create_dir_all(state.join(directory)).unwrap();
            let has_run = directory == "armed/run1";
            if has_run {
                let script = "echo undone by \"$0\"\n";
                std::fs::write(state.join("armed/run1/rollback.sh"), script).unwrap();
            }
            let said: Vec<(String, String)> = lines
                .iter()
                .map(|line| on_a_node(shell, line, state))
                .collect();
            assert!(said.iter().all(|(_, error)| error.is_empty()), "{said:?}");
            assert_eq!(said[0].0.contains("rollback.sh"), has_run, "{said:?}");
            assert_eq!(said[1].0.starts_with("undone by"), has_run, "{said:?}");
        }
        // A generation of one file, one that was not there, and their directory.
        let at = |name: &str| state.join(name).display().to_string();
        let mode = |name: &str| {
            use std::os::unix::fs::MetadataExt as _;
            std::fs::metadata(state.join(name)).unwrap().mode() & 0o777
        };
        for name in ["1", "2", "now"] {
            std::fs::write(state.join(name), name).unwrap();
        }
        let (first, second, now) = (at("a b"), at("second"), at("now"));
        let manifest = format!(
            "run\tx\ndirectory\t{}\nfile\t0640\t0\t0\t{first}\nabsent\t{now}\nfile\t400\t0\t0\t{second}\n",
            state.display()
        );
        std::fs::write(state.join("manifest"), manifest).unwrap();
        let said = on_a_node(shell, &format!("number=0{restore}"), state);
        assert_eq!(said, (String::new(), String::new()), "{shell:?}");
        assert_eq!(
            (read(Path::new(&first)), mode("a b")),
            ("1".to_owned(), 0o640)
        );
        assert_eq!(
            (read(Path::new(&second)), mode("second")),
            ("2".to_owned(), 0o400)
        );
        assert!(!state.join("now").exists());
    }
}

#[test]
fn the_site_is_built() {
    let site = tempfile::tempdir().unwrap();
    let output = Command::new(root().join("docs/build"))
        .arg(site.path())
        .output()
        .unwrap();
    let problem = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success() && problem.is_empty(), "{problem}");
    for page in files_in("docs", ".md") {
        let name = page.file_stem().unwrap().to_str().unwrap();
        let html = read(&site.path().join(format!("{name}.html")));
        assert!(
            html.contains("<h1") && html.trim_end().ends_with("</html>"),
            "{name}"
        );
        // Nothing is fetched from elsewhere.
        for loaded in ["src=\"http", "rel=\"stylesheet\" href=\"http"] {
            assert!(!html.contains(loaded), "{name}: {loaded}");
        }
        assert!(html.contains("href=\"threat-model.html\""), "{name}");
        for link in html.split("href=\"").skip(1) {
            let link = link.split('"').next().unwrap();
            let (file, place) = link.split_once('#').unwrap_or((link, ""));
            let is_page = file.is_empty() || Path::new(file).extension() == Some("html".as_ref());
            if file.starts_with("http") || !is_page {
                continue;
            }
            let file = if file.is_empty() {
                format!("{name}.html")
            } else {
                file.to_owned()
            };
            let target = read(&site.path().join(&file));
            assert!(
                place.is_empty() || target.contains(&format!("id=\"{place}\"")),
                "{name}: {link}"
            );
        }
    }
}

/// The tests that a cell names, each as its file and its function, if it names one.
fn tests_of(cell: &str) -> Vec<(String, Option<&str>)> {
    let names = cell.split('`').skip(1).step_by(2);
    let tests = names.filter(|name| !name.contains('.'));
    tests
        .map(|name| {
            let (binary, test) = name.split_once(' ').unwrap();
            let (file, function) = match test.split_once("::") {
                Some((file, function)) => (file, Some(function)),
                None => (test, None),
            };
            (format!("tests/{binary}/{file}.rs"), function)
        })
        .collect()
}

#[test]
fn every_row_of_the_guides_has_a_setting_and_a_test_that_exists() {
    let page = read(&root().join("docs/guides.md"));
    let (_, rows) = page.split_once("<!-- rows -->").unwrap();
    let (rows, _) = rows.split_once("<!-- end of rows -->").unwrap();
    let rows: Vec<&str> = rows.trim().lines().skip(2).collect();
    assert!(rows.len() >= 25, "{}", rows.len());
    for row in rows {
        let cells: Vec<&str> = row.trim_matches('|').split('|').map(str::trim).collect();
        assert!(
            cells.len() == 3 && cells.iter().all(|cell| !cell.is_empty()),
            "{row}"
        );
        let tests = tests_of(cells[2]);
        assert!(!tests.is_empty(), "no test: {row}");
        for (file, function) in tests {
            let text = read(&root().join(file));
            let is_there = |function| text.contains(&format!("#[test]\nfn {function}() {{"));
            assert!(function.is_none_or(is_there), "{function:?}: {row}");
        }
    }
}
