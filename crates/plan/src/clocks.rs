//! How clocks that differ are reported.

/// `N seconds ahead of` or `behind`.
pub fn apart(difference: i64) -> String {
    let direction = if difference < 0 { "behind" } else { "ahead of" };
    format!("{} {direction}", seconds(difference.abs()))
}

pub fn seconds(count: i64) -> String {
    let unit = if count == 1 { "second" } else { "seconds" };
    format!("{count} {unit}")
}
