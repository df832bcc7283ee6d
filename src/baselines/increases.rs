//! What has a count grown by, and when? The last hour by two minutes, six hours by ten, and of what was before only sums.
//!
//! Of the time before six hours ago four sums are kept: events, seconds, and the squares of what came in ten minutes and
//! in an hour, from which the rate and its dispersion follow. From when they are as long as the window they fade, so that
//! they never get longer: what came a window earlier weighs 1/e (the discount of a power steady model; Smith, JRSS B 41,
//! 1979), and an old burst never leaves all at once. A series takes 200 bytes, busy or not.

use serde::{Deserialize, Serialize};

/// The last hour's increases are kept by two minutes, those of the hours before by ten.
pub(super) const SLOT: i64 = 120;
pub(super) const WIDE: i64 = 600;

pub(super) const HOUR: i64 = 3600;
/// How long increases are kept apart.
pub(super) const KEPT: i64 = 6 * HOUR;

/// As many slots as begin within an hour, and no fewer than there are wide ones in the hours before.
const SLOTS: usize = 31;

/// As many ten minutes as begin within [`KEPT`], and the one that goes on.
const TENS: usize = 38;

/// Increases by time.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Increases {
    /// Until when they are known.
    at: i64,
    /// Since when they have been kept apart.
    from: i64,
    recent: [Few; SLOTS],
    late: [Few; SLOTS],
    /// The sum of both.
    kept: u32,
    past: Past,
}

/// What came before.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Past {
    /// How many seconds it is long, what came in them, and the squares of what came in ten minutes and in an hour.
    seconds: f32,
    events: f32,
    tens: f32,
    hours: f32,
    /// What the hour has brought that is not over.
    hour: f32,
}

/// What was before some time.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Before {
    pub(super) events: f64,
    /// Seconds in which they came.
    pub(super) exposure: f64,
    tens: f64,
    hours: f64,
}

impl Before {
    /// How many came in an hour.
    pub(super) fn an_hour(&self) -> f64 {
        if self.exposure > 0.0 { self.events / self.exposure * HOUR as f64 } else { 0.0 }
    }

    /// Mean and variance of what came in ten minutes, or in an hour; `None` of fewer than `least` of them.
    pub(super) fn moments(&self, length: i64, least: f64) -> Option<(f64, f64)> {
        let squares = if length == HOUR { self.hours } else { self.tens };
        let blocks = self.exposure / length as f64;
        let mean = self.events / blocks;
        (blocks >= least).then(|| (mean, (squares - self.events * mean) / (blocks - 1.0)))
    }
}

impl Increases {
    /// None since then.
    pub(super) fn none_since(since: i64) -> Self {
        let none = [Few::default(); SLOTS];
        Self { at: since, from: since, recent: none, late: none, kept: 0, past: Past::default() }
    }

    /// Whether none has come for as long as they are kept apart.
    pub(super) fn is_silent(&self) -> bool {
        self.kept == 0
    }

    /// Whether none is remembered that still matters.
    pub(super) fn is_empty(&self) -> bool {
        const MATTERS: f32 = 0.02;
        self.is_silent() && self.past.events < MATTERS
    }

    /// How many seconds are known until `now`.
    pub(super) fn known(&self, now: i64) -> i64 {
        self.past.seconds as i64 + (now - self.front()).max(0)
    }

    /// Moves time on, in which nothing came. What is older than six hours becomes the past, as far as it lies before
    /// `learned`; the past is forgotten at the pace of `window`. Tells `cluster` of what came after an hour of silence,
    /// once it is an hour old: how much in that slot and the next. Tells `ended` of each ten minutes that have become the
    /// past, silent ones too unless all are: their begin, what they brought, and what was before them.
    pub(super) fn age(
        &mut self,
        now: i64,
        learned: Option<i64>,
        window: i64,
        mut cluster: impl FnMut(u64),
        mut ended: impl FnMut(i64, u32, &Before),
    ) {
        while self.at < now {
            let before = self.front();
            if self.is_silent() {
                self.at = now;
                if learned.is_none() {
                    self.past.pass(before, self.front(), window);
                }
                return;
            }
            let (first, oldest) = (self.first(), front(self.at));
            self.at = now.min(self.at + WIDE);
            for slot in steps(first, self.first(), SLOT) {
                let n = std::mem::take(&mut self.recent[index(slot, SLOT)]).get();
                if n > 0 {
                    let silent = self.last_late().is_none_or(|last| slot - last > HOUR + WIDE);
                    if silent && learned.is_none() {
                        let next = slot + SLOT;
                        cluster((n + self.recent[index(next, SLOT)].get()).into());
                    }
                    self.kept = self.kept - n + self.late[index(slot, WIDE)].add(n.into());
                }
            }
            for begin in steps(oldest, front(self.at), WIDE) {
                let n = std::mem::take(&mut self.late[index(begin, WIDE)]).get();
                self.kept -= n;
                let end = begin + WIDE;
                if end > self.from && learned.is_none_or(|learned| end <= learned) {
                    ended(begin, n, &self.past.before());
                    self.past.take(n.into(), begin.max(self.from), end, window);
                }
            }
        }
    }

    /// Takes in what came now.
    pub(super) fn add(&mut self, added: u64) {
        self.kept += self.recent[index(self.at, SLOT)].add(added);
    }

    /// Since when increases are known.
    pub(super) fn begin(&self) -> i64 {
        self.at - self.known(self.at)
    }

    /// What came since then, within the last hour.
    pub(super) fn since(&self, begin: i64) -> u32 {
        self.recents_from(begin).map(|(_, n)| n).sum()
    }

    /// How many came within six hours.
    pub(super) fn kept(&self) -> u32 {
        self.kept
    }

    /// When something last came within the last hour.
    pub(super) fn last(&self) -> Option<i64> {
        self.recents().rev().find(|(_, n)| *n > 0).map(|(slot, _)| slot)
    }

    /// What has come since it last was silent for an hour, and in how many ten minutes: what is over counts no more when
    /// something else begins.
    pub(super) fn run(&self) -> (u32, u32) {
        let (mut sum, mut times, mut last, mut counted) = (0, 0, None, None);
        for (slot, n) in self.lates().chain(self.recents()).rev().filter(|(_, n)| *n > 0) {
            if last.is_some_and(|last| last - slot > HOUR) {
                break;
            }
            if counted.is_none_or(|counted| counted - slot >= WIDE) {
                (times, counted) = (times + 1, Some(slot));
            }
            (sum, last) = (sum + n, Some(slot));
        }
        (sum, times)
    }

    /// How many came before `end`, to the last whole slot, and in how many seconds.
    pub(super) fn rate(&self, end: i64) -> (f64, f64) {
        let until = self.until(end);
        let kept = match until {
            _ if until >= self.first() => self.kept - self.since(until),
            _ if until <= self.front() => 0,
            _ => self.tens(until).iter().sum::<f64>() as u32,
        };
        let seconds = (until - self.front()).max(0) as f64;
        (f64::from(self.past.events) + f64::from(kept), f64::from(self.past.seconds) + seconds)
    }

    /// The same, and what its variance follows from.
    pub(super) fn before(&self, end: i64) -> Before {
        let until = self.until(end);
        let mut past = self.past.widened();
        let front = floor(self.front(), WIDE);
        for (nth, n) in (0..).zip(self.tens(until)) {
            let begin = front + nth * WIDE;
            if begin >= until {
                break;
            }
            past.put(n);
            past.go(begin, begin + WIDE);
        }
        let seconds = (until - self.front()).max(0);
        past.seconds += seconds as f64;
        past.before()
    }

    /// Makes what was before `end` the past, forgets what came after, and begins to keep increases apart anew.
    pub(super) fn leave_out(&mut self, end: i64, window: i64) {
        let until = self.until(end);
        let front = floor(self.front(), WIDE);
        for (nth, n) in (0..).zip(self.tens(until)) {
            let begin = (front + nth * WIDE).max(self.front());
            let end = until.min(front + (nth + 1) * WIDE);
            if begin < end {
                self.past.take(n, begin, end, window);
            }
        }
        let none = [Few::default(); SLOTS];
        (self.from, self.recent, self.late, self.kept) = (self.at, none, none, 0);
    }

    /// The end of the last whole slot before `end`.
    fn until(&self, end: i64) -> i64 {
        let first = self.first();
        match end {
            _ if end >= first => floor(end, SLOT),
            _ if end > first - SLOT => first,
            _ => floor(end, WIDE),
        }
    }

    /// What came in each ten minutes from [`Self::front`] on, as far as it lies before the end of a slot.
    fn tens(&self, until: i64) -> [f64; TENS] {
        let first = self.first();
        let front = floor(self.front(), WIDE);
        let mut tens = [0.0; TENS];
        let late = self.lates().filter(|(begin, _)| until >= first || begin + WIDE <= until);
        for (begin, n) in late.chain(self.recents().filter(|(slot, _)| slot + SLOT <= until)) {
            if let Some(ten) =
                usize::try_from((begin - front) / WIDE).ok().and_then(|i| tens.get_mut(i))
            {
                *ten += f64::from(n);
            }
        }
        tens
    }

    /// The begin of what is kept apart.
    fn front(&self) -> i64 {
        front(self.at).max(self.from)
    }

    /// The begin of the last hour's first slot.
    fn first(&self) -> i64 {
        ceil(self.at - HOUR, SLOT)
    }

    fn recents(&self) -> impl DoubleEndedIterator<Item = (i64, u32)> {
        self.recents_from(self.first())
    }

    fn recents_from(&self, begin: i64) -> impl DoubleEndedIterator<Item = (i64, u32)> {
        let first = ceil(begin, SLOT).max(self.first());
        let slots = (self.at - first).div_euclid(SLOT);
        (0..=slots).map(move |nth| {
            let slot = first + nth * SLOT;
            (slot, self.recent[index(slot, SLOT)].get())
        })
    }

    fn lates(&self) -> impl DoubleEndedIterator<Item = (i64, u32)> {
        let (front, first) = (front(self.at), self.first());
        let slots = (first - 1 - front) / WIDE;
        (0..=slots).map(move |nth| {
            let begin = front + nth * WIDE;
            (begin, self.late[index(begin, WIDE)].get())
        })
    }

    fn last_late(&self) -> Option<i64> {
        self.lates().rev().find(|(_, n)| *n > 0).map(|(begin, _)| begin)
    }
}

impl Past {
    /// Takes in what came in ten minutes, or in a part of them.
    fn take(&mut self, n: f64, begin: i64, end: i64, window: i64) {
        let mut sums = self.widened();
        sums.put(n);
        self.set(&sums);
        self.pass(begin, end, window);
    }

    /// Time goes by, and all that was fades.
    fn pass(&mut self, begin: i64, end: i64, window: i64) {
        let (mut sums, window) = (self.widened(), window as f64);
        sums.go(begin, end);
        sums.seconds += (end - begin) as f64;
        let kept = ((window - sums.seconds) / window).min(0.0).exp();
        for sum in [&mut sums.events, &mut sums.tens, &mut sums.hours] {
            *sum *= kept;
        }
        sums.hour *= kept.sqrt();
        sums.seconds = sums.seconds.min(window);
        self.set(&sums);
    }

    fn set(&mut self, sums: &Sums) {
        let all = [sums.events, sums.seconds, sums.tens, sums.hours, sums.hour];
        [self.events, self.seconds, self.tens, self.hours, self.hour] = all.map(|sum| sum as f32);
    }

    fn before(&self) -> Before {
        self.widened().before()
    }

    fn widened(&self) -> Sums {
        let [events, seconds, tens, hours, hour] =
            [self.events, self.seconds, self.tens, self.hours, self.hour].map(f64::from);
        Sums { events, seconds, tens, hours, hour }
    }
}

/// The sums of a [`Past`], as they are added to.
struct Sums {
    events: f64,
    seconds: f64,
    tens: f64,
    hours: f64,
    hour: f64,
}

impl Sums {
    fn put(&mut self, n: f64) {
        self.hour += n;
        self.events += n;
        self.tens += n * n;
    }

    fn before(&self) -> Before {
        Before {
            events: self.events,
            exposure: self.seconds,
            tens: self.tens,
            hours: self.hours + self.hour * self.hour,
        }
    }

    /// Time goes by, in which an hour may end.
    fn go(&mut self, begin: i64, end: i64) {
        if floor(begin, HOUR) < floor(end, HOUR) {
            self.hours += self.hour * self.hour;
            self.hour = 0.0;
        }
    }
}

/// A number of events in two bytes: exact below 4,096, and to one part in 4,096 up to 67 million, of which as many as are
/// kept fit in 32 bits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Few(u16);

impl Few {
    const DIGITS: u32 = 12;

    const LARGEST: u16 = (15 << Self::DIGITS) - 1;

    fn get(self) -> u32 {
        let exponent = self.0 >> Self::DIGITS;
        u32::from(self.0 & ((1 << Self::DIGITS) - 1)) << exponent
    }

    /// Adds so many, and says by how much it has grown.
    fn add(&mut self, more: u64) -> u32 {
        let before = self.get();
        let n = u64::from(before).saturating_add(more);
        let mut exponent = (u64::BITS - n.leading_zeros()).saturating_sub(Self::DIGITS);
        let rounded = |exponent: u32| n.saturating_add((1 << exponent) >> 1) >> exponent;
        if rounded(exponent) >> Self::DIGITS > 0 {
            exponent += 1;
        }
        *self = match exponent {
            0..15 => Self((exponent << Self::DIGITS) as u16 | rounded(exponent) as u16),
            _ => Self(Self::LARGEST),
        };
        self.get() - before
    }
}

fn front(at: i64) -> i64 {
    ceil(at - KEPT, WIDE)
}

fn floor(time: i64, width: i64) -> i64 {
    time - time.rem_euclid(width)
}

fn ceil(time: i64, width: i64) -> i64 {
    floor(time + width - 1, width)
}

fn index(slot: i64, width: i64) -> usize {
    slot.div_euclid(width).rem_euclid(SLOTS as i64) as usize
}

fn steps(begin: i64, end: i64, width: i64) -> impl Iterator<Item = i64> {
    (0..(end - begin) / width).map(move |nth| begin + nth * width)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const DAY: i64 = 86_400;

    fn age(increases: &mut Increases, now: i64) {
        increases.age(now, None, DAY, |_| {}, |_, _, _| {});
    }

    /// What has come by `until`, with `each` at these times since 0.
    fn lived(until: i64, times: &[(i64, u64)]) -> Increases {
        let mut increases = Increases::none_since(0);
        for (time, n) in times {
            age(&mut increases, *time);
            increases.add(*n);
        }
        age(&mut increases, until);
        increases
    }

    #[test]
    fn a_count_takes_two_hundred_bytes() {
        assert!(size_of::<Increases>() <= 168, "{}", size_of::<Increases>());
    }

    #[test]
    fn few_are_exact_and_many_nearly_so() {
        for n in [0, 1, 4095, 4096, 8191, 8192, 65_535, 65_536, 100_000_000, u64::MAX] {
            let mut few = Few::default();
            few.add(n);
            let kept = u64::from(few.get());
            let largest = 4095 << 14;
            assert!(n.min(largest).abs_diff(kept) * 4096 <= n, "{n}: {kept}");
        }
    }

    #[test]
    fn an_hour_is_kept_by_two_minutes_and_six_by_ten() {
        let increases = lived(7 * HOUR, &[(HOUR, 5), (2 * HOUR, 7), (6 * HOUR + 1800, 1)]);
        assert_eq!(increases.since(6 * HOUR), 1);
        assert_eq!(increases.last(), Some(6 * HOUR + 1800));
        assert_eq!(increases.run(), (1, 1));
        let before = increases.before(6 * HOUR);
        assert_eq!((before.events, before.exposure), (12.0, 6.0 * 3600.0));
        assert!(!increases.is_silent());
        let later = lived(13 * HOUR, &[(HOUR, 5), (2 * HOUR, 7), (6 * HOUR + 1800, 1)]);
        assert!(later.is_silent() && !later.is_empty());
        assert_eq!(later.before(12 * HOUR).exposure, 12.0 * 3600.0);
    }

    #[test]
    fn the_past_fades_and_its_rate_stays() {
        let every_hour: Vec<_> = (1..20 * 24).map(|hour| (hour * HOUR, 2)).collect();
        let before = lived(20 * DAY, &every_hour).before(20 * DAY - HOUR);
        let rate = before.events / before.exposure * HOUR as f64;
        assert!((rate - 2.0).abs() < 0.1, "{before:?}");
        assert!(before.exposure <= (DAY + KEPT) as f64, "{before:?}");
        let (mean, variance) = before.moments(HOUR, 12.0).unwrap();
        assert!((mean - 2.0).abs() < 0.1 && variance < 0.2, "{mean} {variance}");
        let (_, tens) = before.moments(WIDE, 12.0).unwrap();
        assert!((tens - 0.56).abs() < 0.1, "two of six: {tens}");
    }

    #[test]
    fn what_came_after_an_hour_of_silence_is_a_cluster() {
        let mut sizes = Vec::new();
        let mut increases = Increases::none_since(0);
        for (time, n) in [(HOUR, 2), (HOUR + 119, 1), (2 * HOUR, 4), (9 * HOUR, 3)] {
            increases.age(time, None, DAY, |n| sizes.push(n), |_, _, _| {});
            increases.add(n);
        }
        increases.age(11 * HOUR, None, DAY, |n| sizes.push(n), |_, _, _| {});
        assert_eq!(sizes, [3, 3], "what came in the second hour did not come out of silence");
    }

    #[test]
    fn what_is_left_out_is_neither_counted_nor_time() {
        let mut increases = lived(10 * HOUR, &[(HOUR, 5), (9 * HOUR, 3), (10 * HOUR - 60, 90)]);
        increases.leave_out(10 * HOUR - 600, DAY);
        let before = increases.before(10 * HOUR);
        assert!(before.events == 8.0, "{before:?}");
        assert_eq!(before.exposure, 10.0 * 3600.0 - 600.0);
        assert!(increases.is_silent() && increases.last().is_none());
    }

    proptest! {
        #[test]
        fn it_makes_no_difference_how_often_time_moves_on(
            gaps in prop::collection::vec((1..20_000_i64, 0..5_u64), 1..40), pause in 1..50_000_i64,
        ) {
            let (mut rare, mut often) = (Increases::none_since(0), Increases::none_since(0));
            let mut now = 0;
            for (gap, n) in gaps.into_iter().chain([(pause, 0)]) {
                for step in (now..now + gap).step_by(15) {
                    age(&mut often, step);
                }
                now += gap;
                for increases in [&mut rare, &mut often] {
                    age(increases, now);
                    if n > 0 {
                        increases.add(n);
                    }
                }
            }
            for end in [now - 600, now - HOUR, now - 2 * HOUR, now - KEPT] {
                let before = often.before(end);
                prop_assert_eq!(often.rate(end), (before.events, before.exposure));
            }
            let (rare, often) = (rare.before(now - 600), often.before(now - 600));
            for (a, b) in [
                (rare.events, often.events),
                (rare.exposure, often.exposure),
                (rare.tens, often.tens),
                (rare.hours, often.hours),
            ] {
                prop_assert!((a - b).abs() < 1e-3 * (1.0 + a), "{} {}", a, b);
            }
        }
    }
}
