//! When does a schedule come? CronJobs and the sync windows of Argo CD are written in the same format.

use cronexpr::{Crontab, ParseOptions};
use jiff::SignedDuration;
use jiff::tz::TimeZone;

use crate::model::record::Time;

/// A schedule: by the calendar, or again and again after so long.
#[derive(Debug)]
pub(super) enum Schedule {
    Calendar(Box<Crontab>),
    Every(SignedDuration),
}

impl Schedule {
    /// Reads a schedule as Kubernetes does (robfig/cron, standard format): five fields, or a macro such as `@daily`.
    pub(super) fn read(schedule: &str, time_zone: &str) -> Result<Self, String> {
        let schedule = schedule.trim();
        // An old way to give the zone, which Kubernetes refuses by now but old objects may have.
        let (zone, schedule) =
            match schedule.strip_prefix("TZ=").or(schedule.strip_prefix("CRON_TZ=")) {
                Some(rest) => rest.split_once(' ').unwrap_or((rest, "")),
                None => (time_zone, schedule),
            };
        let zone = match zone {
            "" => TimeZone::UTC,
            name => TimeZone::get(name).map_err(|_| format!("there is no time zone {name:?}"))?,
        };
        if let Some(interval) = schedule.trim().strip_prefix("@every ") {
            let interval: SignedDuration =
                interval.trim().parse().map_err(|_| format!("{interval:?} is no duration"))?;
            // Whole seconds, one at least, and ten years at most.
            let seconds = interval.as_secs().clamp(1, 10 * 365 * 86_400);
            return Ok(Self::Every(SignedDuration::from_secs(seconds)));
        }
        let fields = match schedule.trim() {
            "@yearly" | "@annually" => "0 0 1 1 *",
            "@monthly" => "0 0 1 * *",
            "@weekly" => "0 0 * * 0",
            "@daily" | "@midnight" => "0 0 * * *",
            "@hourly" => "0 * * * *",
            other => other,
        };
        // In Kubernetes `?` stands for `*`.
        let fields = fields.replace('?', "*");
        let mut options = ParseOptions::default();
        options.fallback_timezone_option = cronexpr::FallbackTimezoneOption::UTC;
        let name = zone.iana_name().unwrap_or("UTC").to_owned();
        let crontab = cronexpr::parse_crontab_with(&format!("{fields} {name}"), options);
        crontab
            .map(|crontab| Self::Calendar(Box::new(crontab)))
            .map_err(|error| error.to_string().lines().next().unwrap_or_default().to_owned())
    }

    /// The first run after `then`.
    pub(super) fn after(&self, then: Time) -> Option<Time> {
        match self {
            Self::Calendar(crontab) => crontab.find_next(then).ok().map(|next| next.timestamp()),
            Self::Every(interval) => then.checked_add(*interval).ok(),
        }
    }

    /// Until when a success is to be expected after one at `then`: two runs and half the way to the third, five
    /// minutes at least.
    pub(super) fn patience(&self, then: Time) -> Option<Time> {
        let second = self.after(self.after(then)?)?;
        let third = self.after(second)?;
        let until = second + third.duration_since(second) / 2;
        Some(until.max(then + SignedDuration::from_mins(5)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn schedules_are_read_as_kubernetes_reads_them() {
        let then: Time = "2026-03-02T03:10:00Z".parse().unwrap();
        let cases = [
            ("@daily", "", "2026-03-03T00:00:00Z"),
            ("@hourly", "", "2026-03-02T04:00:00Z"),
            ("@weekly", "", "2026-03-08T00:00:00Z"),
            ("0 4 ? * *", "", "2026-03-02T04:00:00Z"),
            ("*/15 * * * *", "", "2026-03-02T03:15:00Z"),
            ("0 0 * * SUN", "", "2026-03-08T00:00:00Z"),
            ("0 6 * * *", "Europe/Berlin", "2026-03-02T05:00:00Z"),
            ("TZ=Europe/Berlin 0 6 * * *", "", "2026-03-02T05:00:00Z"),
            ("@every 1h30m", "", "2026-03-02T04:40:00Z"),
            ("20/15 * * * *", "", "2026-03-02T03:20:00Z"),
            ("0 4 1 * MON", "", "2026-03-02T04:00:00Z"),
        ];
        for (schedule, zone, expected) in cases {
            let next = Schedule::read(schedule, zone).unwrap().after(then).unwrap();
            assert_eq!(next.to_string(), expected, "{schedule} {zone}");
        }
        for schedule in ["", "@reboot", "1 2 3", "99 * * * *", "@every day"] {
            assert!(Schedule::read(schedule, "").is_err(), "{schedule}");
        }
    }
}
