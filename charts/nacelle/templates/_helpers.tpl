{{/* The release's own name in every object. */}}
{{- define "nacelle.name" -}}
{{- if eq .Release.Name "nacelle" }}nacelle-operator{{ else }}{{ .Release.Name | trunc 46 }}-nacelle-operator{{ end }}
{{- end }}

{{- define "nacelle.selector" -}}
app.kubernetes.io/name: nacelle
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: operator
{{- end }}

{{- define "nacelle.labels" -}}
{{ include "nacelle.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version }}
{{- end }}

{{- define "nacelle.serviceAccount" -}}
{{ .Values.serviceAccount.name | default (include "nacelle.name" .) }}
{{- end }}

{{/* A whole image reference; called with (list $ image). */}}
{{- define "nacelle.image" -}}
{{- $root := index . 0 }}{{ $image := index . 1 }}
{{- if $image.reference }}{{ $image.reference }}
{{- else }}
{{- $repository := ternary (printf "%s/%s" $root.Values.registry $image.repository) $image.repository (ne $root.Values.registry "") }}
{{- if $image.digest }}{{ $repository }}@{{ $image.digest }}
{{- else }}{{ $repository }}:{{ $image.tag | default $root.Chart.AppVersion }}
{{- end }}
{{- end }}
{{- end }}

{{/* The runtime images by ABI, as JSON. */}}
{{- define "nacelle.runtimes" -}}
{{- if .Values.runtimes }}{{ .Values.runtimes | toJson }}
{{- else }}{{ dict .Values.runtime.abi (include "nacelle.image" (list . .Values.runtime.image)) | toJson }}
{{- end }}
{{- end }}

{{/* Triton's images by ABI, as JSON. */}}
{{- define "nacelle.tritons" -}}
{{- $image := .Values.triton.image }}
{{- if .Values.tritons }}{{ .Values.tritons | toJson }}
{{- else if or $image.reference $image.repository }}{{ dict .Values.runtime.abi (include "nacelle.image" (list . $image)) | toJson }}
{{- else }}{}
{{- end }}
{{- end }}

{{/* What the operator may do where it looks after resources: exactly what it does. It
     lists and watches, and gets only what no watch may have told of. */}}
{{- define "nacelle.rules" -}}
- apiGroups: [nacelle.dev]
  resources: [enginebuilds]
  verbs: [get, list, watch]
- apiGroups: [nacelle.dev]
  resources: [inferencedeployments]
  verbs: [list, watch]
- apiGroups: [nacelle.dev]
  resources: [engines]
  verbs: [list, watch, create, patch, delete]
- apiGroups: [nacelle.dev]
  resources: [enginebuilds/status, engines/status, inferencedeployments/status]
  verbs: [patch]
- apiGroups: [batch]
  resources: [jobs]
  verbs: [list, watch, create, patch, delete]
- apiGroups: [resource.k8s.io]
  resources: [resourceclaimtemplates]
  verbs: [create]
- apiGroups: [apps]
  resources: [deployments, controllerrevisions]
  verbs: [list, watch, create, patch, delete]
- apiGroups: [""]
  resources: [services]
  verbs: [list, watch, create, patch, delete]
- apiGroups: [policy]
  resources: [poddisruptionbudgets]
  verbs: [list, watch, create, patch, delete]
- apiGroups: [autoscaling]
  resources: [horizontalpodautoscalers]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [gateway.networking.k8s.io]
  resources: [httproutes]
  verbs: [get, list, create, patch, delete]
- apiGroups: [monitoring.coreos.com]
  resources: [podmonitors]
  verbs: [get, list, create, patch, delete]
- apiGroups: [keda.sh]
  resources: [scaledobjects]
  verbs: [get, list, create, patch, delete]
- apiGroups: [inference.networking.k8s.io]
  resources: [inferencepools]
  verbs: [get, list, create, patch, delete]
- apiGroups: [networking.k8s.io]
  resources: [networkpolicies]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [""]
  resources: [pods]
  verbs: [list, watch]
- apiGroups: [discovery.k8s.io]
  resources: [endpointslices]
  verbs: [list, watch]
- apiGroups: [""]
  resources: [pods/log, persistentvolumeclaims]
  verbs: [get]
- apiGroups: [events.k8s.io]
  resources: [events]
  verbs: [create]
{{- end }}
