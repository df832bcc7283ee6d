//! How does an image get to a node, and what is said when it does not?

use super::Scene;
use super::container::{Container, LONGEST_WAIT, RETRY, State};
use crate::sim::controllers::external_secrets;
use crate::sim::fields::Fields;
use crate::sim::moment::{Moment, SECOND};
use crate::sim::surroundings::registry;

/// Looks for the image; what is on the node already is not pulled.
pub(super) fn begin(container: &mut Container, scene: &mut Scene<'_>) -> Moment {
    let now = scene.now();
    let image = container.image.clone();
    let thing = container.thing(scene);
    let present = scene.sim.kubelets.images.get(&scene.node).is_some_and(|i| i.contains(&image));
    if present {
        let text = format!(
            "Container image {image:?} already present on machine and can be accessed by the pod"
        );
        scene.note(&container.name, false, "Pulled", text);
        let took = scene.sim.chance.of("start", &thing).log_normal(400, 0.4);
        let until = now + scene.takes(took);
        container.state = State::Starting { until };
        return until;
    }
    scene.note(&container.name, false, "Pulling", format!("Pulling image {image:?}"));
    let mut draw = scene.sim.chance.of("pull", &format!("{thing}/{}", container.pull_wait));
    let around = &scene.sim.surroundings;
    let given = around.has_image(&image) && refusal(container, scene).is_none();
    let took = if given { scene.takes(draw.log_normal(3500, 0.6)) } else { draw.between(200, 900) };
    container.state = State::Pulling { began: now, until: now + took };
    now + took
}

/// The pull is over, one way or the other.
pub(super) fn finish(container: &mut Container, scene: &mut Scene<'_>, began: Moment) -> Moment {
    let now = scene.now();
    let image = container.image.clone();
    if let Some(words) = refusal(container, scene) {
        return fail(container, scene, &words);
    }
    if !scene.sim.surroundings.has_image(&image) {
        let error = format!(
            "rpc error: code = NotFound desc = failed to pull and unpack image {image:?}: failed to resolve reference \
             {image:?}: {image}: not found"
        );
        return refuse(container, scene, error);
    }
    let seconds = (now - began) as f64 / SECOND as f64;
    let bytes = scene.sim.chance.of("size", &image).between(20_000_000, 400_000_000);
    let text = format!(
        "Successfully pulled image {image:?} in {seconds:.3}s ({seconds:.3}s including waiting). \
         Image size: {bytes} bytes."
    );
    scene.note(&container.name, false, "Pulled", text);
    scene.sim.kubelets.images.entry(scene.node.clone()).or_default().insert(image);
    let took = scene.sim.chance.of("start", &container.thing(scene)).log_normal(400, 0.4);
    let until = now + scene.takes(took);
    container.state = State::Starting { until };
    until
}

/// Why the image's registry does not give it to this pod.
fn refusal(container: &Container, scene: &Scene<'_>) -> Option<String> {
    let image = container.image.as_str();
    let host = registry(image);
    let (name, tag) = image.rsplit_once(':').unwrap_or((image, "latest"));
    let path = name.strip_prefix(host).unwrap_or(name).trim_start_matches('/');
    let url = format!("https://{host}/v2/{path}/manifests/{tag}");
    if !scene.sim.surroundings.registry_answers(image) {
        let words = format!("Head \"{url}\": dial tcp: lookup {host}: i/o timeout");
        return Some(format!("failed to do request: {words}"));
    }
    let thing = format!("{}/{}", container.thing(scene), container.pull_wait);
    let drawn = scene.sim.chance.of("throttled", &thing).unit();
    if drawn < scene.sim.surroundings.throttled(image) {
        return Some(format!(
            "unexpected status from HEAD request to {url}: 429 Too Many Requests"
        ));
    }
    let ns = scene.pod.text("metadata/namespace");
    external_secrets::outdated(scene.sim, ns, host)
        .then(|| format!("unexpected status from HEAD request to {url}: 401 Unauthorized"))
}

fn fail(container: &mut Container, scene: &mut Scene<'_>, words: &str) -> Moment {
    let image = &container.image;
    let error = format!(
        "failed to pull and unpack image {image:?}: failed to resolve reference {image:?}: {words}"
    );
    refuse(container, scene, error)
}

/// A pull failed for this reason.
fn refuse(container: &mut Container, scene: &mut Scene<'_>, error: String) -> Moment {
    let now = scene.now();
    let text = format!("Failed to pull image {:?}: {error}", container.image);
    scene.note(&container.name, true, "Failed", text);
    scene.note(&container.name, true, "Failed", "Error: ErrImagePull".to_owned());
    let wait = container.pull_wait;
    container.pull_wait = (wait * 2).min(LONGEST_WAIT);
    // `note_at == shown_until` marks the time before the first back-off note.
    let shown_until = now + RETRY.min(wait - SECOND);
    container.state =
        State::PullFailed { error, shown_until, until: now + wait, note_at: shown_until };
    shown_until
}

/// Between two pulls.
pub(super) fn wait(
    container: &mut Container,
    scene: &mut Scene<'_>,
    error: String,
    shown_until: Moment,
    until: Moment,
    mut note_at: Moment,
) -> Moment {
    let now = scene.now();
    if until <= now {
        container.state = State::Created;
        return now;
    }
    if note_at <= now {
        let image = &container.image;
        let text = format!("Back-off pulling image {image:?}");
        scene.note(&container.name, false, "BackOff", text);
        scene.note(&container.name, true, "Failed", "Error: ImagePullBackOff".to_owned());
        note_at = now + RETRY;
    }
    container.state = State::PullFailed { error, shown_until, until, note_at };
    until.min(note_at)
}
