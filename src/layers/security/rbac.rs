//! Who may do what gives everything away, and which bindings are not what they seem?

use std::collections::{BTreeMap, BTreeSet};

use crate::labels;
use crate::model::finding::{Severity, Verdict, Verdicts};
use crate::model::kind::Kind;
use crate::model::layer::Layer;
use crate::model::reading::Readings;
use crate::model::record::Resource;
use crate::model::signal::{Direction, Observation, Profile, Read, Signal, Unit};
use crate::model::subject::Subject;
use crate::model::tally::Tallies;
use crate::model::value::Value;
use crate::model::view::View;

pub(super) static POWERFUL: Signal = Signal {
    block: "S5.9",
    name: "security_rbac_powerful_subjects",
    layer: Layer::Security,
    help: "Users, groups and service accounts to which a role gives everything, secrets, exec, nodes/proxy (which runs \
           code by a GET) or more roles, by risk and scope; Kubernetes' own bindings are left out. Healthy is steady.",
    unit: Unit::Count,
    labels: &["risk", "scope"],
    reasons: &[],
    bound: "6 risks × 2 scopes",
    needs: &[Kind::ClusterRole, Kind::ClusterRoleBinding],
    uses: &[Kind::Role, Kind::RoleBinding],
    profile: Profile::Level { bad: Direction::High, floor: 1.0 },
    read: Read::Gauge(powerful),
};

pub(super) static BINDINGS: Signal = Signal {
    block: "S5.9",
    name: "security_rbac_binding_risk",
    layer: Layer::Security,
    help: "Bindings of roles that are not there, of anonymous clients to any resource, of everybody to what writes or \
           gives power away, and of a namespace's default service account to all power. Kubernetes' own bindings and \
           the cluster-info of kubeadm are fine. Healthy is none.",
    unit: Unit::Count,
    labels: &["namespace", "binding", "reason"],
    reasons: &["role_missing", "anonymous", "everybody", "default_account"],
    bound: "bindings × 4 reasons",
    needs: &[Kind::ClusterRole],
    uses: &[Kind::ClusterRoleBinding, Kind::Role, Kind::RoleBinding],
    profile: Profile::None,
    read: Read::Rule(risky),
};

pub(super) static CHANGES: Signal = Signal {
    block: "S5.9",
    name: "security_rbac_changes_total",
    layer: Layer::Security,
    help: "Roles and bindings that were made, and those whose rules or subjects changed. Context: operators bring many.",
    unit: Unit::Count,
    labels: &["kind", "change"],
    reasons: &[],
    bound: "4 kinds × 2 changes",
    needs: &[],
    uses: &[Kind::Role, Kind::ClusterRole, Kind::RoleBinding, Kind::ClusterRoleBinding],
    profile: Profile::Rate,
    read: Read::Counter,
};

const BINDING_KINDS: [Kind; 2] = [Kind::ClusterRoleBinding, Kind::RoleBinding];

/// Whether Kubernetes itself brought it (`kubernetes.io/bootstrapping=rbac-defaults`).
fn is_default(object: &Resource) -> bool {
    object.meta.labels.value("kubernetes.io/bootstrapping") == "rbac-defaults"
}

/// The slot in which is kept that an object has been counted as made.
pub(super) const MADE: &str = "made";

/// Counts roles and bindings that come or change.
pub(super) fn observe(o: &Observation<'_>, object: &Resource, tallies: &mut Tallies) {
    let paths: &[&str] = match object.kind {
        Kind::Role | Kind::ClusterRole => &["rules"],
        Kind::RoleBinding | Kind::ClusterRoleBinding => &["subjects", "roleRef"],
        _ => return,
    };
    let store = o.world.resources(object.kind);
    let before = store.and_then(|s| s.get(&object.meta.namespace, &object.meta.name));
    let change = match before.filter(|b| b.meta.uid == object.meta.uid) {
        // After a restart nothing is held yet of what was there before.
        None if tallies.advance(object.kind, object.meta.uid, MADE, 1) == 0 => return,
        None => "made",
        // The controller fills an aggregated role by itself.
        Some(_) if object.body.has("aggregationRule") => return,
        Some(before) if paths.iter().any(|p| before.body.at(p) != object.body.at(p)) => "changed",
        Some(_) => return,
    };
    tallies.add(&CHANGES, labels![object.kind.name(), change], 1);
}

/// The role that a binding names, and whether its kind can be seen at all.
fn role<'a>(view: &View<'a>, binding: &Resource) -> (Option<&'a Resource>, bool) {
    let role = binding.body.at("roleRef");
    let name = role.text("name");
    match role.text("kind").as_str() {
        "ClusterRole" => (view.resource(Kind::ClusterRole, "", name), view.sees(Kind::ClusterRole)),
        "Role" => {
            let found = view.resource(Kind::Role, &binding.meta.namespace, name);
            (found, view.sees(Kind::Role))
        }
        _ => (None, false),
    }
}

fn has(rule: &Value, path: &str, wanted: &[&str]) -> bool {
    rule.texts(path).any(|text| *text == "*" || wanted.contains(&text.as_str()))
}

/// What a rule gives away, the worst first.
fn risk_of(rule: &Value) -> Option<&'static str> {
    let star = |path: &str| rule.texts(path).any(|text| *text == "*");
    let core = has(rule, "apiGroups", &[""]);
    let rbac = has(rule, "apiGroups", &["rbac.authorization.k8s.io"]);
    // Rights to objects of given names are narrow.
    if rule.items("resources").is_empty() || !rule.items("resourceNames").is_empty() {
        return None;
    }
    let roles = ["roles", "clusterroles"];
    if star("verbs") && star("resources") && star("apiGroups") {
        Some("everything")
    } else if rbac && has(rule, "resources", &roles) && has(rule, "verbs", &["escalate", "bind"])
        || has(rule, "apiGroups", &["", "authentication.k8s.io"])
            && has(rule, "resources", &["users", "groups", "serviceaccounts"])
            && has(rule, "verbs", &["impersonate"])
    {
        Some("escalation")
    } else if core
        && has(rule, "resources", &["nodes/proxy"])
        && has(rule, "verbs", &["get", "create"])
    {
        Some("nodes_proxy")
    } else if core
        && has(rule, "resources", &["pods/exec"])
        && has(rule, "verbs", &["create", "get"])
    {
        Some("exec")
    } else if core
        && has(rule, "resources", &["secrets"])
        && has(rule, "verbs", &["get", "list", "watch"])
    {
        Some("secrets")
    } else {
        None
    }
}

/// Every risk of a role. One that names `cluster-admin` gives everything, whatever its rules say now.
fn risks(role: &Resource) -> BTreeSet<&'static str> {
    if role.kind == Kind::ClusterRole && role.meta.name == "cluster-admin" {
        return ["everything"].into();
    }
    role.body.items("rules").iter().filter_map(risk_of).collect()
}

fn makes_pods(role: &Resource) -> bool {
    role.body.items("rules").iter().any(|rule| {
        has(rule, "apiGroups", &[""])
            && has(rule, "resources", &["pods"])
            && has(rule, "verbs", &["create"])
    })
}

fn powerful(view: &View<'_>, out: &mut Readings) {
    let mut subjects: BTreeMap<(&str, &str), BTreeSet<String>> = BTreeMap::new();
    for binding in view.resources_of(&BINDING_KINDS).filter(|b| !is_default(b)) {
        let (Some(role), _) = role(view, binding) else { continue };
        let cluster = binding.kind == Kind::ClusterRoleBinding;
        let scope = if cluster { "cluster" } else { "namespace" };
        let mut risks = risks(role);
        if !cluster && binding.meta.namespace == "kube-system" && makes_pods(role) {
            risks.insert("system_pods");
        }
        for subject in binding.body.items("subjects") {
            let place = match subject.text("namespace").as_str() {
                "" => &*binding.meta.namespace,
                own => own,
            };
            // A user or a group is the same in all namespaces.
            let place = if *subject.text("kind") == "ServiceAccount" { place } else { "" };
            let name = format!("{} {place}/{}", subject.text("kind"), subject.text("name"));
            for risk in &risks {
                subjects.entry((risk, scope)).or_default().insert(name.clone());
            }
        }
    }
    for ((risk, scope), names) in subjects {
        out.push(labels![risk, scope], names.len() as f64);
    }
}

fn risky(view: &View<'_>, out: &mut Verdicts) {
    let bindings = view.resources_of(&BINDING_KINDS);
    for binding in bindings.filter(|b| b.meta.deleting.is_none() && !is_default(b)) {
        let (found, seen) = role(view, binding);
        let reference = binding.body.at("roleRef");
        let named = format!("{} {}", reference.text("kind"), reference.text("name"));
        let mut tell = |reason, severity, message: String, dwell| {
            let labels = labels![&binding.meta.namespace, &binding.meta.name, reason];
            let verdict = Verdict::new(Subject::of(binding), labels, reason, message);
            out.push(verdict.severity(severity).dwell(dwell));
        };
        let Some(role) = found else {
            if seen {
                let message = format!("{named} is not there: it grants nothing");
                tell("role_missing", Severity::Warning, message, 300);
            }
            continue;
        };
        if binds(binding, &["system:anonymous", "system:unauthenticated"]) && opens(role) {
            let message = format!("gives {named} to clients that nobody knows");
            tell("anonymous", Severity::Critical, message, 0);
        }
        let everybody = ["system:authenticated", "system:serviceaccounts"];
        if binds(binding, &everybody) && is_grave(role) {
            let message = format!("gives {named} to everybody who has an account, or to all pods");
            tell("everybody", Severity::Warning, message, 60);
        }
        let all_power = ["everything", "escalation"];
        if let Some(namespace) = default_account(binding)
            && risks(role).iter().any(|risk| all_power.contains(risk))
        {
            let message = format!(
                "gives {named} to the default service account of {namespace}, which every pod there has that names no other"
            );
            tell("default_account", Severity::Warning, message, 60);
        }
    }
}

/// The namespace whose default service account a binding names (CIS Kubernetes Benchmark, 5.1.5).
fn default_account(binding: &Resource) -> Option<&str> {
    let mut subjects = binding.body.items("subjects").iter();
    let account =
        subjects.find(|s| *s.text("kind") == "ServiceAccount" && *s.text("name") == "default")?;
    match account.text("namespace").as_str() {
        "" => Some(&*binding.meta.namespace),
        namespace => Some(namespace),
    }
}

fn binds(binding: &Resource, names: &[&str]) -> bool {
    binding.body.items("subjects").iter().any(|s| {
        matches!(s.text("kind").as_str(), "User" | "Group")
            && names.contains(&s.text("name").as_str())
    })
}

/// Whether a role opens a resource. Paths such as `/healthz` are no resource, and objects of given names, such as
/// kubeadm's `cluster-info`, were opened on purpose.
fn opens(role: &Resource) -> bool {
    role.body.items("rules").iter().any(|rule| {
        !rule.items("resources").is_empty()
            && (rule.items("resourceNames").is_empty() || !has_only(rule, "verbs", &["get"]))
    })
}

fn has_only(rule: &Value, path: &str, allowed: &[&str]) -> bool {
    rule.texts(path).all(|text| allowed.contains(&text.as_str()))
}

/// Whether a role writes anything beyond asking about oneself, or holds a risk.
fn is_grave(role: &Resource) -> bool {
    let asks = ["authorization.k8s.io", "authentication.k8s.io"];
    let reads = ["get", "list", "watch"];
    let writes = |rule: &Value| {
        !rule.items("resources").is_empty()
            && rule.items("resourceNames").is_empty()
            && !has_only(rule, "apiGroups", &asks)
            && !has_only(rule, "verbs", &reads)
    };
    !risks(role).is_empty() || role.body.items("rules").iter().any(writes)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::layers::fixtures::{Counted, objects, readings, reasons, resource};
    use crate::layers::security::LAYER;
    use crate::model::record::Object;

    fn role(name: &str, rule: &serde_json::Value) -> Resource {
        resource(Kind::ClusterRole, name, json!({"rules": [rule]}))
    }

    fn rule(group: &str, resource: &str, verb: &str) -> serde_json::Value {
        json!({"apiGroups": [group], "resources": [resource], "verbs": [verb]})
    }

    fn binding(role: &str, subject: (&str, &str)) -> Resource {
        let spec = json!({"roleRef": {"kind": "ClusterRole", "name": role},
            "subjects": [{"kind": subject.0, "name": subject.1}]});
        resource(Kind::ClusterRoleBinding, "b", spec)
    }

    #[test]
    fn a_rule_is_known_by_the_worst_that_it_gives_away() {
        let cases = [
            (rule("*", "*", "*"), Some("everything")),
            (rule("rbac.authorization.k8s.io", "clusterroles", "escalate"), Some("escalation")),
            (rule("", "users", "impersonate"), Some("escalation")),
            (rule("", "nodes/proxy", "get"), Some("nodes_proxy")),
            (rule("", "pods/exec", "create"), Some("exec")),
            (rule("", "secrets", "list"), Some("secrets")),
            (rule("", "secrets", "create"), None),
            (rule("apps", "deployments", "*"), None),
            (rule("", "pods", "get"), None),
            (
                json!({"apiGroups": [""], "resources": ["secrets"], "verbs": ["get"], "resourceNames": ["mine"]}),
                None,
            ),
            (json!({"nonResourceURLs": ["*"], "verbs": ["*"]}), None),
            (json!("odd"), None),
        ];
        for (rule, expected) in cases {
            assert_eq!(risk_of(&Value::from(&rule)), expected, "{rule}");
        }
    }

    #[test]
    fn subjects_count_once_and_defaults_do_not() {
        let mut again = binding("reader", ("User", "ann"));
        again.meta.name = "again".into();
        let mut default = binding("reader", ("Group", "system:masters"));
        default.meta.name = "default".into();
        default.meta.labels =
            [("kubernetes.io/bootstrapping", "rbac-defaults")].into_iter().collect();
        let objects = objects![
            role("reader", &rule("", "secrets", "get")),
            binding("reader", ("User", "ann")),
            again,
            default,
        ];
        let told = readings(&POWERFUL, objects);
        let told: Vec<_> =
            told.iter().map(|r| (r.labels.iter().collect::<Vec<_>>().join(" "), r.value)).collect();
        assert_eq!(told, [("secrets cluster".to_owned(), 1.0)]);
    }

    #[test]
    fn a_binding_is_judged_by_whom_it_lets_do_what() {
        let anonymous = ("User", "system:anonymous");
        let everybody = ("Group", "system:authenticated");
        let read = rule("", "pods", "get");
        let info = json!({"apiGroups": [""], "resources": ["configmaps"], "verbs": ["get"], "resourceNames": ["cluster-info"]});
        let health = json!({"nonResourceURLs": ["/healthz"], "verbs": ["get"]});
        let review = rule("authorization.k8s.io", "selfsubjectaccessreviews", "create");
        let cases = [
            (anonymous, &read, vec!["anonymous"]),
            (anonymous, &info, vec![]),
            (anonymous, &health, vec![]),
            (everybody, &rule("apps", "deployments", "create"), vec!["everybody"]),
            (everybody, &rule("", "secrets", "get"), vec!["everybody"]),
            (everybody, &read, vec![]),
            (everybody, &review, vec![]),
            (("User", "ann"), &rule("*", "*", "*"), vec![]),
            (("ServiceAccount", "default"), &rule("*", "*", "*"), vec!["default_account"]),
            (("ServiceAccount", "default"), &rule("", "secrets", "get"), vec![]),
            (("ServiceAccount", "builder"), &rule("*", "*", "*"), vec![]),
        ];
        for (subject, rule, expected) in cases {
            let objects = objects![role("r", rule), binding("r", subject)];
            assert_eq!(reasons(&BINDINGS, objects), expected, "{subject:?} {rule}");
        }
        assert_eq!(reasons(&BINDINGS, objects![binding("gone", anonymous)]), ["role_missing"]);
        let odd = resource(Kind::ClusterRoleBinding, "odd", json!({"subjects": "odd"}));
        assert!(reasons(&BINDINGS, objects![odd]).is_empty());
    }

    #[test]
    fn what_is_made_or_changed_counts_and_what_is_filled_by_a_controller_does_not() {
        let filled = |verb: &str| {
            let spec = json!({"aggregationRule": {}, "rules": [rule("", "pods", verb)]});
            Object::from(resource(Kind::ClusterRole, "admin", spec))
        };
        let mut counted = Counted::new(&LAYER, objects![role("r", &rule("", "pods", "get"))]);
        counted
            .see(role("r", &rule("", "pods", "get")), 60)
            .see(role("r", &rule("", "pods", "list")), 50)
            .see(binding("r", ("User", "ann")), 40)
            .see(filled("get"), 30)
            .see(filled("list"), 20);
        let expected = [
            ("ClusterRole changed".to_owned(), 1),
            ("ClusterRole made".to_owned(), 1),
            ("ClusterRoleBinding made".to_owned(), 1),
        ];
        assert_eq!(counted.totals(&CHANGES), expected);
    }
}
