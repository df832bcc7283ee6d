{{/* The chart's name, as the label app.kubernetes.io/name has it. */}}
{{- define "kubestrata.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" -}}
{{- end -}}

{{/* The name of the objects. */}}
{{- define "kubestrata.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 52 | trimSuffix "-" -}}
{{- else -}}
{{- $name := include "kubestrata.name" . -}}
{{- if contains $name .Release.Name -}}
{{- .Release.Name | trunc 52 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 52 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* The namespace of the objects. */}}
{{- define "kubestrata.namespace" -}}
{{- default .Release.Namespace .Values.namespaceOverride -}}
{{- end -}}

{{/* The service account of the pods. */}}
{{- define "kubestrata.serviceAccountName" -}}
{{- if .Values.serviceAccount.create -}}
{{- default (include "kubestrata.fullname" .) .Values.serviceAccount.name -}}
{{- else -}}
{{- default "default" .Values.serviceAccount.name -}}
{{- end -}}
{{- end -}}

{{/* The labels by which pods are selected; they never change. */}}
{{- define "kubestrata.selectorLabels" -}}
app.kubernetes.io/name: {{ include "kubestrata.name" . | quote }}
app.kubernetes.io/instance: {{ .Release.Name | quote }}
{{- end -}}

{{/* The labels of every object. */}}
{{- define "kubestrata.labels" -}}
{{ include "kubestrata.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/part-of: kubestrata
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- with .Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* The image, by its digest where one is given. */}}
{{- define "kubestrata.image" -}}
{{- $image := .Values.image -}}
{{- $registry := default $image.registry .Values.global.imageRegistry -}}
{{- $repository := ternary (printf "%s/%s" $registry $image.repository) $image.repository (ne $registry "") -}}
{{- if $image.digest -}}
{{- printf "%s@%s" $repository $image.digest -}}
{{- else -}}
{{- printf "%s:%s" $repository (default .Chart.AppVersion $image.tag) -}}
{{- end -}}
{{- end -}}

{{/* Whether a leader is elected: "true" or "". */}}
{{- define "kubestrata.elects" -}}
{{- $enabled := .Values.leaderElection.enabled -}}
{{- if or (eq (toString $enabled) "true") (and (eq (toString $enabled) "auto") (gt (int .Values.replicas) 1)) -}}
true
{{- end -}}
{{- end -}}

{{/* What runs the pods: a StatefulSet where each has a claim of its own, else a Deployment. */}}
{{- define "kubestrata.workload" -}}
{{- $persistence := .Values.state.persistence -}}
{{- if and .Values.state.enabled $persistence.enabled (not $persistence.existingClaim) -}}
StatefulSet
{{- else -}}
Deployment
{{- end -}}
{{- end -}}

{{/* Whether one claim that is there already holds the state: "true" or "". */}}
{{- define "kubestrata.claimed" -}}
{{- $persistence := .Values.state.persistence -}}
{{- if and .Values.state.enabled $persistence.enabled $persistence.existingClaim -}}
true
{{- end -}}
{{- end -}}

{{/* Metadata of an object: (list context name [namespace]). */}}
{{- define "kubestrata.metadata" -}}
{{- $root := index . 0 -}}
name: {{ index . 1 }}
{{- if gt (len .) 2 }}
namespace: {{ index . 2 }}
{{- end }}
labels:
  {{- include "kubestrata.labels" $root | nindent 2 }}
{{- end -}}

{{/* What a file's object is called after: (list file end), without the project's name, which the object has already. */}}
{{- define "kubestrata.stem" -}}
{{- $stem := trimSuffix (index . 1) (index . 0) -}}
{{- ternary "alerts" (trimPrefix "kubestrata-" $stem) (eq $stem "kubestrata") -}}
{{- end -}}
