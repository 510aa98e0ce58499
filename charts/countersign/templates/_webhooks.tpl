{{- /* What the entries of the webhook configurations share. */ -}}

{{- /* Namespaces that are judged. Each excluded one is told by a label that the API server itself sets. Given
       (dict "root" $ "excluded" (list …)). */}}
{{- define "countersign.namespaceSelector" -}}
{{- $own := list .root.Release.Namespace "kube-system" "kube-node-lease" "kube-public" -}}
matchExpressions:
  - key: kubernetes.io/metadata.name
    operator: NotIn
    values:
      {{- concat $own .root.Values.excludedNamespaces (default list .excluded) | uniq | toYaml | nindent 6 }}
{{- if eq .root.Values.selector.mode "optIn" }}
matchLabels:
  countersign.dev/enforce: "true"
{{- end }}
{{- end }}

{{- /* An entry, but for what it matches. Given (dict "root" $ "name" … "path" … "failurePolicy" … "timeoutSeconds" …). */}}
{{- define "countersign.entry" -}}
name: {{ .name }}.countersign.dev
admissionReviewVersions:
  - v1
sideEffects: NoneOnDryRun
matchPolicy: Equivalent
failurePolicy: {{ .failurePolicy }}
timeoutSeconds: {{ .timeoutSeconds }}
clientConfig:
  service:
    name: {{ include "countersign.fullname" .root }}
    namespace: {{ .root.Release.Namespace }}
    path: {{ .path }}
    port: 443
  {{- if eq .root.Values.tls.mode "provided" }}
  caBundle: {{ required "tls.caBundle: the PEM of an authority is expected where tls.mode is provided" .root.Values.tls.caBundle | b64enc }}
  {{- end }}
{{- end }}

{{- define "countersign.podRules" -}}
- apiGroups: [""]
  apiVersions: ["v1"]
  operations: ["CREATE", "UPDATE"]
  resources: ["pods"]
  scope: Namespaced
- apiGroups: [""]
  apiVersions: ["v1"]
  operations: ["UPDATE"]
  resources: ["pods/ephemeralcontainers"]
  scope: Namespaced
{{- end }}

{{- /* An update of a pod that changes no image (finalizers, labels, …) is not asked about; the server looks again, for
       clusters that do not know conditions. `subResource` is not there where it is empty. */}}
{{- define "countersign.podConditions" -}}
{{- if semverCompare ">=1.28.0-0" .Capabilities.KubeVersion.Version }}
matchConditions:
  - name: images-may-have-changed
    expression: >-
      request.operation != "UPDATE" || (has(request.subResource) && request.subResource != "") ||
      object.spec.containers.map(c, c.image) != oldObject.spec.containers.map(c, c.image) ||
      has(object.spec.initContainers) != has(oldObject.spec.initContainers) ||
      (has(object.spec.initContainers) &&
      object.spec.initContainers.map(c, c.image) != oldObject.spec.initContainers.map(c, c.image))
  {{- with .Values.matchConditions }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- end }}
{{- end }}

{{- define "countersign.givenConditions" -}}
{{- if and .Values.matchConditions (semverCompare ">=1.28.0-0" .Capabilities.KubeVersion.Version) }}
matchConditions:
  {{- toYaml .Values.matchConditions | nindent 2 }}
{{- end }}
{{- end }}

{{- /* Annotations of both configurations. */}}
{{- define "countersign.webhookAnnotations" -}}
{{- $annotations := merge (dict) .Values.webhook.annotations -}}
{{- if eq .Values.tls.mode "certManager" }}
{{- $certificate := printf "%s/%s" .Release.Namespace (include "countersign.tlsSecret" .) -}}
{{- $_ := set $annotations "cert-manager.io/inject-ca-from" $certificate }}
{{- end }}
{{- $annotations | toJson }}
{{- end }}

{{- /* Custom resources that are judged early, a JSON list of extractors: the chart's own and those given. */}}
{{- define "countersign.extractors" -}}
{{- $found := list }}
{{- range .Values.workloads.customResources | uniq }}
{{- $found = concat $found ($.Files.Get (printf "extractors/%s.yaml" .) | fromYaml).extractors }}
{{- end }}
{{- concat $found .Values.workloads.extractors | toJson }}
{{- end }}

{{- /* One rule for each group and version among them. */}}
{{- define "countersign.customRules" -}}
{{- $resources := dict }}
{{- range include "countersign.extractors" . | fromJsonArray }}
{{- $key := printf "%s/%s" .apiGroup .version }}
{{- $_ := set $resources $key (append (default list (get $resources $key)) .resource | uniq) }}
{{- end }}
{{- range $key, $names := $resources }}
- apiGroups: [{{ splitList "/" $key | first | quote }}]
  apiVersions: [{{ splitList "/" $key | last | quote }}]
  operations: ["CREATE", "UPDATE"]
  resources: {{ toJson $names }}
  scope: Namespaced
{{- end }}
{{- end }}
