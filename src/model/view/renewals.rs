//! For how long has the holder of a lease been silent? Its clock may differ from ours, so that what it writes is only
//! half of the answer: the other half is when its renewals were read.

use crate::model::kind::Kind;
use crate::model::record::{Resource, Time};

use super::View;

impl View<'_> {
    /// Seconds since the time that the holder of a lease gives for its last renewal, as of the moment at which leases
    /// were last read: between two readings all of them age, and that is our doing.
    #[must_use]
    pub fn lease_age(&self, lease: &Resource) -> Option<i64> {
        let renewed = lease.body.time("spec.renewTime")?;
        Some((self.leases_read().as_second() - renewed.as_second()).max(0))
    }

    /// Seconds since the last renewal of a lease came: as its holder says, but no less than we saw none, and no more than
    /// `within` longer. Of a lease that was never seen to be renewed there is only its holder's word.
    #[must_use]
    pub fn lease_silence(&self, lease: &Resource, within: i64) -> Option<i64> {
        let age = self.lease_age(lease)?;
        let Some(came) = lease.renewed else { return Some(age) };
        let unseen = (self.leases_read().as_second() - came.as_second()).max(0);
        Some(age.clamp(unseen, unseen + within))
    }

    fn leases_read(&self) -> Time {
        self.world.source_ref(Kind::Lease).and_then(|s| s.last_sync).unwrap_or(self.now())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::record::{Meta, Object};
    use crate::model::value::Value;
    use crate::model::world::{Delta, World};

    fn ago(seconds: i64) -> Time {
        Time::from_second(1_700_000_000 - seconds).unwrap()
    }

    fn lease(age: i64) -> Resource {
        let spec = serde_json::json!({"spec": {"renewTime": ago(age).to_string()}});
        let meta = Meta { name: "a".into(), ..Meta::default() };
        let (conditions, body) = (Box::default(), Value::from(&spec));
        Resource { kind: Kind::Lease, meta, conditions, body, renewed: None }
    }

    /// What is known of a lease that was read at these times, each time with such an age.
    fn silence(readings: &[(i64, i64)]) -> (Option<i64>, Option<i64>) {
        let mut world = World::default();
        for (at, age) in readings {
            world.apply(Delta::Upsert(Object::Resource(Box::new(lease(*age)))), ago(*at));
            world.apply(Delta::Synced(Kind::Lease), ago(*at));
        }
        let view = View::new(&world, ago(0));
        let lease = view.resource(Kind::Lease, "", "a").unwrap();
        (view.lease_age(lease), view.lease_silence(lease, 10))
    }

    #[test]
    fn what_is_seen_goes_before_what_the_holder_says() {
        assert_eq!(silence(&[(0, 90)]), (Some(90), Some(90)), "nothing was seen");
        assert_eq!(silence(&[(30, 90), (0, 90)]), (Some(90), Some(90)), "nothing came");
        assert_eq!(silence(&[(30, 125), (0, 90)]), (Some(90), Some(10)), "it is renewed");
        assert_eq!(silence(&[(60, 125), (30, 90), (0, 90)]), (Some(90), Some(40)));
        assert_eq!(silence(&[(60, 90), (30, 36), (0, 36)]), (Some(36), Some(36)));
        assert_eq!(silence(&[(60, 30), (30, -9), (0, -9)]), (Some(0), Some(30)), "it is ahead");
    }
}
