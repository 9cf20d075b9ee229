//! Describes the holder of the CA's lock, from the name of the other run.

use time::OffsetDateTime;

use node::visible;

/// Account, controller, start, duration and CA node. `holder` is the name of a run as
/// [`super::run_id`] makes it; anything else is reported unchanged.
pub(super) fn said(
    holder: &str,
    since: Option<OffsetDateTime>,
    ca: &str,
    now: OffsetDateTime,
) -> String {
    if holder.is_empty() {
        return format!("it has not said which; the lock is on {ca}");
    }
    let who = parts(holder).map_or_else(
        || format!("the run {}", visible(holder)),
        |(user, host, pid)| {
            format!(
                "{} on {}, process {pid} (run {})",
                visible(user),
                visible(host),
                visible(holder)
            )
        },
    );
    let since = since.map_or_else(String::new, |since| {
        let format =
            time::macros::format_description!("[year]-[month]-[day] [hour]:[minute]:[second]");
        let at = since.format(&format).unwrap_or_default();
        // The CA node's clock may be ahead of this one's.
        let seconds = (now - since).whole_seconds().max(0).unsigned_abs();
        let age = humantime::format_duration(std::time::Duration::from_secs(seconds));
        format!(", since {at} UTC, for {age}")
    });
    format!("{who}{since}; the lock is on {ca}")
}

/// Account, controller and process of a run's name.
fn parts(run: &str) -> Option<(&str, &str, u32)> {
    let (when, rest) = run.split_once('-')?;
    if when.len() != "20260101T000000Z".len() {
        return None;
    }
    let (rest, pid) = rest.rsplit_once('-')?;
    // The account's name holds no @: run_id has replaced it.
    let (user, host) = rest.split_once('@')?;
    Some((user, host, pid.parse().ok()?))
}

/// The name of a run: time, account, controller. Other runs read it from the lock.
#[must_use]
pub fn run_id(now: OffsetDateTime) -> String {
    let format = time::macros::format_description!("[year][month][day]T[hour][minute][second]Z");
    let when = now.format(&format).unwrap_or_default();
    let host = rustix::system::uname()
        .nodename()
        .to_string_lossy()
        .into_owned();
    let user = std::env::var("USER")
        .or_else(|_| std::env::var("LOGNAME"))
        .unwrap_or_else(|_| format!("uid{}", rustix::process::getuid().as_raw()));
    let clean = |text: &str| -> String {
        text.chars()
            .map(|character| {
                if character.is_ascii_alphanumeric() || "-_.".contains(character) {
                    character
                } else {
                    '_'
                }
            })
            .collect()
    };
    format!(
        "{when}-{}@{}-{}",
        clean(&user),
        clean(&host),
        rustix::process::getpid().as_raw_nonzero()
    )
}

#[cfg(test)]
mod tests {
    use time::macros::datetime;

    use super::*;

    #[test]
    fn people_hear_who_where_since_when_and_on_which_node() {
        let now = datetime!(2026-11-22 14:06:10 UTC);
        let since = Some(datetime!(2026-11-22 14:03:05 UTC));
        assert_eq!(
            said("20261122T140301Z-jo-ann@build-7-31", since, "vault", now),
            "jo-ann on build-7, process 31 (run 20261122T140301Z-jo-ann@build-7-31), since 2026-11-22 14:03:05 UTC, for 3m 5s; the lock is on vault"
        );
        assert_eq!(
            said("", None, "vault", now),
            "it has not said which; the lock is on vault"
        );
        let ahead = Some(datetime!(2026-11-22 14:09 UTC));
        assert!(said("x", ahead, "vault", now).contains("for 0s"));
    }

    #[test]
    fn every_name_of_a_run_has_its_parts() {
        let run = crate::run_id(datetime!(2026-11-22 14:03:05 UTC));
        let (_, _, pid) = parts(&run).unwrap();
        assert_eq!(pid, std::process::id());
    }
}
