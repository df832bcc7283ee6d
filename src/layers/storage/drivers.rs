//! Which class and which driver stand behind a claim or a volume?

use crate::model::kind::Kind;
use crate::model::record::{Claim, Phase, Pod, StorageClass, Volume};
use crate::model::text::Text;
use crate::model::view::View;
use crate::model::world::World;

/// The provisioner of classes whose volumes somebody makes by hand.
pub(super) const NO_PROVISIONER: &str = "kubernetes.io/no-provisioner";

/// The class that claims without one are given: of several defaults the newest, then the first by name
/// (the DefaultStorageClass admission plug-in).
pub(super) fn default_class(world: &World) -> Option<&StorageClass> {
    let defaults = world.storage_classes.iter().filter(|class| class.default);
    defaults.max_by_key(|class| (class.meta.created, std::cmp::Reverse(&class.meta.name)))
}

/// The class that a claim names, if it is there.
pub(super) fn class_of<'a>(world: &'a World, claim: &Claim) -> Option<&'a StorageClass> {
    world.storage_classes.get("", claim.class.as_deref()?)
}

/// The name of a claim's class; empty where it names none.
pub(super) fn class_name(claim: &Claim) -> Text {
    claim.class.clone().unwrap_or_default()
}

/// The volume that a claim is bound to.
pub(super) fn volume_of<'a>(world: &'a World, claim: &Claim) -> Option<&'a Volume> {
    if claim.volume.is_empty() { None } else { world.volumes.get("", &claim.volume) }
}

/// The driver behind a claim: that of its volume, else its provisioner, else its class'; empty where none is known.
pub(super) fn driver_of(world: &World, claim: &Claim) -> Text {
    if let Some(volume) = volume_of(world, claim) {
        volume.driver.clone()
    } else if !claim.provisioner.is_empty() {
        claim.provisioner.clone()
    } else {
        class_of(world, claim).map_or_else(Text::default, |class| class.provisioner.clone())
    }
}

/// Whether a provisioner is a CSI driver that is not installed, as far as can be seen.
///
/// Provisioners need not be CSI drivers, and those that are none have neither a CSIDriver nor nodes: the volumes that
/// came of it tell, or its name where there is none.
pub(super) fn is_absent(view: &View<'_>, provisioner: &str) -> bool {
    let world = view.world;
    if !view.sees(Kind::CsiDriver)
        || !view.sees(Kind::CsiNode)
        || world.csi_drivers.get("", provisioner).is_some()
        || world.csi_nodes.iter().any(|n| n.drivers.iter().any(|d| d.name == provisioner))
    {
        return false;
    }
    let class = |volume: &Volume| world.storage_classes.get("", &volume.class);
    let made = |volume: &&Volume| class(volume).is_some_and(|c| c.provisioner == provisioner);
    let mut volumes = world.volumes.iter().filter(made).peekable();
    match volumes.peek() {
        Some(_) => volumes.all(|volume| volume.driver == provisioner),
        None => provisioner.contains("csi"),
    }
}

/// Whether a pod is not at its end: it uses its claims or is about to.
pub(super) fn is_live(pod: &Pod) -> bool {
    !matches!(pod.phase, Phase::Succeeded | Phase::Failed)
}

/// The pods that use a claim or are about to, in the order of their names.
pub(super) fn users<'a>(view: &View<'a>, claim: &Claim) -> impl Iterator<Item = &'a Pod> {
    view.pods_using(&claim.meta.namespace, &claim.meta.name).filter(|pod| is_live(pod))
}

/// `pod a`, `pod a and 2 more`; empty for none.
pub(super) fn name_some<'a>(what: &str, mut names: impl Iterator<Item = &'a Text>) -> String {
    let Some(first) = names.next() else { return String::new() };
    match names.count() {
        0 => format!("{what} {first}"),
        more => format!("{what} {first} and {more} more"),
    }
}

/// `1 claim`, `2 claims`.
pub(super) fn count_of(n: usize, what: &str) -> String {
    format!("{n} {what}{}", if n == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::super::fixtures::{class, csi_driver, csi_node, meta, objects, volume, world};
    use super::*;
    use crate::model::record::Object;

    #[test]
    fn of_several_default_classes_the_newest_then_the_first_by_name_counts() {
        let default = |name: &str, age| StorageClass {
            meta: meta("", name, age),
            default: true,
            ..class(name, "p")
        };
        let objects = [default("old", 900), default("b", 60), default("a", 60), class("c", "p")];
        let world = world(&[], objects.map(|c| Object::StorageClass(Box::new(c))));
        assert_eq!(default_class(&world).unwrap().meta.name, "a");
    }

    #[test]
    fn a_driver_is_absent_where_nobody_knows_it_and_it_is_one() {
        let (csi, other) = ("disk.csi.example", "example.com/disk");
        let made = |driver: &str| Volume { driver: driver.into(), ..volume("data") };
        let cases = [
            ("by its name", csi, objects![class("fast", csi)], true),
            ("no CSI driver by its name", other, objects![class("fast", other)], false),
            ("by its volumes", other, objects![class("fast", other), made(other)], true),
            ("no CSI driver by its volumes", csi, objects![class("fast", csi), made("nfs")], false),
            ("declared", csi, objects![class("fast", csi), csi_driver(csi)], false),
            ("on a node", csi, objects![class("fast", csi), csi_node("n", &[(csi, None)])], false),
        ];
        for (name, provisioner, objects, expected) in cases {
            let world = world(&[], objects);
            let view = View::new(&world, super::super::fixtures::ago(0));
            assert_eq!(is_absent(&view, provisioner), expected, "{name}");
        }
    }

    #[test]
    fn names_are_listed_short() {
        let names = ["a", "b", "c"].map(Text::from);
        assert_eq!(name_some("pod", names[..1].iter()), "pod a");
        assert_eq!(name_some("pod", names.iter()), "pod a and 2 more");
        assert_eq!(name_some("pod", [].iter()), "");
        assert_eq!(
            (count_of(1, "claim"), count_of(2, "claim")),
            ("1 claim".into(), "2 claims".into())
        );
    }
}
