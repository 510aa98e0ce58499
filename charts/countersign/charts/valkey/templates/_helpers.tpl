{{- /* Names, of which the chart countersign uses some. Values and their defaults stand under `valkey` in its values.yaml;
       labels and contexts are by its templates. */ -}}

{{- define "valkey.fullname" -}}
{{- printf "%s-valkey" (trunc 52 .Release.Name | trimSuffix "-") }}
{{- end }}

{{- define "valkey.host" -}}
{{- printf "%s.%s.svc" (include "valkey.fullname" .) .Release.Namespace }}
{{- end }}

{{- /* What Valkey itself gets: its certificate, and who may do what. */}}
{{- define "valkey.serverSecret" -}}
{{- default (include "valkey.fullname" .) .Values.existingSecret }}
{{- end }}

{{- /* What replicas get: a password, the authority, and the key with which they seal what they put there. */}}
{{- define "valkey.clientSecret" -}}
{{- printf "%s-client" (include "valkey.fullname" .) }}
{{- end }}

{{- define "valkey.selector" -}}
app.kubernetes.io/name: "valkey"
app.kubernetes.io/instance: {{ .Release.Name | quote }}
app.kubernetes.io/component: "cache"
{{- end }}
