//! Durations on the command line: `90`, `90s`, `5m`, `1h30m`.

use std::time::Duration;

/// Parses a duration; a bare number is in seconds.
pub(super) fn parse(text: &str) -> Result<Duration, String> {
    if let Ok(seconds) = text.parse() {
        return Ok(Duration::from_secs(seconds));
    }
    humantime::parse_duration(text)
        .map_err(|error| format!("{error}; write 90, 90s, 5m or 1h30m for instance"))
}

/// Parses a duration of at least one second.
pub(super) fn positive(text: &str) -> Result<Duration, String> {
    match parse(text)? {
        short if short < Duration::from_secs(1) => Err("it must be at least one second".to_owned()),
        duration => Ok(duration),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_seconds_and_units_add_up() {
        let seconds = |text| parse(text).map(|duration| duration.as_secs());
        assert_eq!(seconds("0"), Ok(0));
        assert_eq!(seconds("90"), Ok(90));
        assert_eq!(seconds("90s"), Ok(90));
        assert_eq!(seconds("5m"), Ok(300));
        assert_eq!(seconds("1h30m"), Ok(5400));
        for wrong in ["", "-1", "five", "5x", "1.5"] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
        assert!(positive("0").is_err() && positive("100ms").is_err());
        assert!(positive("1").is_ok());
    }
}
