{{/* The rules of the enabled layers and opted sources, merged by group and verbs, as JSON. */}}
{{- define "kubestrata.rules" -}}
{{- $rules := list -}}
{{- $opted := include "kubestrata.optedIn" . | fromJsonArray -}}
{{- range $layer := include "kubestrata.layers" . | fromJsonArray -}}
{{- $file := $.Files.Get (printf "files/rules/%s.yaml" $layer) | fromYaml -}}
{{- $rules = concat $rules (required (printf "the chart has no rules of the layer %s" $layer) $file.rules) -}}
{{- range $source := $opted -}}
{{- $rules = concat $rules (default list (get (default dict $file.sources) $source)) -}}
{{- end -}}
{{- end -}}
{{- $resources := dict -}}
{{- $urls := dict -}}
{{- range $rule := $rules -}}
{{- $verbs := join "," $rule.verbs -}}
{{- if $rule.nonResourceURLs -}}
{{- $_ := set $urls $verbs (concat (default list (get $urls $verbs)) $rule.nonResourceURLs | uniq | sortAlpha) -}}
{{- end -}}
{{- range $group := $rule.apiGroups -}}
{{- $key := printf "%s %s" $group $verbs -}}
{{- $_ := set $resources $key (concat (default list (get $resources $key)) $rule.resources | uniq | sortAlpha) -}}
{{- end -}}
{{- end -}}
{{- $merged := list -}}
{{- range $key := keys $resources | sortAlpha -}}
{{- $parts := splitList " " $key -}}
{{- $merged = append $merged (dict "apiGroups" (list (index $parts 0)) "resources" (get $resources $key) "verbs" (splitList "," (index $parts 1))) -}}
{{- end -}}
{{- range $verbs := keys $urls | sortAlpha -}}
{{- $merged = append $merged (dict "nonResourceURLs" (get $urls $verbs) "verbs" (splitList "," $verbs)) -}}
{{- end -}}
{{- concat $merged .Values.rbac.extraRules | toJson -}}
{{- end -}}
