{{/* Names, labels, and what all pods have in common. */}}

{{/* Short enough for the longest suffix and what Deployments put behind it. */}}
{{- define "candlewick.fullname" -}}
{{- $name := default .Chart.Name .Values.nameOverride }}
{{- if .Values.fullnameOverride }}
{{- .Values.fullnameOverride | trunc 40 | trimSuffix "-" }}
{{- else if contains $name .Release.Name }}
{{- .Release.Name | trunc 40 | trimSuffix "-" }}
{{- else }}
{{- printf "%s-%s" .Release.Name $name | trunc 40 | trimSuffix "-" }}
{{- end }}
{{- end }}

{{/* What selects the pods of a release; with a component, its own. Takes (dict "root" $ "component" "writer"). */}}
{{- define "candlewick.selector" -}}
app.kubernetes.io/name: {{ default .root.Chart.Name .root.Values.nameOverride | trunc 63 | trimSuffix "-" }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
{{- with .component }}
app.kubernetes.io/component: {{ . }}
{{- end }}
{{- end }}

{{- define "candlewick.labels" -}}
{{ include "candlewick.selector" . }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version | replace "+" "_" }}
{{- end }}

{{/* A market's name as a part of names: usdt-futures. */}}
{{- define "candlewick.component" -}}
{{- . | replace "_" "-" }}
{{- end }}

{{/* Port of a role's /metrics, /healthz and /readyz. Takes (dict "root" $ "role" "spot"). */}}
{{- define "candlewick.port" -}}
{{- $offset := get (dict "spot" 0 "usdt_futures" 1 "coin_futures" 2 "writer" 3) .role }}
{{- add (int .root.Values.metrics.port) $offset }}
{{- end }}

{{- define "candlewick.claim" -}}
{{- default (printf "%s-data" (include "candlewick.fullname" .)) .Values.writer.persistence.existingClaim }}
{{- end }}

{{/* The broker's URL, or why it cannot be used. */}}
{{- define "candlewick.brokerUrl" -}}
{{- $url := required "broker.url is needed: this chart brings no broker" .Values.broker.url }}
{{- if regexMatch "^[a-z]+://[^/]*:[^/]*@" $url }}
{{- fail "broker.url holds a password, which every pod would show: use broker.existingSecret or broker.password" }}
{{- end }}
{{- $url }}
{{- end }}

{{/* The broker's ports, as a JSON list. */}}
{{- define "candlewick.brokerPorts" -}}
{{- $ports := list }}
{{- if .Values.networkPolicy.brokerPorts }}
{{- $ports = .Values.networkPolicy.brokerPorts }}
{{- else }}
{{- $url := include "candlewick.brokerUrl" . }}
{{- $default := hasPrefix "sentinel" $url | ternary 26379 6379 }}
{{- $hosts := regexReplaceAll "^[a-z]+://([^/?]*@)?([^/?]*).*$" $url "${2}" }}
{{- range splitList "," $hosts }}
{{- $port := regexFind ":[0-9]+$" . | trimPrefix ":" }}
{{- $ports = append $ports ($port | default $default | int) }}
{{- end }}
{{- if hasPrefix "sentinel" $url }}
{{- $ports = append $ports 6379 }}
{{- end }}
{{- end }}
{{- $ports | uniq | toJson }}
{{- end }}

{{/* Where user names and passwords come from: a map of variables and keys of the Secret. */}}
{{- define "candlewick.brokerKeys" -}}
{{- $keys := dict }}
{{- range $value, $variable := dict "username" "USERNAME" "password" "PASSWORD" "sentinelUsername" "SENTINEL_USERNAME" "sentinelPassword" "SENTINEL_PASSWORD" }}
{{- if $.Values.broker.existingSecret }}
{{- with get $.Values.broker.secretKeys $value }}
{{- $_ := set $keys (printf "CANDLEWICK_BROKER_%s" $variable) . }}
{{- end }}
{{- else if get $.Values.broker $value }}
{{- $_ := set $keys (printf "CANDLEWICK_BROKER_%s" $variable) $value }}
{{- end }}
{{- end }}
{{- toJson $keys }}
{{- end }}

{{- define "candlewick.brokerSecret" -}}
{{- default (printf "%s-broker" (include "candlewick.fullname" .)) .Values.broker.existingSecret }}
{{- end }}

{{- define "candlewick.watchdogSecret" -}}
{{- default (printf "%s-watchdog" (include "candlewick.fullname" .)) .Values.watchdog.existingSecret }}
{{- end }}

{{/* A pod's labels and annotations; what changes in its settings or Secrets starts it anew. No versions among them, or
producers.tag would hold nothing back. Takes (dict "root" $ "component" "spot" "port" 9750), the port where there are
metrics. */}}
{{- define "candlewick.podMetadata" -}}
labels:
  {{- include "candlewick.selector" . | nindent 2 }}
  {{- with .root.Values.podLabels }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
annotations:
  checksum/settings: {{ .root.Values.settings | sha256sum }}
  {{- if not .root.Values.broker.existingSecret }}
  checksum/broker: {{ pick .root.Values.broker "username" "password" "sentinelUsername" "sentinelPassword" | toJson | sha256sum }}
  {{- end }}
  {{- if and (eq .component "watchdog") (not .root.Values.watchdog.existingSecret) }}
  checksum/watchdog: {{ .root.Values.watchdog.urls | toJson | sha256sum }}
  {{- end }}
  {{- if and .port .root.Values.metrics.annotations }}
  prometheus.io/scrape: "true"
  prometheus.io/port: {{ .port | quote }}
  prometheus.io/path: /metrics
  {{- end }}
  {{- with .root.Values.podAnnotations }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- end }}

{{/* What every pod's spec begins with. Takes the root.
Service links are off: for a Service named candlewick-… they are variables that begin with CANDLEWICK_, and a variable
that is no setting ends a process with exit code 2. */}}
{{- define "candlewick.podSpec" -}}
serviceAccountName: {{ .Values.serviceAccountName }}
automountServiceAccountToken: false
enableServiceLinks: false
terminationGracePeriodSeconds: {{ .Values.terminationGracePeriodSeconds }}
securityContext:
  runAsNonRoot: true
  runAsUser: {{ .Values.runAs.user }}
  runAsGroup: {{ .Values.runAs.group }}
  fsGroup: {{ .Values.runAs.group }}
  fsGroupChangePolicy: OnRootMismatch
  seccompProfile:
    type: RuntimeDefault
{{- with .Values.imagePullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- end }}

{{/* What every container begins with. Takes (dict "root" $ "tag" "" "resources" …). */}}
{{- define "candlewick.container" -}}
image: {{ printf "%s:%s" .root.Values.image.repository (.tag | default .root.Values.image.tag | default .root.Chart.AppVersion) | quote }}
imagePullPolicy: {{ .root.Values.image.pullPolicy }}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities:
    drop: [ALL]
resources:
  {{- toYaml .resources | nindent 2 }}
{{- end }}

{{/* Environment of every container. Takes the root. */}}
{{- define "candlewick.environment" -}}
- name: CANDLEWICK_CONFIG
  value: /config/candlewick.toml
- name: CANDLEWICK_BROKER_URL
  value: {{ include "candlewick.brokerUrl" . | quote }}
{{- range $variable, $key := include "candlewick.brokerKeys" . | fromJson }}
- name: {{ $variable }}
  valueFrom:
    secretKeyRef:
      name: {{ include "candlewick.brokerSecret" $ }}
      key: {{ $key }}
{{- end }}
- name: CANDLEWICK_METRICS_HOST
  value: {{ .Values.listen | quote }}
- name: CANDLEWICK_METRICS_PORT
  value: {{ .Values.metrics.port | quote }}
{{- with .Values.extraEnv }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/* Mounts and volumes of every pod. Both take the root. */}}
{{- define "candlewick.mounts" -}}
- name: config
  mountPath: /config
  readOnly: true
- name: tmp
  mountPath: /tmp
{{- with .Values.extraVolumeMounts }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- define "candlewick.volumes" -}}
- name: config
  configMap:
    name: {{ include "candlewick.fullname" . }}
- name: tmp
  emptyDir:
    sizeLimit: 64Mi
{{- with .Values.extraVolumes }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/* Probes. Alive is whose loop turns: starting another anew would not bring the exchange or the broker back. */}}
{{- define "candlewick.probes" -}}
startupProbe:
  httpGet:
    path: /healthz
    port: http
  periodSeconds: 2
  timeoutSeconds: 5
  failureThreshold: 60
livenessProbe:
  httpGet:
    path: /healthz
    port: http
  periodSeconds: 15
  timeoutSeconds: 5
  failureThreshold: 4
readinessProbe:
  httpGet:
    path: /readyz
    port: http
  periodSeconds: 5
  timeoutSeconds: 5
  failureThreshold: 6
{{- end }}
