//! Where does the simulation's randomness come from? From the seed and from what is drawn for, so that a draw does
//! not depend on how many others came before: the same pod starts as fast with a fault elsewhere as without.

/// The source of all draws of one cluster.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Chance {
    seed: u64,
}

impl Chance {
    pub(crate) const fn new(seed: u64) -> Self {
        Self { seed }
    }

    /// The draws for one purpose (`pull`) and one thing (a uid, a name).
    pub(crate) fn of(self, purpose: &str, thing: &str) -> Draw {
        let mut state = mix(self.seed ^ 0x9e37_79b9_7f4a_7c15);
        for byte in purpose.bytes().chain([0]).chain(thing.bytes()) {
            state = (state ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
        Draw(mix(state))
    }
}

/// A sequence of numbers: SplitMix64 (Steele, Lea, Flood 2014).
#[derive(Clone, Debug)]
pub(crate) struct Draw(u64);

/// The letters that Kubernetes uses for generated names: no vowels, no look-alikes.
const LETTERS: &[u8; 27] = b"bcdfghjklmnpqrstvwxz2456789";

impl Draw {
    pub(crate) fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mix(self.0)
    }

    /// Uniform in [0, 1).
    pub(crate) fn unit(&mut self) -> f64 {
        (self.bits() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// Uniform in [low, high).
    pub(crate) fn between(&mut self, low: i64, high: i64) -> i64 {
        low + (self.unit() * (high - low) as f64) as i64
    }

    /// Log-normal with this median; `spread` is the standard deviation of the logarithm. Box–Muller.
    pub(crate) fn log_normal(&mut self, median: i64, spread: f64) -> i64 {
        let (u, v) = (1.0 - self.unit(), self.unit());
        let normal = (-2.0 * u.ln()).sqrt() * (std::f64::consts::TAU * v).cos();
        (median as f64 * (spread * normal).exp()).round() as i64
    }

    /// A suffix as generated names have it.
    pub(crate) fn letters(&mut self, count: usize) -> String {
        (0..count).map(|_| char::from(LETTERS[(self.bits() % 27) as usize])).collect()
    }

    /// A version 4 UUID.
    pub(crate) fn uuid(&mut self) -> String {
        let (a, b) = (self.bits(), self.bits());
        format!(
            "{:08x}-{:04x}-4{:03x}-{:04x}-{:012x}",
            a >> 32,
            (a >> 16) & 0xffff,
            a & 0xfff,
            0x8000 | ((b >> 48) & 0x3fff),
            b & 0xffff_ffff_ffff
        )
    }
}

/// The finalizer of SplitMix64.
const fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn draws_depend_on_seed_purpose_and_thing_only() {
        let draw = |seed, purpose, thing| Chance::new(seed).of(purpose, thing).bits();
        assert_eq!(draw(1, "pull", "a"), draw(1, "pull", "a"));
        assert_ne!(draw(1, "pull", "a"), draw(2, "pull", "a"));
        assert_ne!(draw(1, "pull", "a"), draw(1, "push", "a"));
        assert_ne!(draw(1, "pull", "a"), draw(1, "pull", "b"));
        assert_ne!(draw(1, "ab", "c"), draw(1, "a", "bc"));
    }

    #[test]
    fn half_of_log_normal_draws_lie_below_the_median() {
        let mut draw = Chance::new(7).of("test", "median");
        let below = (0..2000).filter(|_| draw.log_normal(4000, 0.5) < 4000).count();
        assert!((900..1100).contains(&below), "{below}");
    }

    #[test]
    fn uuids_are_well_formed() {
        let uuid = Chance::new(3).of("uid", "x").uuid();
        assert_eq!(uuid.len(), 36);
        assert_eq!(uuid.as_bytes()[14], b'4');
        assert!(b"89ab".contains(&uuid.as_bytes()[19]), "{uuid}");
    }
}
