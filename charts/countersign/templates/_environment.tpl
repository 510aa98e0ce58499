{{- /* The settings of docs/settings.md that the values stand for; what is empty there is left to its default. */ -}}

{{- define "countersign.environment" -}}
{{- $name := include "countersign.fullname" . -}}
- name: COUNTERSIGN_NAMESPACE
  valueFrom:
    fieldRef:
      fieldPath: metadata.namespace
- name: COUNTERSIGN_POD
  valueFrom:
    fieldRef:
      fieldPath: metadata.name
{{- $set := dict
  "COUNTERSIGN_WEBHOOK_CONFIGURATION" $name
  "COUNTERSIGN_LAST_GOOD" (include "countersign.lastGood" .)
  "COUNTERSIGN_NAMES" (include "countersign.names" . | fromJsonArray | join " ")
  "COUNTERSIGN_ADMISSION_PORT" .Values.ports.admission
  "COUNTERSIGN_OPERATIONS_PORT" .Values.ports.operations
  "COUNTERSIGN_NO_MATCH" .Values.noMatch
  "COUNTERSIGN_BASELINE_EXEMPT" (join " " .Values.baselineExempt)
  "COUNTERSIGN_POLICY_WRITERS" (join " " .Values.policyWriters)
  "COUNTERSIGN_TRUST_SECRETS" (join " " .Values.trustSecrets)
  "COUNTERSIGN_PULL_SECRETS" .Values.pullSecrets.mode
  "COUNTERSIGN_PULL_SECRET_NAMESPACES" (join " " .Values.pullSecrets.namespaces)
  "COUNTERSIGN_EVENTS" .Values.events.location
  "COUNTERSIGN_WORKLOADS" .Values.workloads.action
  "COUNTERSIGN_PIN" .Values.pin.enabled
  "COUNTERSIGN_PIN_EXCLUDE_NAMESPACES" (join " " .Values.pin.exclude.namespaces)
  "COUNTERSIGN_PIN_EXCLUDE_OWNERS" (join " " .Values.pin.exclude.owners)
  "COUNTERSIGN_WARM_START" .Values.warmStart
  "COUNTERSIGN_TIMEOUT" .Values.timeoutSeconds
  "COUNTERSIGN_FAILS_OPEN" (eq .Values.failurePolicy "Ignore")
  "COUNTERSIGN_SHUTDOWN_DELAY" .Values.shutdownDelaySeconds
  "COUNTERSIGN_SNS_TOPIC" .Values.aws.snsTopic
  "AWS_REGION" .Values.aws.region
  "HTTPS_PROXY" .Values.proxy.https
  "http_proxy" .Values.proxy.http
  "NO_PROXY" (join "," .Values.proxy.noProxy)
-}}
{{- if eq .Values.tls.mode "self" }}
{{- $_ := set $set "COUNTERSIGN_CA_SECRET" (include "countersign.caSecret" .) }}
{{- else }}
{{- $_ := set $set "COUNTERSIGN_CERTIFICATE" "/etc/countersign/tls/tls.crt" }}
{{- $_ := set $set "COUNTERSIGN_KEY" "/etc/countersign/tls/tls.key" }}
{{- end }}
{{- if .Values.registries }}
{{- $_ := set $set "COUNTERSIGN_REGISTRIES" "/etc/countersign/registries/registries.yaml" }}
{{- end }}
{{- if .Values.dockerConfig.secret }}
{{- $_ := set $set "COUNTERSIGN_DOCKER_CONFIG" "/etc/countersign/docker/config.json" }}
{{- end }}
{{- if or .Values.extraCA.configMap .Values.extraCA.secret }}
{{- $_ := set $set "COUNTERSIGN_CA_FILE" "/etc/countersign/ca/ca.pem" }}
{{- end }}
{{- with include "countersign.sharedCache" . | fromJson }}
{{- $_ := set $set "COUNTERSIGN_VALKEY" .url }}
{{- range .files }}
{{- $_ := set $set .variable (printf "/etc/countersign/shared-cache/%s" .path) }}
{{- end }}
{{- end }}
{{- range $key, $value := merge $set .Values.settings }}
{{- if ne (toString $value) "" }}
- name: {{ $key }}
  value: {{ $value | toString | quote }}
{{- end }}
{{- end }}
{{- with .Values.extraEnv }}
{{ toYaml . }}
{{- end }}
{{- end }}
