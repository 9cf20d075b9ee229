//! When daemons may be restarted: `dtls_maintenance_window`.
//!
//! Parses a text like `Sun 02:00-05:00 UTC` into a
//! [`MaintenanceWindow`] that tells whether it is open at a time, and when it opens next. The plan
//! checks it before renewing a daemon's certificate.

use time::{Duration, OffsetDateTime, UtcOffset, Weekday};

use super::convert::{Context, Convert, Found};
use crate::yaml::source::quoted;

/// Minutes in a day.
const DAY: u16 = 24 * 60;

/// Hours of some days of the week in which daemons may be restarted.
#[derive(Clone, PartialEq, Eq)]
pub struct MaintenanceWindow {
    /// As it was written.
    text: String,
    /// The days on which it opens, one bit each, Monday the lowest.
    days: u8,
    /// Minutes after midnight, before 24:00.
    begin: u16,
    /// Minutes after midnight, 24:00 at most; before `begin` on the next day.
    end: u16,
    /// In UTC, as opposed to the controller's zone.
    utc: bool,
}

/// As it is written in an inventory.
impl std::fmt::Debug for MaintenanceWindow {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(&self.text)
    }
}

impl std::fmt::Display for MaintenanceWindow {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(&self.text)
    }
}

impl MaintenanceWindow {
    /// Whether it is open. The offset of `now` is the controller's zone.
    #[must_use]
    pub fn is_open(&self, now: OffsetDateTime) -> bool {
        let now = self.in_zone(now);
        let minute = u16::from(now.hour()) * 60 + u16::from(now.minute());
        let today = self.opens_on(now.weekday());
        if self.begin < self.end {
            return today && (self.begin..self.end).contains(&minute);
        }
        // It belongs to the day on which it opens.
        let yesterday = self.opens_on(now.weekday().previous());
        (today && minute >= self.begin) || (yesterday && minute < self.end)
    }

    /// When it opens next, with the zone.
    #[must_use]
    pub fn opens_next(&self, now: OffsetDateTime) -> Option<String> {
        let now = self.in_zone(now);
        let midnight = now.replace_time(time::Time::MIDNIGHT);
        let opening = (0..=7)
            .map(|day| midnight + Duration::days(day))
            .filter(|day| self.opens_on(day.weekday()))
            .map(|day| day + Duration::minutes(self.begin.into()))
            .find(|opening| *opening > now)?;
        let format = time::macros::format_description!("[year]-[month]-[day] [hour]:[minute]");
        let zone = if self.utc {
            "UTC"
        } else {
            "in this machine's time zone"
        };
        Some(format!("{} {zone}", opening.format(&format).ok()?))
    }

    fn in_zone(&self, now: OffsetDateTime) -> OffsetDateTime {
        if self.utc {
            now.to_offset(UtcOffset::UTC)
        } else {
            now
        }
    }

    fn opens_on(&self, day: Weekday) -> bool {
        self.days & (1 << day.number_days_from_monday()) != 0
    }
}

/// What is wrong with a window, and how to fix it.
type Wrong = (String, &'static str);

const FORM: &str = "write it like `Sun 02:00-05:00`, `02:00-04:00` or `Mon-Fri 22:00-05:00 UTC`";
const DAYS: &str = "the days are Mon, Tue, Wed, Thu, Fri, Sat and Sun, like `Sun`, `Sat,Sun` or `Mon-Fri`; every day when none is named";
const HOURS: &str = "hours and minutes with two digits each, from 00:00 to 24:00";

impl std::str::FromStr for MaintenanceWindow {
    type Err = Wrong;

    fn from_str(text: &str) -> Result<Self, Wrong> {
        let mut words: Vec<&str> = text.split(' ').collect();
        let utc = match words.last() {
            Some(&"UTC") => true,
            Some(&"local") => false,
            _ => {
                words.push("local");
                false
            }
        };
        let (days, hours) = match words.as_slice() {
            [hours, _] => (0b0111_1111, *hours),
            [days, hours, _] => match days_of(days) {
                // The second of three words is no time: it is the zone that is unknown.
                Ok(days) => (days, *hours),
                Err(wrong) if hours.contains(':') => return Err(wrong),
                Err(_) => return Err(zone_or_form(text, hours)),
            },
            [_, _, zone, _] => return Err(zone_or_form(text, zone)),
            _ => {
                return Err((
                    format!("{} is not a maintenance window", quoted(text)),
                    FORM,
                ));
            }
        };
        let Some((begin, end)) = hours.split_once('-') else {
            return Err((
                format!("{} is not a maintenance window", quoted(text)),
                FORM,
            ));
        };
        let (begin, end) = (minutes_of(begin)?, minutes_of(end)?);
        if begin == DAY {
            return Err((
                "a maintenance window cannot begin at 24:00".to_owned(),
                "the day begins at 00:00",
            ));
        }
        if begin == end {
            return Err((
                format!("{} begins and ends at the same time", quoted(text)),
                "the whole day is 00:00-24:00",
            ));
        }
        Ok(Self {
            text: text.to_owned(),
            days,
            begin,
            end,
            utc,
        })
    }
}

fn zone_or_form(text: &str, word: &str) -> Wrong {
    if !word.is_empty()
        && word
            .chars()
            .all(|letter| letter.is_ascii_alphabetic() || letter == '/')
    {
        return (
            format!(
                "{} is not a time zone of a maintenance window",
                quoted(word)
            ),
            "write UTC, or local for the zone of the machine that dtls-deploy runs on; that is also what counts when none is named",
        );
    }
    (
        format!("{} is not a maintenance window", quoted(text)),
        FORM,
    )
}

/// `Sun`, `Mon-Fri`, `Fri-Mon`, or several of them with commas between.
fn days_of(text: &str) -> Result<u8, Wrong> {
    let mut days = 0;
    for part in text.split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (mut day, last) = (day_of(first)?, day_of(last)?);
        loop {
            days |= 1 << day.number_days_from_monday();
            if day == last {
                break;
            }
            day = day.next();
        }
    }
    Ok(days)
}

fn day_of(text: &str) -> Result<Weekday, Wrong> {
    Ok(match text {
        "Mon" => Weekday::Monday,
        "Tue" => Weekday::Tuesday,
        "Wed" => Weekday::Wednesday,
        "Thu" => Weekday::Thursday,
        "Fri" => Weekday::Friday,
        "Sat" => Weekday::Saturday,
        "Sun" => Weekday::Sunday,
        _ => return Err((format!("{} is not a day of the week", quoted(text)), DAYS)),
    })
}

fn minutes_of(text: &str) -> Result<u16, Wrong> {
    let wrong = || (format!("{} is not a time of day", quoted(text)), HOURS);
    let number = |digits: &str| {
        let two = digits.len() == 2 && digits.chars().all(|digit| digit.is_ascii_digit());
        two.then(|| digits.parse::<u16>().ok()).flatten()
    };
    let (hours, minutes) = text.split_once(':').ok_or_else(wrong)?;
    match (number(hours), number(minutes)) {
        (Some(hours @ 0..=23), Some(minutes @ 0..=59)) => Ok(hours * 60 + minutes),
        (Some(24), Some(0)) => Ok(DAY),
        _ => Err(wrong()),
    }
}

/// The days and hours of a window.
pub(super) struct Window;

impl Convert for Window {
    type Output = MaintenanceWindow;
    const EXPECTED: &'static str = "days and hours, like Sun 02:00-05:00";
    const SCHEMA: &'static str = r#"{"type": "string", "pattern": "^((Mon|Tue|Wed|Thu|Fri|Sat|Sun)([,-](Mon|Tue|Wed|Thu|Fri|Sat|Sun))* )?[0-2][0-9]:[0-5][0-9]-[0-2][0-9]:[0-5][0-9]( UTC| local)?$"}"#;

    fn convert(value: &Found, context: &mut Context) -> Option<Self::Output> {
        let text = value.line(Self::EXPECTED, context)?;
        match text.parse() {
            Ok(window) => Some(window),
            Err((message, help)) => value.refuse(message, help, context),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use time::macros::datetime;

    fn window(text: &str) -> MaintenanceWindow {
        text.parse().unwrap()
    }

    #[test]
    fn a_window_is_open_on_its_days_in_its_hours() {
        // 2030-01-06 is a Sunday.
        let sunday = window("Sun 02:00-05:00");
        assert!(!sunday.is_open(datetime!(2030-01-06 01:59 UTC)));
        assert!(sunday.is_open(datetime!(2030-01-06 02:00 UTC)));
        assert!(sunday.is_open(datetime!(2030-01-06 04:59:59 UTC)));
        assert!(!sunday.is_open(datetime!(2030-01-06 05:00 UTC)));
        assert!(!sunday.is_open(datetime!(2030-01-07 03:00 UTC)));
        assert!(window("02:00-04:00").is_open(datetime!(2030-01-09 03:00 UTC)));
        assert!(window("Sat,Sun 00:00-24:00").is_open(datetime!(2030-01-06 23:59 UTC)));
        assert!(!window("Sat,Sun 00:00-24:00").is_open(datetime!(2030-01-07 00:00 UTC)));
    }

    #[test]
    fn a_window_over_midnight_belongs_to_the_day_on_which_it_opens() {
        let nights = window("Mon-Fri 22:00-05:00");
        assert!(nights.is_open(datetime!(2030-01-04 23:00 UTC)), "Friday");
        assert!(nights.is_open(datetime!(2030-01-05 04:59 UTC)), "Saturday");
        assert!(!nights.is_open(datetime!(2030-01-05 22:00 UTC)), "Saturday");
        assert!(!nights.is_open(datetime!(2030-01-07 04:00 UTC)), "Monday");
        assert!(window("Fri-Mon 22:00-05:00").is_open(datetime!(2030-01-07 23:00 UTC)));
        assert!(!window("Fri-Mon 22:00-05:00").is_open(datetime!(2030-01-08 23:00 UTC)));
    }

    #[test]
    fn the_zone_is_the_controllers_unless_it_is_utc() {
        let now = datetime!(2030-01-06 03:00 +2);
        assert!(window("Sun 02:00-05:00").is_open(now));
        assert!(window("Sun 02:00-05:00 local").is_open(now));
        assert!(!window("Sun 02:00-05:00 UTC").is_open(now));
        assert_eq!(
            window("Sun 02:00-05:00 UTC").opens_next(now).unwrap(),
            "2030-01-06 02:00 UTC"
        );
        assert_eq!(
            window("Sun 02:00-05:00").opens_next(now).unwrap(),
            "2030-01-13 02:00 in this machine's time zone"
        );
        assert_eq!(
            window("02:00-05:00").opens_next(now).unwrap(),
            "2030-01-07 02:00 in this machine's time zone"
        );
    }

    #[test]
    fn what_is_no_window_is_refused_and_explained() {
        for (text, message) in [
            ("Sunday 02:00-05:00", "`Sunday` is not a day"),
            ("sun 02:00-05:00", "`sun` is not a day"),
            ("Sun-Foo 02:00-05:00", "`Foo` is not a day"),
            ("Sun 2:00-05:00", "`2:00` is not a time"),
            ("Sun 02:00-25:00", "`25:00` is not a time"),
            ("Sun 02:00-24:01", "`24:01` is not a time"),
            ("Sun 02:60-03:00", "`02:60` is not a time"),
            ("Sun +2:00-03:00", "`+2:00` is not a time"),
            ("Sun 02:00", "is not a maintenance window"),
            ("Sun", "is not a maintenance window"),
            ("", "is not a maintenance window"),
            ("Sun  02:00-05:00", "is not a"),
            ("24:00-05:00", "cannot begin at 24:00"),
            ("02:00-02:00", "begins and ends at the same time"),
            ("Sun 02:00-05:00 CET", "`CET` is not a time zone"),
            (
                "02:00-05:00 Europe/Berlin",
                "`Europe/Berlin` is not a time zone",
            ),
            ("Sun 02:00-05:00 UTC x", "is not a"),
        ] {
            let (found, _) = text.parse::<MaintenanceWindow>().unwrap_err();
            assert!(found.contains(message), "{text}: {found}");
        }
    }
}
