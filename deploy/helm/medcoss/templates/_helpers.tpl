{{- define "medcoss.name" -}}{{ .Chart.Name | trunc 40 | trimSuffix "-" }}{{- end }}

{{- define "medcoss.fullname" -}}
{{- if contains .Chart.Name .Release.Name }}{{ .Release.Name | trunc 40 | trimSuffix "-" }}
{{- else }}{{ printf "%s-%s" .Release.Name .Chart.Name | trunc 40 | trimSuffix "-" }}{{ end }}
{{- end }}

{{/* Labels of everything; those of `selector` alone never change. */}}
{{- define "medcoss.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | quote }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service | quote }}
app.kubernetes.io/part-of: medcoss
{{- end }}

{{- define "medcoss.selector" -}}
app.kubernetes.io/name: {{ include "medcoss.name" .root }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .component }}
{{- end }}

{{- define "medcoss.selectorJson" -}}{{ include "medcoss.selector" . | fromYaml | toJson }}{{- end }}

{{/* Head of an object: dict root, component, name (after the full name). */}}
{{- define "medcoss.metadata" -}}
name: {{ include "medcoss.fullname" .root }}-{{ .name | default .component }}
namespace: {{ .root.Release.Namespace }}
labels:
  {{- include "medcoss.labels" .root | nindent 2 }}
  {{- include "medcoss.selector" . | nindent 2 }}
{{- end }}

{{/* One of the platform's own images: dict root, image, variant, tag (in place of that of all). */}}
{{- define "medcoss.image" -}}
{{- $tag := .tag | default .root.Values.image.tag | default .root.Chart.AppVersion -}}
{{- with .root.Values.image.registry }}{{ . | trimSuffix "/" }}/{{ end }}{{ .image }}:{{ $tag }}{{ with .variant }}-{{ . }}{{ end }}
{{- end }}

{{- define "medcoss.secret" -}}{{ .Values.existingSecret | default (printf "%s-secrets" (include "medcoss.fullname" .)) }}{{- end }}

{{- define "medcoss.serviceAccount" -}}
{{- if .root.Values.serviceAccount.create }}{{ include "medcoss.fullname" .root }}-{{ .component }}
{{- else }}{{ .root.Values.serviceAccount.name | default "default" }}{{ end }}
{{- end }}

{{- define "medcoss.s3Endpoint" -}}
{{- if .Values.s3.bundled }}{{ include "medcoss.fullname" . }}-s3:9000{{ else }}{{ required "s3.endpoint is needed where s3.bundled is false" .Values.s3.endpoint }}{{ end }}
{{- end }}

{{/* Where Triton reads models: it takes an address without a port for the name of a bucket. */}}
{{- define "medcoss.tritonRepository" -}}
{{- $tls := and (not .Values.s3.bundled) .Values.s3.secure -}}
{{- $endpoint := include "medcoss.s3Endpoint" . -}}
{{- if not (contains ":" $endpoint) }}{{ $endpoint = printf "%s:%s" $endpoint (ternary "443" "80" $tls) }}{{ end -}}
s3://{{ ternary "https" "http" $tls }}://{{ $endpoint }}/{{ .Values.s3.bucket }}/triton
{{- end }}

{{- define "medcoss.scheme" -}}{{ if .Values.ingress.tlsSecret }}https{{ else }}http{{ end }}{{- end }}

{{- define "medcoss.tritonUrl" -}}
{{- if .Values.triton.enabled }}{{ include "medcoss.fullname" . }}-triton:8000{{ else }}{{ required "triton.url is needed where triton.enabled is false" .Values.triton.url }}{{ end }}
{{- end }}

{{/* Everything that a pod of the platform must not be able to do. */}}
{{- define "medcoss.podSecurity" -}}
runAsNonRoot: true
runAsUser: {{ .user }}
runAsGroup: {{ .group }}
fsGroup: {{ .group }}
fsGroupChangePolicy: OnRootMismatch
seccompProfile: {type: RuntimeDefault}
{{- end }}

{{- define "medcoss.containerSecurity" -}}
allowPrivilegeEscalation: false
privileged: false
readOnlyRootFilesystem: true
runAsNonRoot: true
capabilities: {drop: [ALL]}
{{- end }}

{{/* Settings of the platform's containers: all of them files or in a ConfigMap. */}}
{{- define "medcoss.env" -}}
envFrom:
  - configMapRef: {name: {{ include "medcoss.fullname" . }}-settings}
{{- end }}

{{- define "medcoss.secretVolume" -}}
- name: secrets
  secret:
    secretName: {{ include "medcoss.secret" . }}
    defaultMode: 0440
    items:
      - {key: medcoss_database_url, path: medcoss_database_url}
      - {key: medcoss_redis_url, path: medcoss_redis_url}
      - {key: medcoss_s3_access_key, path: medcoss_s3_access_key}
      - {key: medcoss_s3_secret_key, path: medcoss_s3_secret_key}
      - {key: medcoss_bootstrap_admin_key, path: medcoss_bootstrap_admin_key}
      - {key: medcoss_encryption_key, path: medcoss_encryption_key}
{{- end }}

{{- define "medcoss.placement" -}}
{{- with .nodeSelector }}
nodeSelector: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .tolerations }}
tolerations: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .affinity }}
affinity: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .runtimeClassName }}
runtimeClassName: {{ . }}
{{- end }}
{{- end }}

{{/* Common part of a pod of the platform: dict root, component, values, token (whether it asks the API server). */}}
{{- define "medcoss.podHead" -}}
serviceAccountName: {{ include "medcoss.serviceAccount" . }}
automountServiceAccountToken: {{ .token | default false }}
enableServiceLinks: false
{{- with .root.Values.image.pullSecrets }}
imagePullSecrets: {{- range . }}
  - name: {{ . }}
{{- end }}
{{- end }}
securityContext:
  {{- include "medcoss.podSecurity" (dict "user" .root.Values.podSecurity.user "group" .root.Values.podSecurity.group) | nindent 2 }}
{{- include "medcoss.placement" .values }}
{{- end }}

{{/* A change of settings or secrets of the chart starts the pods anew. */}}
{{- define "medcoss.podAnnotations" -}}
checksum/settings: {{ include (print $.root.Template.BasePath "/settings.yaml") .root | sha256sum }}
{{- with .values.podAnnotations }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- define "medcoss.gpuResources" -}}
{{- $limits := .resources.limits -}}
{{- if gt (int .gpus) 0 }}{{ $limits = merge (dict .gpuResource (toString .gpus)) $limits }}{{ end -}}
requests: {{- toYaml .resources.requests | nindent 2 }}
limits: {{- toYaml $limits | nindent 2 }}
{{- end }}

{{- define "medcoss.tmp" -}}
- name: tmp
  emptyDir: {sizeLimit: {{ . | quote }}}
{{- end }}
