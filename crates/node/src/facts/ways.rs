//! The directories on the paths in the facts.

use std::collections::BTreeMap;

use super::Component;

#[derive(Debug, Default)]
pub(super) struct Ways {
    /// By the requested path, from / on.
    walked: BTreeMap<String, Vec<String>>,
    seen: BTreeMap<String, Component>,
}

impl Ways {
    /// A path and the directories and links on it.
    pub(super) fn walked(&mut self, asked: &str, paths: &[&str]) {
        let paths = paths.iter().map(|path| (*path).to_owned()).collect();
        self.walked.insert(asked.to_owned(), paths);
    }

    /// The output of `stat` for a directory or link: uid, owner, mode and kind, separated by tabs.
    /// `None` if the line has another form.
    pub(super) fn seen(&mut self, path: &str, line: &str) -> Option<()> {
        let fields: Vec<&str> = line.split('\t').collect();
        let [uid, owner, mode, kind] = fields.as_slice() else {
            return None;
        };
        let component = Component {
            path: path.to_owned(),
            uid: uid.parse().ok()?,
            owner: (*owner).to_owned(),
            mode: u32::from_str_radix(mode, 8).ok()?,
            link: *kind == "symbolic link",
        };
        self.seen.insert(path.to_owned(), component);
        Some(())
    }

    /// Each path with the facts about the directories on it.
    ///
    /// # Errors The first directory without facts.
    pub(super) fn told(&self) -> Result<BTreeMap<String, Vec<Component>>, String> {
        let component = |path: &String| self.seen.get(path).cloned().ok_or_else(|| path.clone());
        let way = |(asked, paths): (&String, &Vec<String>)| {
            let components = paths.iter().map(component).collect::<Result<_, _>>()?;
            Ok((asked.clone(), components))
        };
        self.walked.iter().map(way).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_is_seen_once_for_all_ways_through_it() {
        let mut ways = Ways::default();
        ways.walked("/a/b", &["/", "/a"]);
        ways.walked("/a/c", &["/", "/a"]);
        assert_eq!(ways.told(), Err("/".to_owned()));
        assert_eq!(ways.seen("/", "0\troot\t755\tdirectory"), Some(()));
        assert_eq!(ways.seen("/a", "1000\tu\t777\tsymbolic link"), Some(()));
        let told = ways.told().unwrap();
        assert_eq!(told["/a/b"], told["/a/c"]);
        assert!(told["/a/b"][1].link && !told["/a/b"][0].link);
        for line in [
            "",
            "0\troot\t755",
            "x\troot\t755\tdirectory",
            "0\troot\t9\tdirectory",
        ] {
            assert_eq!(ways.seen("/", line), None, "{line}");
        }
    }
}
