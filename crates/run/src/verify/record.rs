//! The output of the check scripts: records of a word and three fields.

use std::time::Duration;

use node::transaction::Report;

/// Limit for a check that runs a tool on the node: the tool's own deadline plus a margin.
pub(super) const TOOL_DEADLINE: Duration = Duration::from_secs(30);

/// Tools that can show that a server certificate is rejected: the lightest first.
pub(super) const DAEMON_TOOLS: &str = "curl docker openssl";

pub(super) fn find_record(output: &[u8], word: &str) -> Result<(String, String, String), String> {
    let report = Report::parse(output);
    report
        .records
        .iter()
        .find_map(|fields| match fields.as_slice() {
            [first, outcome, tool, said] if first == word => {
                Some((outcome.clone(), tool.clone(), on_one_line(said)))
            }
            _ => None,
        })
        .ok_or_else(|| {
            report.failed.map_or_else(
                || "the node's answer broke off".to_owned(),
                |(step, message)| format!("{step}: {message}"),
            )
        })
}

/// A tool's output, without curl's paragraph on how to disable verification.
fn on_one_line(said: &str) -> String {
    let lines = said.lines().map(str::trim).filter(|line| !line.is_empty());
    let of_tool = lines.take_while(|line| !line.starts_with("More details here:"));
    node::visible(&of_tool.collect::<Vec<_>>().join("; "))
}

#[cfg(test)]
mod tests {
    use super::on_one_line;

    #[test]
    fn what_a_tool_says_is_one_line_without_its_advice() {
        let said = "curl: (60) SSL certificate problem: certificate has expired\nMore details here: https://curl.se/docs/sslcerts.html\n\ncurl failed to verify the legitimacy of the server and therefore could not\nestablish a secure connection to it.";
        let expected = "curl: (60) SSL certificate problem: certificate has expired";
        assert_eq!(on_one_line(said), expected);
        assert_eq!(on_one_line("one \n\n two\r\n"), "one; two");
        assert_eq!(on_one_line("a\u{1b}[2J"), "a\\u{1b}[2J");
    }
}
