// The alerts, recording rules and dashboards that are shipped as files, as a mixin: nothing is written twice.
// Override `_config`:
//   (import 'kubestrata/alerts/mixin.libsonnet') + { _config+:: { selector: 'job="kubestrata"' } }
local replaced(text, pairs) =
  std.foldl(function(text, pair) std.strReplace(text, pair[0], pair[1]), pairs, text);

// As a string stands inside of another one in JSON.
local escaped(text) =
  local quoted = std.escapeStringJson(text);
  std.substr(quoted, 1, std.length(quoted) - 2);

// What stands in the files, for what stands in `_config`.
local shipped = {
  selector: 'job=~".+"',
  runbookBase: 'https://github.com/kubestrata/kubestrata/blob/main/docs/runbooks',
  grafanaBase: 'https://grafana.example.com',
};

local clusterMatcher = escaped('cluster=~"$cluster"');

{
  _config:: {
    // Which scraped series are kubestrata's.
    selector: shipped.selector,
    // Where the runbooks are.
    runbookBase: shipped.runbookBase,
    // Where the dashboards are.
    grafanaBase: shipped.grafanaBase,
    // Whether the bands are recorded in PromQL too: some thousand rules that kubestrata itself does not need.
    bands: false,
  },

  local config = self._config,

  local groups(text) = std.parseYaml(replaced(text, [
    [shipped.selector, config.selector],
    [shipped.runbookBase, config.runbookBase],
    [shipped.grafanaBase, config.grafanaBase],
  ])).groups,

  local all = groups(importstr 'kubestrata.rules.yaml'),
  local alerts(group) = std.length([rule for rule in group.rules if std.objectHas(rule, 'alert')]) > 0,

  prometheusAlerts+:: { groups+: [group for group in all if alerts(group)] },

  prometheusRules+:: {
    groups+: [group for group in all if !alerts(group)]
             + (if config.bands then groups(importstr 'bands.rules.yaml') else []),
  },

  local dashboard(text) = std.parseJson(
    if config.selector == shipped.selector then text
    else std.strReplace(text, clusterMatcher, clusterMatcher + ', ' + escaped(config.selector))
  ),

  grafanaDashboards+:: {
    'kubestrata-overview.json': dashboard(importstr '../dashboards/kubestrata-overview.json'),
    'kubestrata-fleet.json': dashboard(importstr '../dashboards/kubestrata-fleet.json'),
    'kubestrata-baselines.json': dashboard(importstr '../dashboards/kubestrata-baselines.json'),
    'kubestrata-self.json': dashboard(importstr '../dashboards/kubestrata-self.json'),
    'kubestrata-storage.json': dashboard(importstr '../dashboards/kubestrata-storage.json'),
    'kubestrata-compute.json': dashboard(importstr '../dashboards/kubestrata-compute.json'),
    'kubestrata-networking.json': dashboard(importstr '../dashboards/kubestrata-networking.json'),
    'kubestrata-observability.json': dashboard(importstr '../dashboards/kubestrata-observability.json'),
    'kubestrata-security.json': dashboard(importstr '../dashboards/kubestrata-security.json'),
    'kubestrata-tooling.json': dashboard(importstr '../dashboards/kubestrata-tooling.json'),
    'kubestrata-gitops.json': dashboard(importstr '../dashboards/kubestrata-gitops.json'),
  },
}
