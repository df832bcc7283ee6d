{{/* The layers that are watched, as JSON, from the ground up. */}}
{{- define "kubestrata.layers" -}}
{{- $enabled := list -}}
{{- range list "storage" "compute" "networking" "observability" "security" "tooling" "gitops" -}}
{{- if (get $.Values.layers .).enabled -}}
{{- $enabled = append $enabled . -}}
{{- end -}}
{{- end -}}
{{- if not $enabled -}}
{{- fail "no layer is enabled: set layers.<layer>.enabled of one at least" -}}
{{- end -}}
{{- $enabled | toJson -}}
{{- end -}}

{{/* The sources that are opted in to, as JSON. */}}
{{- define "kubestrata.optedIn" -}}
{{- $opted := list -}}
{{- if .Values.sources.secrets }}{{ $opted = append $opted "secrets" }}{{ end -}}
{{- if .Values.sources.configmaps }}{{ $opted = append $opted "configmaps" }}{{ end -}}
{{- if .Values.sources.kubeletMetrics }}{{ $opted = append $opted "kubelet_metrics" }}{{ end -}}
{{- $opted | toJson -}}
{{- end -}}

{{/* kubestrata's configuration: `config`, and what other values mean in it. */}}
{{- define "kubestrata.config" -}}
{{- $config := deepCopy .Values.config -}}
{{- $sources := default dict $config.sources -}}
{{- $state := default dict $config.state -}}
{{- $owned := dict "layers" "layers" "listen" "listen" "leader_election" "leaderElection" -}}
{{- if .Values.audit.enabled }}{{ $_ := set $owned "audit" "audit" }}{{ end -}}
{{- range $key, $value := $owned -}}
{{- if hasKey $config $key -}}
{{- fail (printf "config.%s is set by the chart: use the value %s instead" $key $value) -}}
{{- end -}}
{{- end -}}
{{- if hasKey $sources "opt_in" -}}
{{- fail "config.sources.opt_in is set by the chart, as rights follow from it: use the value sources instead" -}}
{{- end -}}
{{- if hasKey $state "directory" -}}
{{- fail "config.state.directory is set by the chart: use the value state instead" -}}
{{- end -}}
{{- $_ := set $config "listen" (printf "%s:%d" .Values.listen.address (int .Values.listen.port)) -}}
{{- $_ := set $config "layers" (include "kubestrata.layers" . | fromJsonArray) -}}
{{- $_ := set $config "sources" (set $sources "opt_in" (include "kubestrata.optedIn" . | fromJsonArray)) -}}
{{- if .Values.state.enabled -}}
{{- $_ := set $config "state" (set $state "directory" "/var/lib/kubestrata") -}}
{{- end -}}
{{- if include "kubestrata.elects" . -}}
{{- $election := .Values.leaderElection -}}
{{- $_ := set $config "leader_election" (dict "enabled" true "namespace" (include "kubestrata.namespace" .) "name" (include "kubestrata.fullname" .) "lease_duration" $election.leaseDuration "renew_deadline" $election.renewDeadline "retry_period" $election.retryPeriod) -}}
{{- end -}}
{{- if .Values.audit.enabled -}}
{{- $folder := "/etc/kubestrata-audit" -}}
{{- $audit := dict "listen" (printf "%s:%d" .Values.listen.address (int .Values.audit.port)) "cert_file" (printf "%s/tls.crt" $folder) "key_file" (printf "%s/tls.key" $folder) -}}
{{- if .Values.audit.clientCa }}{{ $_ := set $audit "client_ca_file" (printf "%s/ca.crt" $folder) }}{{ end -}}
{{- $_ := set $config "audit" $audit -}}
{{- end -}}
{{- toYaml $config -}}
{{- end -}}
