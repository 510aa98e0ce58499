{{- /* Names, labels, and what several templates need. */ -}}

{{- define "countersign.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 52 | trimSuffix "-" }}
{{- end }}

{{- /* 52 characters: with the longest suffix, that of a Job, it is a label's value. */}}
{{- define "countersign.fullname" -}}
{{- if .Values.fullnameOverride }}
{{- .Values.fullnameOverride | trunc 52 | trimSuffix "-" }}
{{- else if contains (include "countersign.name" .) .Release.Name }}
{{- .Release.Name | trunc 52 | trimSuffix "-" }}
{{- else }}
{{- printf "%s-%s" .Release.Name (include "countersign.name" .) | trunc 52 | trimSuffix "-" }}
{{- end }}
{{- end }}

{{- define "countersign.serviceAccount" -}}
{{- if .Values.serviceAccount.create }}
{{- default (include "countersign.fullname" .) .Values.serviceAccount.name }}
{{- else }}
{{- default "default" .Values.serviceAccount.name }}
{{- end }}
{{- end }}

{{- /* Immutable in a Deployment: name, instance and component only. */}}
{{- define "countersign.selector" -}}
app.kubernetes.io/name: {{ include "countersign.name" . | quote }}
app.kubernetes.io/instance: {{ .Release.Name | quote }}
app.kubernetes.io/component: "webhook"
{{- end }}

{{- /* `metadata` but for name and namespace. Given (dict "root" $ "component" "…" "labels" … "annotations" …). */}}
{{- define "countersign.metadata" -}}
{{- $annotations := merge (dict) (default dict .annotations) .root.Values.commonAnnotations -}}
labels:
  {{- include "countersign.labels" . | nindent 2 }}
{{- with $annotations }}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{- define "countersign.labels" -}}
{{- $own := dict
  "app.kubernetes.io/name" (include "countersign.name" .root)
  "app.kubernetes.io/instance" .root.Release.Name
  "app.kubernetes.io/component" (default "webhook" .component)
  "app.kubernetes.io/part-of" "countersign"
  "app.kubernetes.io/managed-by" .root.Release.Service
  "app.kubernetes.io/version" .root.Chart.AppVersion
  "helm.sh/chart" (printf "%s-%s" .root.Chart.Name .root.Chart.Version | replace "+" "_" | trunc 63)
-}}
{{- merge $own (default dict .labels) .root.Values.commonLabels | toYaml }}
{{- end }}

{{- define "countersign.image" -}}
{{- $registry := default .Values.image.registry .Values.global.imageRegistry -}}
{{- $repository := ternary .Values.image.repository (printf "%s/%s" $registry .Values.image.repository) (empty $registry) -}}
{{- if .Values.image.digest }}
{{- printf "%s@%s" $repository .Values.image.digest }}
{{- else }}
{{- printf "%s:%s" $repository (default .Chart.AppVersion .Values.image.tag) }}
{{- end }}
{{- end }}

{{- define "countersign.imagePullSecrets" -}}
{{- with concat .Values.global.imagePullSecrets .Values.imagePullSecrets | uniq }}
imagePullSecrets:
  {{- range . }}
  - name: {{ . | quote }}
  {{- end }}
{{- end }}
{{- end }}

{{- /* Pod Security Standards, restricted. */}}
{{- define "countersign.podSecurityContext" -}}
runAsNonRoot: true
{{- if not (kindIs "invalid" .Values.runAsUser) }}
runAsUser: {{ .Values.runAsUser | int64 }}
runAsGroup: {{ .Values.runAsUser | int64 }}
fsGroup: {{ .Values.runAsUser | int64 }}
{{- end }}
seccompProfile:
  type: RuntimeDefault
{{- end }}

{{- define "countersign.securityContext" -}}
allowPrivilegeEscalation: false
capabilities:
  drop:
    - ALL
readOnlyRootFilesystem: true
{{- end }}

{{- /* What a hook's pod has: the image, a directory that can be written, an end. Given (dict "root" $ "args" (list …)). */}}
{{- define "countersign.oneShot" -}}
restartPolicy: Never
{{- with include "countersign.imagePullSecrets" .root }}
{{- . }}
{{- end }}
securityContext:
  {{- include "countersign.podSecurityContext" .root | nindent 2 }}
containers:
  - name: {{ first .args | quote }}
    image: {{ include "countersign.image" .root | quote }}
    imagePullPolicy: {{ .root.Values.image.pullPolicy | quote }}
    args:
      {{- toYaml .args | nindent 6 }}
    securityContext:
      {{- include "countersign.securityContext" .root | nindent 6 }}
    resources:
      requests:
        cpu: 50m
        memory: 128Mi
      limits:
        memory: 256Mi
    volumeMounts:
      - name: tmp
        mountPath: /tmp
volumes:
  - name: tmp
    emptyDir:
      medium: Memory
      sizeLimit: 16Mi
{{- with .root.Values.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
nodeSelector:
  {{- include "countersign.nodeSelector" .root | nindent 2 }}
{{- end }}

{{- define "countersign.nodeSelector" -}}
{{- merge (dict "kubernetes.io/os" "linux") .Values.nodeSelector | toYaml }}
{{- end }}

{{- define "countersign.policiesName" -}}
{{ include "countersign.fullname" . }}-policies
{{- end }}

{{- define "countersign.lastGood" -}}
{{ include "countersign.fullname" . }}-last-good
{{- end }}

{{- define "countersign.caSecret" -}}
{{ include "countersign.fullname" . }}-ca
{{- end }}

{{- /* Where the serving certificate lies, unless Countersign issues it itself. */}}
{{- define "countersign.tlsSecret" -}}
{{- if eq .Values.tls.mode "certManager" }}
{{- printf "%s-tls" (include "countersign.fullname" .) }}
{{- else }}
{{- required "tls.secret: the name of a Secret is expected where tls.mode is provided" .Values.tls.secret }}
{{- end }}
{{- end }}

{{- /* The names that a serving certificate is for, a JSON list. */}}
{{- define "countersign.names" -}}
{{- $name := include "countersign.fullname" . -}}
{{- $domain := printf "%s.%s.svc" $name .Release.Namespace -}}
{{- list $domain (printf "%s.%s" $domain .Values.clusterDomain) (printf "%s.%s" $name .Release.Namespace) $name | toJson }}
{{- end }}

{{- /* ValidatingAdmissionPolicies are there from 1.30 on. */}}
{{- define "countersign.guarded" -}}
{{- if and .Values.guards.enabled (semverCompare ">=1.30.0-0" .Capabilities.KubeVersion.Version) }}true{{ end }}
{{- end }}

{{- /* How many replicas there are at least. */}}
{{- define "countersign.leastReplicas" -}}
{{- ternary .Values.autoscaling.minReplicas .Values.replicas .Values.autoscaling.enabled }}
{{- end }}

{{- /* The cache that replicas share: its `url`, the `secret` with what they need for it, which of its keys are mounted as
       which files, and for which settings. A JSON object; empty where there is none. */}}
{{- define "countersign.sharedCache" -}}
{{- $given := .Values.sharedCache }}
{{- $keys := dict "key" "key" "password" "password" "ca" "ca.crt" }}
{{- $found := dict }}
{{- if and .Values.valkey.enabled $given.url }}
{{- fail "sharedCache.url, valkey.enabled: one of them is expected, not both" }}
{{- else if .Values.valkey.enabled }}
{{- if ne (empty $given.existingSecret) (empty .Values.valkey.existingSecret) }}
{{- fail "sharedCache.existingSecret, valkey.existingSecret: both or neither is expected where valkey.enabled is true" }}
{{- end }}
{{- $valkey := .Subcharts.valkey }}
{{- $secret := default (include "valkey.clientSecret" $valkey) $given.existingSecret }}
{{- $found = dict "url" (printf "valkeys://countersign@%s:6379" (include "valkey.host" $valkey)) "secret" $secret }}
{{- else if $given.url }}
{{- $secret := required "sharedCache.existingSecret: the name of a Secret is expected where sharedCache.url is given" $given.existingSecret }}
{{- $found = dict "url" $given.url "secret" $secret }}
{{- $keys = dict "key" "key" "password" $given.passwordKey "ca" $given.caKey }}
{{- end }}
{{- if $found }}
{{- $files := list }}
{{- range $file, $key := $keys }}
{{- if $key }}
{{- $files = append $files (dict "variable" (printf "COUNTERSIGN_VALKEY_%s_FILE" (upper $file)) "key" $key "path" $file) }}
{{- end }}
{{- end }}
{{- $_ := set $found "files" $files }}
{{- end }}
{{- toJson $found }}
{{- end }}
