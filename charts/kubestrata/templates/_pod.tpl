{{/* The template of the pods, for Deployment and StatefulSet alike. */}}
{{- define "kubestrata.pod" -}}
metadata:
  annotations:
    checksum/config: {{ include "kubestrata.config" . | sha256sum }}
    {{- with .Values.podAnnotations }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  labels:
    {{- include "kubestrata.labels" . | nindent 4 }}
    {{- with .Values.podLabels }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
spec:
  serviceAccountName: {{ include "kubestrata.serviceAccountName" . }}
  automountServiceAccountToken: {{ .Values.serviceAccount.automount }}
  {{- with concat .Values.global.imagePullSecrets .Values.imagePullSecrets }}
  imagePullSecrets:
    {{- range . }}
    - name: {{ ternary . (get (ternary dict . (kindIs "string" .)) "name") (kindIs "string" .) }}
    {{- end }}
  {{- end }}
  {{- with .Values.priorityClassName }}
  priorityClassName: {{ . }}
  {{- end }}
  {{- with .Values.runtimeClassName }}
  runtimeClassName: {{ . }}
  {{- end }}
  {{- if .Values.hostNetwork }}
  hostNetwork: true
  {{- end }}
  {{- with .Values.dnsPolicy }}
  dnsPolicy: {{ . }}
  {{- end }}
  {{- with .Values.podSecurityContext }}
  securityContext:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  terminationGracePeriodSeconds: {{ .Values.terminationGracePeriodSeconds }}
  enableServiceLinks: false
  {{- with .Values.initContainers }}
  initContainers:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  containers:
    {{- include "kubestrata.container" . | nindent 4 }}
    {{- with .Values.extraContainers }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  volumes:
    {{- include "kubestrata.volumes" . | nindent 4 }}
  {{- with .Values.nodeSelector }}
  nodeSelector:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .Values.tolerations }}
  tolerations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .Values.affinity }}
  affinity:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- include "kubestrata.spread" . | nindent 2 }}
{{- end -}}

{{- define "kubestrata.container" -}}
- name: kubestrata
  image: {{ include "kubestrata.image" . }}
  imagePullPolicy: {{ .Values.image.pullPolicy }}
  args:
    - run
    - --config=/etc/kubestrata/kubestrata.yaml
    - --log-format={{ .Values.logging.format }}
    - --log-level={{ .Values.logging.level }}
    {{- with .Values.extraArgs }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  env:
    - name: POD_NAMESPACE
      valueFrom:
        fieldRef:
          fieldPath: metadata.namespace
    {{- with .Values.env }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  {{- with .Values.envFrom }}
  envFrom:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  ports:
    - name: http
      containerPort: {{ .Values.listen.port }}
      protocol: TCP
    {{- if .Values.audit.enabled }}
    - name: audit
      containerPort: {{ .Values.audit.port }}
      protocol: TCP
    {{- end }}
  {{- with .Values.startupProbe }}
  startupProbe:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .Values.livenessProbe }}
  livenessProbe:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .Values.readinessProbe }}
  readinessProbe:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .Values.resources }}
  resources:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .Values.securityContext }}
  securityContext:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  volumeMounts:
    - name: config
      mountPath: /etc/kubestrata
      readOnly: true
    {{- if .Values.state.enabled }}
    - name: state
      mountPath: /var/lib/kubestrata
    {{- end }}
    {{- if .Values.audit.enabled }}
    - name: audit
      mountPath: /etc/kubestrata-audit
      readOnly: true
    {{- end }}
    {{- with .Values.extraVolumeMounts }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
{{- end -}}

{{- define "kubestrata.volumes" -}}
- name: config
  configMap:
    name: {{ include "kubestrata.fullname" . }}
{{- if include "kubestrata.claimed" . }}
- name: state
  persistentVolumeClaim:
    claimName: {{ .Values.state.persistence.existingClaim }}
{{- else if and .Values.state.enabled (eq (include "kubestrata.workload" .) "Deployment") }}
- name: state
  emptyDir:
    sizeLimit: {{ .Values.state.sizeLimit }}
{{- end }}
{{- if .Values.audit.enabled }}
- name: audit
  secret:
    secretName: {{ required "audit.enabled needs audit.secretName: a Secret with tls.crt and tls.key" .Values.audit.secretName }}
    defaultMode: 288
{{- end }}
{{- with .Values.extraVolumes }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* How pods are spread: as asked for, else over nodes and zones as far as possible. */}}
{{- define "kubestrata.spread" -}}
{{- $constraints := .Values.topologySpreadConstraints -}}
{{- if and (not $constraints) (gt (int .Values.replicas) 1) -}}
{{- $soft := dict "maxSkew" 1 "whenUnsatisfiable" "ScheduleAnyway" -}}
{{- $constraints = list (merge (dict "topologyKey" "kubernetes.io/hostname") $soft) (merge (dict "topologyKey" "topology.kubernetes.io/zone") $soft) -}}
{{- end -}}
{{- with $constraints -}}
{{- $selector := dict "matchLabels" (include "kubestrata.selectorLabels" $ | fromYaml) -}}
topologySpreadConstraints:
  {{- range . }}
  - {{ ternary . (merge (dict "labelSelector" $selector) .) (hasKey . "labelSelector") | toYaml | nindent 4 | trim }}
  {{- end }}
{{- end -}}
{{- end -}}
